//! Whole clusters on real processes, as an application uses them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod common;
mod crashing;
mod dns;
mod ending;
mod grpc;
mod interrupt;
mod pods;
mod ports;
mod promises;
mod volumes;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use common::{Dir, LIMIT, processes, started, until};
use orchestra::BuildError;
use orchestra::client::ClientError;
use orchestra::model::{ContainerState, Event, PodPhase};
use orchestra::prelude::*;

/// No test of its own: what the pods of these tests run, with the text to answer in `ANSWER`.
#[test]
fn serve() {
    let Ok(answer) = std::env::var("ANSWER") else { return };
    let listener = TcpListener::bind((std::env::var("POD_IP").unwrap(), 8080)).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _request = stream.read(&mut [0; 1024]).unwrap();
        let length = answer.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all((head + &answer).as_bytes()).unwrap();
    }
}

fn node(dir: &Path, name: &str) -> NodeOptions {
    let server = |answer: &str| {
        let image = ProcessImage::new(std::env::current_exe().unwrap());
        image.args(["--exact", "serve", "--nocapture"]).env("ANSWER", answer)
    };
    let runtime = ProcessRuntime::builder(dir.join(name))
        .image("one:1", server("one"))
        .image("two:1", server("two"))
        .image("sleep:1", ProcessImage::new("/bin/sleep").arg("1000"))
        .image("false:1", ProcessImage::new("/bin/false"))
        .image("sh:1", ProcessImage::new("/bin/sh"))
        .image("deaf:1", ProcessImage::new("/bin/sh").args(["-c", "trap '' TERM; sleep 1000 & wait; wait"]))
        .image("ends-in:0.3", ProcessImage::new("/bin/sh").args(["-c", "sleep 0.3; exit 1"]))
        .image("ends-in:2", ProcessImage::new("/bin/sh").args(["-c", "sleep 2; exit 1"]))
        .build()
        .unwrap();
    NodeOptions::new(name, runtime).data_dir(dir.join(name).join("volumes"))
}

