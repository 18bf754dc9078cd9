//! Programs that people use.

use std::io::Write;
use std::process::{Command, Stdio};

use orchestra_net::ServerTls;

use super::authority::{Authority, Files};
use super::listeners::listener;
use crate::backend::Backend;

/// Runs a program with this input, and returns what it says; `None` where it is not installed, which
/// `ORCHESTRA_REQUIRE_SERVERS` makes a failure.
async fn run(program: &'static str, arguments: Vec<String>, input: &'static str) -> Option<String> {
    let running = move || {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if std::env::var_os("ORCHESTRA_REQUIRE_SERVERS").is_some() => {
                panic!("{program}: {error}");
            }
            Err(_) => return None,
        };
        // It may have ended without reading.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&said).into_owned())
    };
    let said = tokio::task::spawn_blocking(running).await.unwrap();
    if said.is_none() {
        eprintln!("SKIPPED: {program} is not installed");
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_both_protocols_and_verifies_who_answers() {
    let (authority, a, files) = (Authority::new(), Backend::start("a").await, Files::new());
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let listening = listener(&a, &tls).await;
    let root = files.write("root.pem", &authority.root).display().to_string();
    let port = listening.address().port();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let url = format!("https://shop.local:{port}/");
        let resolve = format!("shop.local:{port}:127.0.0.1");
        // The same connection carries both.
        let arguments = ["-sS", "--max-time", "60", flag, "--cacert", &root, "--resolve", &resolve]
            .into_iter()
            .chain(["-w", " %{http_version} %{num_connects}\n", &url, &url])
            .map(ToOwned::to_owned);
        let Some(said) = run("curl", arguments.collect(), "").await else { return };
        assert_eq!(said, format!("a {version} 1\na {version} 0\n"));
    }
    let untrusting =
        ["-sS", "--resolve", &format!("shop.local:{port}:127.0.0.1"), &format!("https://shop.local:{port}/")];
    let said = run("curl", untrusting.map(ToOwned::to_owned).to_vec(), "").await.unwrap();
    assert!(said.contains("certificate"), "{said}");
    let plain = ["-sS", &format!("http://127.0.0.1:{port}/")].map(ToOwned::to_owned).to_vec();
    let said = run("curl", plain, "").await.unwrap();
    assert!(said.contains("This port speaks TLS"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_gets_the_certificate_of_the_name_it_asks_for_and_the_best_protocol() {
    let (authority, a, files) = (Authority::new(), Backend::start("a").await, Files::new());
    let identities = [&["shop.local"][..], &["other.local"]].map(|names| authority.identity(names));
    let tls = ServerTls::new(identities).unwrap();
    let listening = listener(&a, &tls).await;
    let root = files.write("root.pem", &authority.root).display().to_string();
    let ask = async |name: &str, more: &[&str]| {
        let address = listening.address().to_string();
        let arguments = ["s_client", "-connect", &address, "-CAfile", &root, "-servername", name]
            .into_iter()
            .chain(["-verify_hostname", name])
            .chain(more.iter().copied())
            .map(ToOwned::to_owned);
        run("openssl", arguments.collect(), "Q\n").await
    };
    for name in ["shop.local", "other.local"] {
        for version in ["-tls1_2", "-tls1_3"] {
            let Some(said) = ask(name, &[version, "-alpn", "http/1.1,h2"]).await else { return };
            assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
            assert!(said.contains("ALPN protocol: h2"), "{said}");
        }
    }
    let said = ask("shop.local", &["-tls1_1"]).await.unwrap();
    assert!(!said.contains("Verify return code: 0 (ok)") || said.contains("Cipher is (NONE)"), "{said}");
}
