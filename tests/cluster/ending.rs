//! How clusters end, and what they refuse to begin.

use std::time::Duration;

use orchestra::ClusterError;
use orchestra::model::{PodSpec, Volume};
use orchestra::prelude::*;

use crate::common::{Dir, LIMIT, processes, until};
use crate::node;

#[tokio::test(flavor = "multi_thread")]
async fn stopping_goes_on_when_nobody_waits_for_it() {
    let dir = Dir::new("ending");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster.apply(Deployment::new("sleep").image("sleep:1").replicas(3)).await.unwrap();
    let available = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == 3);
    until::<Deployment>(&cluster, "sleep", available).await;
    assert!(!processes(&dir.0, "").is_empty());
    let impatient = tokio::time::timeout(Duration::from_millis(1), cluster.stop()).await;
    assert!(impatient.is_err(), "three programs can't have ended yet");
    let gone = async {
        while !processes(&dir.0, "").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("nothing runs any more");
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