async fn text(cluster: &Cluster, service: &str) -> String {
    let answer = cluster.service(service, 8080).get("/").await.unwrap();
    answer.into_body().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_in_one_process_do_not_meet() {
    let dir = Dir::new("two");
    let mut clusters = Vec::new();
    for name in ["one", "two"] {
        let cluster = Cluster::builder().node(node(&dir.0, name)).start().await.unwrap();
        cluster.apply(Deployment::new("web").image(format!("{name}:1")).port(8080)).await.unwrap();
        cluster.apply(Service::new("web").port(8080)).await.unwrap();
        clusters.push((name, cluster));
    }
    for (name, cluster) in &clusters {
        assert_eq!(text(cluster, "web").await, *name);
        let nodes = cluster.list::<Node>(&ListOptions::default()).await.unwrap();
        assert_eq!(nodes.items.len(), 1, "each knows its own node only");
    }
    for (_, cluster) in clusters {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_cluster_gives_no_identity_twice_on_one_store() {
    let dir = Dir::new("seeded");
    let mut identities = std::collections::BTreeSet::new();
    for name in ["one", "two", "three"] {
        let cluster = Cluster::builder().data_dir(dir.0.join("store")).seed(7).start().await.unwrap();
        let map = cluster.create(orchestra::model::ConfigMap::new(name)).await.unwrap();
        assert!(identities.insert(map.metadata.uid.clone()), "{name} is no other");
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_cluster_comes_back_and_takes_up_what_still_runs() {
    let dir = Dir::new("durable");
    let store = dir.0.join("store");
    let first = Cluster::builder().data_dir(&store).node(node(&dir.0, "node")).start().await.unwrap();
    first.apply(Deployment::new("sleeper").image("sleep:1").replicas(2)).await.unwrap();
    let ready = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == 2);
    until::<Deployment>(&first, "sleeper", ready).await;
    let before = started(&dir.0, "/bin/sleep", 2).await;
    assert_eq!(before.len(), 2);
    first.leave().await;
    assert_eq!(processes(&dir.0, "/bin/sleep"), before, "they go on without a cluster");

    let second = Cluster::builder().data_dir(&store).node(node(&dir.0, "node")).start().await.unwrap();
    second.ready().await;
    let sleeper = until::<Deployment>(&second, "sleeper", ready).await.unwrap();
    assert_eq!(sleeper.spec.replicas, 2, "the object is there again");
    second.scale::<Deployment>("sleeper", 3).await.unwrap();
    until::<Deployment>(&second, "sleeper", |d| d.is_some_and(|d| d.status.available_replicas == 3)).await;
    let after = started(&dir.0, "/bin/sleep", 3).await;
    assert!(
        before.iter().all(|pid| after.contains(pid)),
        "taken up, not started anew: {before:?}, {after:?}"
    );
    second.stop().await;
    assert!(processes(&dir.0, "/bin/sleep").is_empty(), "stopping the cluster ends its pods");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_waits_and_says_why() {
    let dir = Dir::new("trouble");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster
        .create(Pod::new("nowhere").container(Container::new("main", "sleep:1").request("cpu", "999")))
        .await
        .unwrap();
    cluster.create(Pod::new("unknown").image("no-such-image:1")).await.unwrap();
    cluster.create(Pod::new("crashing").image("false:1")).await.unwrap();
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: elsewhere}, spec: {containers: [{name: main, \
        image: 'sleep:1'}], volumes: [{name: data, nfs: {server: files, path: /}}]}}";
    cluster.apply_yaml(manifest).await.unwrap();

    let explained = |pod: Option<&Pod>| {
        let condition = pod.and_then(|pod| pod.condition("PodScheduled"));
        condition.is_some_and(|c| c.message.starts_with("0/1 nodes") && c.message.contains("cpu"))
    };
    until::<Pod>(&cluster, "nowhere", explained).await;
    let waits = |reason: &'static str| {
        move |pod: Option<&Pod>| {
            pod.is_some_and(|pod| {
                let waiting = pod.status.container_statuses.iter().filter_map(|c| match &c.state {
                    ContainerState::Waiting(waiting) => Some(waiting.reason.as_str()),
                    _ => None,
                });
                waiting.into_iter().any(|r| r == reason) && pod.status.phase != PodPhase::Failed
            })
        }
    };
    until::<Pod>(&cluster, "unknown", waits("ImagePullBackOff")).await;
    until::<Pod>(&cluster, "crashing", waits("CrashLoopBackOff")).await;
    // Nobody mounts the volume, and still nothing of the pod runs without it.
    until::<Pod>(&cluster, "elsewhere", waits("CreateContainerConfigError")).await;
    assert!(processes(&dir.0, "/bin/sleep").is_empty());
    let reported = async {
        loop {
            let events = cluster.list::<Event>(&ListOptions::default()).await.unwrap().items;
            let told = |name: &str| events.iter().any(|e| e.involved_object.name == name);
            let volume =
                |e: &Event| e.involved_object.name == "elsewhere" && e.message.contains("volume data");
            if told("unknown") && told("crashing") && told("nowhere") && events.iter().any(|e| volume(e)) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, reported).await.expect("each has an event");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_dropped_or_refused_leaves_no_task_and_says_why() {
    let dir = Dir::new("refused");
    let twice = Cluster::builder().node(node(&dir.0, "node")).node(node(&dir.0, "node-2"));
    let mut same = node(&dir.0, "node-3");
    same.name = "node".to_owned();
    let error = twice.node(same).start().await.unwrap_err();
    assert!(matches!(error, BuildError::DuplicateNode(ref name) if name == "node"), "{error}");

    let store = dir.0.join("store");
    let cluster = Cluster::builder().data_dir(&store).start().await.unwrap();
    let taken = Cluster::builder().data_dir(&store).start().await.unwrap_err();
    assert!(matches!(taken, BuildError::Store(_)), "one process at a time: {taken}");
    cluster.create(ConfigMap::new("kept")).await.unwrap();
    let client = cluster.client().clone();
    drop(cluster);
    // The store lets go of its directory when the last handle is gone.
    drop(client);
    let reopened = async {
        loop {
            match Cluster::builder().data_dir(&store).start().await {
                Ok(cluster) => break cluster,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let again = tokio::time::timeout(LIMIT, reopened).await.expect("a dropped cluster lets go of its store");
    assert!(again.find::<ConfigMap>("kept").await.unwrap().is_some());
    let error = again.get::<ConfigMap>("lost").await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotFound(_)) && error.to_string().contains("ConfigMap default/lost")
    );
    again.stop().await;
}
