//! Input that is refused, and a disk that is full: nothing is stored by halves, nothing is lost, the rest runs on.

use std::path::Path;
use std::process::Command;

use orchestra::BuildError;
use orchestra::client::ClientError;
use orchestra::model::{AnyObjectExt, GroupKind, ObjectKey, Unstructured};
use orchestra::prelude::*;
use orchestra::store::StoreError;

use crate::common::{Dir, processes, started, until};
use crate::node;

async fn running(cluster: &Cluster, replicas: u32) {
    let all = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == replicas);
    until::<Deployment>(cluster, "sleeper", all).await;
}

/// Applies `text`, which is refused with all of `parts` in the message.
async fn refused(cluster: &Cluster, text: &str, parts: &[&str]) {
    let error = cluster.apply_yaml(text).await.expect_err(text).to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing() {
    let dir = Dir::new("bad-input");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster.apply(Deployment::new("sleeper").image("sleep:1")).await.unwrap();
    running(&cluster, 1).await;
    let before = cluster.get::<Deployment>("sleeper").await.unwrap();
    let pids = started(&dir.0, "/bin/sleep", 1).await;

    let fine = "{apiVersion: v1, kind: ConfigMap, metadata: {name: first}, data: {a: b}}\n---\n";
    refused(&cluster, &format!("{fine}a: [1"), &["document 2", "not YAML"]).await;
    let number = "{apiVersion: v1, kind: ConfigMap, metadata: {name: second}, data: {a: 1}}";
    refused(&cluster, &format!("{fine}{number}"), &["second", "data.a"]).await;
    let amount = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, \
        resources: {requests: {cpu: lots}}}]}}";
    let path = "spec.containers[0].resources.requests.cpu";
    refused(&cluster, &format!("{fine}{amount}"), &[path]).await;
    assert!(cluster.find::<ConfigMap>("first").await.unwrap().is_none(), "all of it or nothing");
    let selector = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: sleeper}, spec: {selector: \
        {matchLabels: {app: other}}, template: {metadata: {labels: {app: other}}, spec: {containers: \
        [{name: main, image: 'sleep:1'}]}}}}";
    refused(&cluster, selector, &["spec.selector"]).await;

    cluster
        .modify::<Deployment>("sleeper", |d| _ = d.metadata.labels.insert("a".into(), "b".into()))
        .await
        .unwrap();
    let mut stale = (*before).clone();
    stale.spec.replicas = 5;
    let error = cluster.update(stale).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("default/sleeper"), "{error}");

    let after = cluster.get::<Deployment>("sleeper").await.unwrap();
    assert_eq!(after.spec, before.spec);
    assert_eq!(processes(&dir.0, "/bin/sleep"), pids, "the pods run on");
    cluster.stop().await;
}

#[tokio::test]
async fn an_unknown_kind_is_kept_as_it_is_and_said_to_be() {
    let cluster = Cluster::builder().start().await.unwrap();
    let manifest =
        "{apiVersion: example.com/v1, kind: Widget, metadata: {name: w, namespace: default}, size: [1, x]}";
    let applied = cluster.apply_yaml(manifest).await.unwrap();
    let warning = &applied[0].warnings[0].message;
    assert!(warning.contains("does not know the kind Widget"), "{warning}");
    let kind = GroupKind { group: "example.com".into(), kind: "Widget".into() };
    let key = ObjectKey { kind, namespace: "default".into(), name: "w".into() };
    let widget = cluster.get_any(&key).await.unwrap().unwrap();
    assert!((&*widget as &dyn std::any::Any).is::<Unstructured>() && widget.as_resource::<Pod>().is_none());
    assert_eq!(widget.to_value()["size"], serde_json::json!([1, "x"]));
    cluster.stop().await;
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(Dir);

impl SmallDisk {
    /// `None`, and the reason on standard error, where this process may not mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = Dir::new("small-disk");
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir.0).output();
        let why = match mounted {
            Ok(output) if output.status.success() => return Some(Self(dir)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("SKIPPED: no file system can be mounted: {why}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0.0).status().ok();
    }
}

/// Stores config maps until there is no room. Returns how many were acknowledged.
async fn fill(cluster: &Cluster) -> usize {
    for stored in 0..200 {
        let map = ConfigMap::new(format!("n-{stored}")).entry("fill", "x".repeat(20_000));
        match cluster.create(map).await {
            Ok(_) => {}
            Err(ClientError::Store(StoreError::NoSpace(_))) => return stored,
            Err(error) => panic!("refused, but not for lack of room: {error}"),
        }
    }
    panic!("the disk does not get full");
}

async fn stored(cluster: &Cluster) -> usize {
    let maps = cluster.list::<ConfigMap>(&ListOptions::default()).await.unwrap().items;
    maps.iter().filter(|map| map.metadata.name.starts_with("n-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_the_cluster_runs_on_until_there_is_room() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let (store, filler) = (disk.0.0.join("store"), disk.0.0.join("filler"));
    std::fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let dir = Dir::new("full-disk");
    let start = |store: &Path| Cluster::builder().data_dir(store).node(node(&dir.0, "node")).start();
    let cluster = start(&store).await.unwrap();
    cluster.apply(Deployment::new("sleeper").image("sleep:1")).await.unwrap();
    running(&cluster, 1).await;
    let acknowledged = fill(&cluster).await;
    assert_eq!(stored(&cluster).await, acknowledged, "reads go on");
    assert_eq!(processes(&dir.0, "/bin/sleep").len(), 1, "so do the pods");
    std::fs::remove_file(&filler).unwrap();
    cluster.scale::<Deployment>("sleeper", 2).await.unwrap();
    running(&cluster, 2).await;
    cluster.stop().await;

    let again = start(&store).await.unwrap();
    assert_eq!(stored(&again).await, acknowledged);
    running(&again, 2).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_do_not_keep_their_volumes_in_one_directory() {
    let dir = Dir::new("one-directory");
    let shared = |name| node(&dir.0, name).data_dir(dir.0.join("shared"));
    let refused = Cluster::builder().node(shared("a")).node(shared("b")).start().await.unwrap_err();
    assert!(matches!(&refused, BuildError::Node { node, .. } if node == "b"), "{refused}");

    let cluster = Cluster::builder().node(shared("a")).start().await.unwrap();
    let refused = cluster.add_node(shared("b")).await.unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("another node keeps its volumes in"), "{why}");
    cluster.crash_node("a").await.unwrap();
    cluster.restart_node("a").await.unwrap();
    cluster.stop().await;
    Cluster::builder().node(shared("b")).start().await.unwrap().stop().await;
}
