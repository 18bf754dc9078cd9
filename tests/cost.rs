//! What a replica costs, counted in commits rather than in time, so that no machine is too busy for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::FutureExt;
use orchestra::model::{EndpointSlice, Quantity, ReplicaSet, Resource, Revision};
use orchestra::prelude::*;
use orchestra::store::{MemoryStore, Scope, Store, Watch};
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};

/// Commits from applying a deployment and its service until all replicas are available.
#[derive(Debug)]
struct Commits {
    all: u64,
    deployments: u64,
    replica_sets: u64,
    slices: u64,
}

async fn commits(replicas: u32) -> Commits {
    let store = MemoryStore::new();
    let mut builder = Cluster::builder().store(store.clone()).seed(1);
    for i in 0..4 {
        let host = SimRuntime::new(i);
        host.any_image(SimProgram::service());
        let room = Quantity::from_units(replicas.into());
        builder = builder.node(NodeOptions::new(format!("node-{i}"), host).capacity("pods", room));
    }
    let cluster = builder.start().await.unwrap();
    cluster.ready().await;
    let from = store.revision(&Scope::default()).await.unwrap();
    let deployments = watch::<Deployment>(&store, from).await;
    let (sets, slices) =
        (watch::<ReplicaSet>(&store, from).await, watch::<EndpointSlice>(&store, from).await);
    cluster.apply(Service::new("web").port(8080)).await.unwrap();
    cluster.apply(Deployment::new("web").image("web:1").replicas(replicas).port(8080)).await.unwrap();
    let all = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == replicas);
    cluster.wait::<Deployment>("web", all).await.unwrap();
    let until = store.revision(&Scope::default()).await.unwrap();
    let counts = Commits {
        all: until.0 - from.0,
        deployments: count(deployments),
        replica_sets: count(sets),
        slices: count(slices),
    };
    cluster.stop().await;
    counts
}

async fn watch<T: Resource>(store: &MemoryStore, from: Revision) -> Watch {
    store.watch(&Scope::of::<T>(), from).await.unwrap()
}

/// How many commits a watch has seen.
fn count(mut watch: Watch) -> u64 {
    let mut events = 0;
    while let Some(Some(event)) = watch.next().now_or_never() {
        event.unwrap();
        events += 1;
    }
    events
}

#[tokio::test(start_paused = true)]
async fn the_commits_for_a_replica_do_not_grow_with_their_number() {
    let (few, many) = (commits(200).await, commits(1_000).await);
    assert!(many.all < few.all * 5 * 3 / 2, "200 replicas took {few:?}, 1,000 took {many:?}");
    // What looks at all pods, or holds a hundred of them, is written for many changes together.
    for owner in [many.deployments, many.replica_sets, many.slices] {
        assert!(owner < 200, "1,000 replicas took {many:?}");
    }
}

/// This process's resident memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_takes_of_memory_does_not_grow_with_the_nodes() {
    const PODS: u32 = 1_000;
    let mut builder = Cluster::builder().seed(1);
    for i in 0..300 {
        let host = SimRuntime::new(i);
        host.any_image(SimProgram::service());
        builder = builder.node(NodeOptions::new(format!("node-{i}"), host));
    }
    let cluster = builder.start().await.unwrap();
    cluster.ready().await;
    let before = resident();
    cluster.apply(Deployment::new("web").image("web:1").replicas(PODS)).await.unwrap();
    let all = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == PODS);
    cluster.wait::<Deployment>("web", all).await.unwrap();
    let each = resident().saturating_sub(before) / PODS as usize;
    // A kilobyte for each of the nodes would be 300,000.
    assert!(each < 120_000, "a pod took {each} bytes");
    cluster.stop().await;
}
