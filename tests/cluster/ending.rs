//! How clusters end, and what they refuse to begin.

use std::time::Duration;

use orchestra::ClusterError;
use orchestra::model::{PodSpec, Volume};
use orchestra::prelude::*;

use crate::common::{Dir, LIMIT, processes, started, until};
use crate::node;

#[tokio::test(flavor = "multi_thread")]
async fn stopping_goes_on_when_nobody_waits_for_it() {
    let dir = Dir::new("ending");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster.apply(Deployment::new("sleep").image("sleep:1").replicas(3)).await.unwrap();
    let available = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == 3);
    until::<Deployment>(&cluster, "sleep", available).await;
    started(&dir.0, "", 3).await;
    let impatient = tokio::time::timeout(Duration::from_millis(1), cluster.stop()).await;
    assert!(impatient.is_err(), "three programs can't have ended yet");
    let gone = async {
        while !processes(&dir.0, "").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("nothing runs any more");
}

/// A cluster of its own memory store with pods that run, and don't end by SIGTERM.
async fn running(dir: &Dir) -> Cluster {
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let config = ConfigMap::new("config").entry("key", "value");
    cluster.apply(config).await.unwrap();
    let manifest = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: deaf}, spec: {replicas: 3, \
        selector: {matchLabels: {app: deaf}}, template: {metadata: {labels: {app: deaf}}, spec: {\
        volumes: [{name: config, configMap: {name: config}}], \
        containers: [{name: main, image: 'deaf:1', volumeMounts: [{name: config, mountPath: /config}]}]}}}}";
    cluster.apply_yaml(manifest).await.unwrap();
    until::<Deployment>(&cluster, "deaf", |d| d.is_some_and(|d| d.status.available_replicas == 3)).await;
    started(&dir.0, "", 3).await;
    cluster
}

/// Nothing runs any more, and nothing is left of what pods had.
fn assert_gone(dir: &Dir) {
    let left = processes(&dir.0, "");
    assert!(left.is_empty(), "orphans: {left:?}");
    let volumes = dir.0.join("node").join("volumes").join("pods");
    let left: Vec<_> = std::fs::read_dir(volumes).unwrap().collect();
    assert!(left.is_empty(), "volumes: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_kills_its_pods() {
    let dir = Dir::new("dropped");
    drop(running(&dir).await);
    assert_gone(&dir);
}

/// The thread that would run the agent waits in the drop.
#[tokio::test]
async fn dropping_it_kills_its_pods_also_on_the_only_thread() {
    let dir = Dir::new("only-thread");
    drop(running(&dir).await);
    assert_gone(&dir);
}

#[test]
fn dropping_it_kills_its_pods_also_without_a_runtime() {
    let dir = Dir::new("no-runtime");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(running(&dir));
    drop(runtime);
    assert!(!processes(&dir.0, "").is_empty());
    drop(cluster);
    assert_gone(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_kills_its_pods() {
    let dir = Dir::new("panic");
    let cluster = running(&dir).await;
    let failed = tokio::task::spawn_blocking(move || {
        let _cluster = cluster;
        panic!("somewhere in the application");
    });
    assert!(failed.await.unwrap_err().is_panic());
    assert_gone(&dir);
}

#[test]
fn a_stop_that_is_cut_off_kills_the_pods_that_are_left() {
    let dir = Dir::new("cut-off");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(running(&dir));
    runtime.block_on(async {
        let impatient = tokio::time::timeout(Duration::from_millis(1), cluster.stop()).await;
        assert!(impatient.is_err(), "they have thirty seconds");
    });
    drop(runtime);
    assert_gone(&dir);
}

/// No test of its own: an application that returns early.
#[tokio::test(flavor = "multi_thread")]
async fn program() {
    let Some(dir) = std::env::var_os("RETURNS_EARLY") else { return };
    let _cluster = running(&Dir(dir.into())).await;
}

#[test]
fn returning_from_main_kills_its_pods() {
    let dir = Dir::new("returns");
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ending::program"])
        .env("RETURNS_EARLY", &dir.0)
        .status();
    assert!(child.unwrap().success());
    let left = processes(&dir.0, "");
    assert!(left.is_empty(), "orphans: {left:?}");
}

#[test]
fn dropping_it_leaves_the_pods_that_a_store_remembers() {
    let dir = Dir::new("remembered");
    let start = || Cluster::builder().data_dir(dir.0.join("store")).node(node(&dir.0, "node")).start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cluster = start().await.unwrap();
        cluster.apply(Deployment::new("sleep").image("sleep:1")).await.unwrap();
        until::<Deployment>(&cluster, "sleep", |d| d.is_some_and(|d| d.status.available_replicas == 1)).await;
    });
    // The cluster's last tasks end with it, and let go of the store and the node.
    drop(runtime);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        assert_eq!(started(&dir.0, "/bin/sleep", 1).await.len(), 1);
        start().await.unwrap().stop().await;
    });
    assert!(processes(&dir.0, "").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_its_name_alone() {
    let dir = Dir::new("names");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let refused = cluster.add_node(node(&dir.0.join("second"), "node")).await;
    assert!(matches!(&refused, Err(ClusterError::DuplicateNode(name)) if name == "node"), "{refused:?}");
    cluster.crash_node("node").await.unwrap();
    assert!(cluster.add_node(node(&dir.0.join("third"), "node")).await.is_err(), "it can be started again");
    cluster.add_node(node(&dir.0, "other")).await.unwrap();
    until::<Node>(&cluster, "other", |node| node.is_some_and(Node::is_ready)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_nobody_named_goes_with_the_cluster() {
    let dir = Dir::new("own-dir");
    let mut node = node(&dir.0, "node");
    node.data_dir = None;
    let cluster = Cluster::builder().node(node).start().await.unwrap();
    let container = Container::new("main", "sleep:1").mount("scratch", "/scratch");
    let spec = PodSpec::new(container).volume(Volume::empty_dir("scratch"));
    cluster.create(Pod::new("web").spec(spec)).await.unwrap();
    until::<Pod>(&cluster, "web", |pod| pod.is_some_and(Pod::is_ready)).await;
    let volume = std::fs::read_link(dir.0.join("node/default/slots/0/scratch")).unwrap();
    let own =
        volume.ancestors().find(|path| path.parent() == Some(&std::env::temp_dir())).unwrap().to_owned();
    assert!(own.is_dir() && !own.starts_with(&dir.0));
    cluster.stop().await;
    assert!(!own.exists(), "{} is left", own.display());
}
