//! Logs of containers that are over before anybody can follow them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerSpec, LogOptions, Runtime, SandboxSpec};

/// How many there are. Of so many the engine ends a log too early almost always.
const CONTAINERS: usize = 24;

/// Two outputs; a line that the engine keeps in pieces, all alike; and a last line without its end.
const SCRIPT: &str = r#"printf '%s\n' one; printf '%s\n' "$1" >&2; printf three"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_is_whole_also_where_the_program_ends_at_once() {
    let Some(host) = Host::open("logs").await else { return };
    host.scope(async |host| {
        let long = "x".repeat(3 * 16 * 1024);
        let spec = SandboxSpec::new("test", "logs", Uid::from("logs"));
        let sandbox = host.runtime.run_sandbox(&spec).await.unwrap().id;
        let one = async |number: usize| {
            let mut spec = ContainerSpec::new(format!("c{number}"), host.image.as_str());
            spec.command = ["/bin/sh", "-c", SCRIPT, "sh", &long].map(String::from).into();
            let container = host.runtime.create_container(&sandbox, &spec).await.unwrap();
            host.runtime.start_container(&container).await.unwrap();
            let options = LogOptions { follow: true, ..LogOptions::default() };
            let mut log = host.runtime.logs(&container, &options).await.unwrap();
            let mut text = Vec::new();
            while let Some(chunk) = log.next().await {
                text.push(String::from_utf8(chunk.unwrap().bytes.to_vec()).unwrap());
            }
            // Two outputs are put in order by the engine.
            text.sort();
            text.concat()
        };
        let logs = futures_util::future::join_all((0..CONTAINERS).map(one)).await;
        for log in logs {
            assert_eq!(log.len(), "one\n".len() + long.len() + 1 + "three".len(), "{:.40}", log);
            assert!(log.starts_with("\none\nthree") || log.starts_with("one\nthree"), "{:.40}", log);
        }
    })
    .await;
}
