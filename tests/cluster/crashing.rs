//! Versions that crash soon after their start, with nothing that asks whether they are ready.

use std::collections::BTreeSet;

use orchestra::controller::is_rolled_out;
use orchestra::prelude::*;

use crate::common::{Dir, LIMIT, processes, until};
use crate::node;

const REPLICAS: u32 = 10;
const FLOOR: u32 = 8;
/// How many pods of a new version there may be beside as many old ones as the floor: the default surge, rounded up, and
/// those that may be unavailable.
const NEW: usize = 5;

fn web(name: &str, image: &str) -> Deployment {
    Deployment::new(name).image(image).replicas(REPLICAS).max_unavailable(REPLICAS - FLOOR).grace_period(1)
}

/// Rolls out `image` until all of its pods that there may be have crashed. Answers the fewest pods that were available.
async fn fewest_until_all_crashed(cluster: &Cluster, name: &str, image: &str) -> u32 {
    let all = ListOptions::default();
    let from = cluster.list::<Pod>(&all).await.unwrap().revision;
    let mut deployments = cluster.watch::<Deployment>(&all, from).await.unwrap();
    let mut pods = cluster.watch::<Pod>(&all, from).await.unwrap();
    cluster.apply(web(name, image)).await.unwrap();
    let (mut fewest, mut crashed) = (REPLICAS, BTreeSet::new());
    while crashed.len() < NEW {
        tokio::select! {
            event = deployments.next() => {
                let event = event.unwrap().unwrap();
                if event.object().metadata.name == name {
                    fewest = fewest.min(event.object().status.available_replicas);
                }
            }
            event = pods.next() => {
                let event = event.unwrap().unwrap();
                let (meta, status) = (&event.object().metadata, &event.object().status);
                let again = status.container_statuses.iter().any(|c| c.restart_count > 0);
                if again && meta.name.starts_with(name) {
                    crashed.insert(meta.name.clone());
                }
            }
        }
    }
    fewest
}

#[tokio::test(flavor = "multi_thread")]
async fn they_cost_no_more_pods_than_may_be_unavailable() {
    let dir = Dir::new("crashing");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let versions = [("at-once", "false:1"), ("shortly", "ends-in:0.3"), ("soon", "ends-in:2")];
    for (name, _) in versions {
        cluster.apply(web(name, "sleep:1")).await.unwrap();
    }
    for (name, _) in versions {
        until::<Deployment>(&cluster, name, |d| d.is_some_and(is_rolled_out)).await;
    }
    let bad = versions.map(|(name, image)| fewest_until_all_crashed(&cluster, name, image));
    let fewest = tokio::time::timeout(LIMIT, futures_util::future::join_all(bad)).await.expect("they crash");
    assert!(fewest.iter().all(|available| *available >= FLOOR), "{versions:?}: {fewest:?}");
    let left = processes(&dir.0, "/bin/sleep").len();
    assert_eq!(left, versions.len() * FLOOR as usize, "what really runs of the old versions");
    cluster.stop().await;
}
