//! Ctrl-C in the middle of a rollout.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use orchestra::model::{ExecAction, PodPhase};
use orchestra::prelude::*;
use tokio::signal::unix::SignalKind;

use crate::common::{Dir, LIMIT, processes, until};

/// How many replicas there are. With the default budget a rollout stops at three old and two new ones.
const REPLICAS: u32 = 4;

fn version(number: u32) -> Deployment {
    let never = Probe {
        exec: Some(ExecAction { command: vec!["false".to_owned()], ..Default::default() }),
        ..Default::default()
    };
    let deployment =
        Deployment::new("web").image(format!("stubborn:{number}")).replicas(REPLICAS).grace_period(2);
    // The second version never becomes ready, so the rollout stays where it is.
    if number == 1 { deployment } else { deployment.readiness(never) }
}

/// No test of its own: an application with a cluster in the directory `CLUSTER`, in the middle of a rollout until
/// Ctrl-C.
#[tokio::test(flavor = "multi_thread")]
async fn program() {
    let Ok(dir) = std::env::var("CLUSTER") else { return };
    // Neither it nor its child ends by SIGTERM, so that pods of the old version are still ending when Ctrl-C comes.
    let script = "trap '' TERM; sleep 1000 & wait";
    let mut runtime = ProcessRuntime::builder(Path::new(&dir).join("node"));
    for image in ["stubborn:1", "stubborn:2"] {
        runtime = runtime.image(image, ProcessImage::new("/bin/sh").args(["-c", script]));
    }
    let node = NodeOptions::new("node", runtime.build().unwrap());
    let cluster = Cluster::builder().node(node).start().await.unwrap();
    cluster.apply(version(1)).await.unwrap();
    let available = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == REPLICAS);
    until::<Deployment>(&cluster, "web", available).await;
    cluster.apply(version(2)).await.unwrap();
    let half = |d: Option<&Deployment>| d.is_some_and(|d| d.status.updated_replicas == 2);
    until::<Deployment>(&cluster, "web", half).await;
    for pod in cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items {
        let runs = |pod: Option<&Pod>| pod.is_none_or(|pod| pod.status.phase == PodPhase::Running);
        until::<Pod>(&cluster, &pod.metadata.name, runs).await;
    }
    let mut interrupted = tokio::signal::unix::signal(SignalKind::interrupt()).unwrap();
    println!("\nin the middle");
    interrupted.recv().await.unwrap();
    cluster.stop().await;
    println!("\nstopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_rollout_everything_is_stopped_and_nothing_orphaned() {
    let dir = Dir::new("interrupt");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "interrupt::program", "--nocapture"])
        .env("CLUSTER", &dir.0)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let group = format!("-{}", child.id());
    let path = dir.0.clone();
    let watched = tokio::task::spawn_blocking(move || {
        assert!(output.any(|line| line == "in the middle"), "it ended early");
        let running = processes(&path, "/bin/sh").len();
        // As a terminal does it: to all of the foreground's process group.
        assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
        assert!(output.any(|line| line == "stopped"), "it did not stop its cluster");
        (running, child.wait().unwrap())
    });
    let (running, status) = tokio::time::timeout(LIMIT, watched).await.expect("it ends").unwrap();
    assert!(running >= 5, "three old pods and two new ones ran, of {running} none may be left");
    assert!(status.success(), "{status}");
    let left = processes(&dir.0, "");
    assert!(left.is_empty(), "orphans: {left:?}");
}
