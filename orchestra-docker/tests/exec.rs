//! Programs run in containers whose caller goes away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;
use std::time::Duration;

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerSpec, ExecOptions, Runtime, SandboxSpec};

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What runs in a container, by the engine's own program.
fn processes(container: &str) -> String {
    let output = Command::new("docker").args(["top", container, "-eo", "pid,args"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_caller_gives_up_early_is_killed() {
    let Some(host) = Host::open("dropped").await else { return };
    host.scope(async |host| {
        let spec = SandboxSpec::new("test", "pod", Uid::from("pod".to_owned()));
        let sandbox = host.runtime.run_sandbox(&spec).await.unwrap().id;
        let mut spec = ContainerSpec::new("main", host.image.as_str());
        spec.command = ["/bin/sleep", "1000"].map(String::from).into();
        let container = host.runtime.create_container(&sandbox, &spec).await.unwrap();
        host.runtime.start_container(&container).await.unwrap();
        // As a probe whose time is over: at any moment of the start, and right after it.
        let started = tokio::time::Instant::now();
        drop(host.runtime.exec(&container, &ExecOptions::new(["/bin/sleep", "4321"])).await.unwrap());
        let step = started.elapsed() / 8;
        for number in 0..16 {
            let options = ExecOptions::new(["/bin/sleep", "4321"]);
            drop(tokio::time::timeout(step * number, host.runtime.exec(&container, &options)).await);
        }
        let deadline = tokio::time::Instant::now() + LIMIT;
        while processes(&container.0).contains("4321") {
            assert!(tokio::time::Instant::now() < deadline, "left: {}", processes(&container.0));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(processes(&container.0).contains("sleep 1000"), "the container's own goes on");
    })
    .await;
}
