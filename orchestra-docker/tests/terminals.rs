//! What terminals show is bytes: neither lines nor frames.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ExecOptions, LogOptions, LogStream, Runtime, SandboxSpec,
};

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A container with a terminal that runs a script.
async fn terminal(host: &Host, script: &str) -> ContainerId {
    let spec = SandboxSpec::new("test", "pod", Uid::from("pod".to_owned()));
    let sandbox = host.runtime.run_sandbox(&spec).await.unwrap().id;
    let mut spec = ContainerSpec::new("main", host.image.as_str());
    spec.command = ["/bin/sh", "-c", script].map(String::from).into();
    (spec.tty, spec.stdin) = (true, true);
    let container = host.runtime.create_container(&sandbox, &spec).await.unwrap();
    host.runtime.start_container(&container).await.unwrap();
    container
}

/// Reads until this many bytes have come, or the end.
async fn read(output: &mut LogStream, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < bytes {
        let piece = tokio::time::timeout(LIMIT, output.next()).await.expect("the output goes on or ends");
        let Some(piece) = piece else { break };
        read.extend_from_slice(&piece.unwrap().bytes);
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_without_an_end_of_line_is_followed() {
    let Some(host) = Host::open("progress").await else { return };
    host.scope(async |host| {
        let script =
            "read go; i=0; while [ $i -lt 2500 ]; do printf '0123456789abcde\\r'; i=$((i+1)); done; read end";
        let container = terminal(host, script).await;
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let mut log = host.runtime.logs(&container, &options).await.unwrap();
        let session = host.runtime.attach(&container, true).await.unwrap();
        session.stdin.as_ref().unwrap().send("\n".into()).await.unwrap();
        // The echo, and two pieces of what the engine keeps as one line that goes on.
        let followed = read(&mut log, 32 * 1024).await;
        // The terminal shows what is typed, wherever it is by then.
        let shown = |text: Vec<u8>| String::from_utf8(text).unwrap().replace("\r\n", "");
        let (expected, followed) = ("0123456789abcde\r".repeat(2500), shown(followed));
        assert!(expected.starts_with(&followed), "{followed:.60?}");
        session.stdin.as_ref().unwrap().send("\n".into()).await.unwrap();
        drop(session);
        let mut log = host.runtime.logs(&container, &options).await.unwrap();
        let all = shown(read(&mut log, usize::MAX).await);
        let differs = all.bytes().zip(expected.bytes()).position(|(a, b)| a != b);
        assert!(all == expected, "of {} bytes, from {differs:?} on", all.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_is_taken_for_a_frame() {
    let Some(host) = Host::open("bytes").await else { return };
    host.scope(async |host| {
        let show = "stty raw; printf '\\001\\002\\000\\000\\377\\377\\377\\377rest\\002'";
        let expected = b"\x01\x02\0\0\xff\xff\xff\xffrest\x02";
        let container = terminal(host, &format!("read go; {show}; sleep 1000")).await;
        let mut session = host.runtime.attach(&container, true).await.unwrap();
        session.stdin.as_ref().unwrap().send("\n".into()).await.unwrap();
        let shown = read(&mut session.output, 2 + expected.len()).await;
        assert_eq!(shown.strip_prefix(b"\r\n").unwrap_or(&shown), expected);
        let mut options = ExecOptions::new(["/bin/sh", "-c", show]);
        options.tty = true;
        let session = host.runtime.exec(&container, &options).await.unwrap();
        let output = session.wait_with_output().await.unwrap();
        assert_eq!((output.exit_code, &output.stdout[..]), (0, &expected[..]));
        let missing = ExecOptions { command: vec!["/no/such/program".to_owned()], tty: true, stdin: false };
        let refused = host.runtime.exec(&container, &missing).await.unwrap().wait_with_output().await;
        assert!(refused.is_err(), "{refused:?}");
    })
    .await;
}
