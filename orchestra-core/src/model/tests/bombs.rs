//! Texts that try to keep the parser busy or to fill the memory.

use crate::model::{MAX_MANIFEST_BYTES, ManifestProblem, Scheme, parse_manifests};

fn refused(text: &str) {
    let error = parse_manifests(text, &Scheme::kubernetes()).expect_err("a bomb");
    assert_eq!(error.problem, ManifestProblem::TooLarge, "{error}");
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn aliases_that_grow_are_refused() {
    // A billion laughs: each line is ten of the one before.
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let last = vec![format!("*a{}", i - 1); 10].join(",");
        laughs.push_str(&format!("a{i}: &a{i} [{last}]\n"));
    }
    refused(&laughs);
    // Few aliases of much text.
    refused(&format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 100].join(",")));
    // The budget is that of the text, not that of each document.
    let some = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 30].join(","));
    assert_eq!(
        parse_manifests(&some, &Scheme::kubernetes()).unwrap_err().problem,
        ManifestProblem::Kind,
        "alone it is only no manifest"
    );
}

#[test]
fn depth_is_refused() {
    for n in [110, 200_000] {
        refused(&"[".repeat(n));
        refused(&("a: ".to_owned() + &"[".repeat(n) + &"]".repeat(n)));
        refused(&("a: ".to_owned() + &"{a: ".repeat(n) + &"}".repeat(n)));
        refused(&format!("{{\"a\": {}{}}}", "[".repeat(n), "]".repeat(n)));
        refused(&"- ".repeat(n));
    }
}

#[test]
fn other_ways_to_waste_time_are_refused() {
    // Not deep when read, but the parser below works for each open bracket.
    refused(&format!("a: {}{}{}", "[".repeat(90), "b,".repeat(2 << 20), "]".repeat(90)));
    let tags: String = (0..10_000).map(|i| format!("%TAG !a{i}! x\n")).collect();
    refused(&(tags + "---\na: b"));
    refused(&"#".repeat(MAX_MANIFEST_BYTES + 1));
}

#[test]
fn depth_of_real_manifests_is_fine() {
    let depth = 95;
    let text = format!(
        "{{\"apiVersion\": \"example.com/v1\", \"kind\": \"Deep\", \"metadata\": {{\"name\": \"x\"}}, \"a\": {}{}}}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    assert_eq!(parse_manifests(&text, &Scheme::kubernetes()).unwrap().len(), 1);
}
