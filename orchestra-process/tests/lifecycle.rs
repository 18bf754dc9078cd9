//! Pods come, run and go.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

mod common;

use std::time::Duration;

use common::{Host, sandbox_spec, sh};
use orchestra_core::runtime::{ContainerState, LogOptions, Runtime};

#[tokio::test]
async fn a_pod_runs_and_leaves_nothing() {
    let host = Host::new();
    let runtime = host.open();
    let sandbox = runtime.run_sandbox(&sandbox_spec("a")).await.unwrap();
    assert!(sandbox.ip.unwrap().is_loopback());
    let spec = sh("main", "echo hello $POD_IP; exec sleep 1000");
    let container = runtime.create_container(&sandbox.id, &spec).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    let status = runtime.sandbox(&sandbox.id).await.unwrap().unwrap();
    assert!(status.containers[0].state.is_running());
    let mut log =
        runtime.logs(&container, &LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    let line = log.next().await.unwrap().unwrap();
    assert_eq!(line.bytes, format!("hello {}\n", sandbox.ip.unwrap()));
    runtime.stop_container(&container, Duration::from_secs(10)).await.unwrap();
    assert!(log.next().await.is_none());
    let status = runtime.sandbox(&sandbox.id).await.unwrap().unwrap();
    let ContainerState::Exited { exit_code: 143, signal: Some(15), .. } = status.containers[0].state else {
        panic!("{:?}", status.containers[0].state)
    };
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    assert!(runtime.list().await.unwrap().is_empty());
    host.assert_empty();
}
