//! Every dependency has a licence that deny.toml allows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn allowed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let list = text.split_once("allow = [").unwrap().1.split_once(']').unwrap().0;
    list.split(',')
        .map(|item| item.trim().trim_matches('"').to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

/// Whether the SPDX expression holds for the allowed licences: a small reader of `AND`, `OR`, parentheses,
/// and the old `/` for `OR`.
fn holds(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for word in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if word == "OR" && depth == 0 {
            parts.push(String::new());
        } else {
            let part = parts.last_mut().unwrap();
            part.push_str(word);
            part.push(' ');
        }
    }
    parts.iter().any(|part| {
        part.split(" AND ").all(|term| {
            let term = term.trim();
            match term.strip_prefix("( ").and_then(|t| t.strip_suffix(" )")) {
                Some(inner) => holds(inner, allowed),
                None => allowed.iter().any(|a| a == term),
            }
        })
    })
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
    assert!(holds("MIT OR GPL-3.0", &allowed));
    assert!(holds("(MIT OR GPL-3.0) AND Unicode-3.0", &allowed));
    assert!(holds("MIT/Apache-2.0", &allowed));
    assert!(!holds("MIT AND GPL-3.0", &allowed));
    assert!(!holds("GPL-3.0", &allowed));
}

/// The platform of this machine: what is only for others need not be fetched.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        // What no test of these features needed is fetched now.
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .args(["--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed = allowed();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 10, "the list of packages is suspiciously short");
    let refused: Vec<String> = packages
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(|licence| holds(licence, &allowed)))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}
