//! Programs run in containers whose caller goes away, and who kills them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerId, ContainerSpec, ExecOptions, Runtime, SandboxId, SandboxSpec};

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What the engine's own program says.
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What runs in a container.
fn processes(container: &str) -> String {
    docker(&["top", container, "-eo", "pid,args"])
}

/// A container that sleeps, in a pod of its own, as this user.
async fn sleeper(host: &Host, user: Option<u32>) -> (SandboxId, ContainerId) {
    let spec = SandboxSpec::new("test", "pod", Uid::from("pod".to_owned()));
    let sandbox = host.runtime.run_sandbox(&spec).await.unwrap().id;
    let mut spec = ContainerSpec::new("main", host.image.as_str());
    spec.command = ["/bin/sleep", "1000"].map(String::from).into();
    spec.run_as = user.map(|user| (user, None));
    let container = host.runtime.create_container(&sandbox, &spec).await.unwrap();
    host.runtime.start_container(&container).await.unwrap();
    (sandbox, container)
}

/// Waits until none of these programs runs.
async fn gone(container: &ContainerId, program: &str) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while processes(&container.0).contains(program) {
        assert!(tokio::time::Instant::now() < deadline, "left: {}", processes(&container.0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_caller_gives_up_early_is_killed() {
    let Some(host) = Host::open("dropped").await else { return };
    host.scope(async |host| {
        let (_, container) = sleeper(host, None).await;
        // As a probe whose time is over: at any moment of the start, and right after it.
        let started = tokio::time::Instant::now();
        drop(host.runtime.exec(&container, &ExecOptions::new(["/bin/sleep", "4321"])).await.unwrap());
        let step = started.elapsed() / 8;
        for number in 0..16 {
            let options = ExecOptions::new(["/bin/sleep", "4321"]);
            drop(tokio::time::timeout(step * number, host.runtime.exec(&container, &options)).await);
        }
        gone(&container, "4321").await;
        assert!(processes(&container.0).contains("sleep 1000"), "the container's own goes on");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_programs_are_killed_by_few_helpers() {
    let Some(host) = Host::open("many").await else { return };
    host.scope(async |host| {
        let (_, container) = sleeper(host, None).await;
        let begun = docker(&["info", "--format", "{{.SystemTime}}"]);
        let cluster = format!("label=dev.orchestra.cluster={}", host.name);
        let filters =
            ["--filter", "event=create", "--filter", "label=dev.orchestra.role=helper", "--filter", &cluster];
        // Followed from the beginning: an engine remembers only its last 256 events, and others use it.
        let told = std::env::temp_dir().join(format!("orchestra-helpers-{}", host.name));
        let mut events = Command::new("docker");
        events.args(["events", "--since", &begun]).args(filters).stdout(File::create(&told).unwrap());
        let mut events = events.spawn().unwrap();
        let options = ExecOptions::new(["/bin/sleep", "4321"]);
        let sessions = (0..12).map(|_| host.runtime.exec(&container, &options));
        let sessions = futures_util::future::try_join_all(sessions).await.unwrap();
        drop(sessions);
        gone(&container, "4321").await;
        let deadline = tokio::time::Instant::now() + LIMIT;
        while std::fs::metadata(&told).unwrap().len() == 0 {
            assert!(tokio::time::Instant::now() < deadline, "no helper was made");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        events.kill().unwrap();
        events.wait().unwrap();
        let helpers = std::fs::read_to_string(&told).unwrap().lines().count();
        std::fs::remove_file(&told).unwrap();
        assert!((1..8).contains(&helpers), "{helpers} helpers for 12 programs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_is_not_let_says_so() {
    let Some(host) = Host::open("refused").await else { return };
    host.scope(async |host| {
        let (sandbox, container) = sleeper(host, Some(1000)).await;
        let of = |format: &str, container: &str| docker(&["inspect", "--format", format, container]);
        let (image, id) = (of("{{.Config.Image}}", &sandbox.0), of("{{.Id}}", &container.0));
        let pid = of("{{.State.Pid}}", &container.0);
        let kill = |rights: &[&str], container: &str| {
            let run = ["run", "--rm", "--network", "none", "--pid", "host", "--cap-drop", "ALL"];
            let words = ["--entrypoint", "/pause", &image, "kill", &pid, container];
            let args = [&run[..], rights, &words].concat();
            Command::new("docker").args(args).output().unwrap().status.code()
        };
        assert_eq!(
            kill(&[], &id),
            Some(4),
            "it has another user's process before it, and no right to kill it"
        );
        assert_eq!(kill(&["--cap-add", "KILL"], "another"), Some(3));
        assert!(processes(&container.0).contains("sleep 1000"));
        assert_eq!(kill(&["--cap-add", "KILL"], &id), Some(0));
    })
    .await;
}
