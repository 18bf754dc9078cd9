//! The process that holds the cluster is killed; the next one takes up what runs.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use orchestra::prelude::*;

use crate::host::{Host, eventually, first_of, pods, settled};

const NAME: &str = "ORCHESTRA_TEST_NAME";

/// Another process, ended with this value.
struct Owner(Child);

impl Drop for Owner {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// When each pod became ready, and how often its container was started again.
fn readiness(pods: &[std::sync::Arc<Pod>]) -> BTreeMap<String, String> {
    let of = |pod: &std::sync::Arc<Pod>| {
        let ready = pod.status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let restarts: u32 = pod.status.container_statuses.iter().map(|status| status.restart_count).sum();
        let text = format!("{:?} since {:?}, {restarts} restarts", ready.status, ready.last_transition_time);
        (pod.metadata.name.clone(), text)
    };
    pods.iter().map(of).collect()
}

/// Not a test: what the process does that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a process of its own"]
async fn owner() {
    let Some(name) = std::env::var(NAME).ok() else { return };
    // The test removes what is left, not this process.
    let host =
        std::mem::ManuallyDrop::new(Host { dir: std::env::temp_dir().join(&name), name, socket: None });
    let cluster = host.cluster().await;
    cluster.apply_yaml(&host.web(2)).await.unwrap();
    settled(&cluster, 2).await;
    let text = format!("{:?}", readiness(&pods(&cluster).await));
    std::fs::write(host.dir.join("new"), text).unwrap();
    std::fs::rename(host.dir.join("new"), host.dir.join("ready")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_adopted_after_kill_9_with_its_readiness() {
    let Some(host) = Host::open("adoption").await else { return };
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "adoption::owner", "--ignored", "--nocapture"])
        .env(NAME, &host.name)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let owner = Owner(child);
    let ready = host.dir.join("ready");
    let before = eventually("the owner's pods are ready", || std::fs::read_to_string(&ready).ok()).await;
    let starts = host.starts();
    assert_eq!(starts.len(), 4, "two pods of a sandbox and a container: {starts:?}");
    drop(owner);

    let cluster = host.cluster().await;
    cluster.ready().await;
    settled(&cluster, 2).await;
    let found = pods(&cluster).await;
    assert_eq!(format!("{:?}", readiness(&found)), before, "ready throughout, by the first process's probes");
    assert_eq!(host.starts(), starts, "neither started anew nor doubled");
    assert_eq!(host.containers(), first_of(&host, &found));

    // It is theirs in full: what dies is restarted, and what is deleted goes.
    let victim = starts.first().unwrap().split(' ').next().unwrap().to_owned();
    host.docker(&["kill", &victim]);
    eventually("what died runs again", || {
        (host.running().len() == 4 && host.starts() != starts).then_some(())
    })
    .await;
    settled(&cluster, 2).await;
    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
    cluster.stop().await;
}
