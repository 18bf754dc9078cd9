//! Shares of GPUs in a whole cluster on the simulated runtime: pods are told which device is theirs, and a control plane
//! that comes later knows it too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use orchestra::model::{Container, GPU, GPU_MILLI, PodSpec, Quantity};
use orchestra::prelude::*;
use orchestra::store::MemoryStore;
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};

/// In simulated time.
const LIMIT: Duration = Duration::from_secs(600);

/// Each of a seed of its own, so that no two pods get one uid.
async fn cluster(store: &MemoryStore, host: &SimRuntime, seed: u64) -> Cluster {
    host.any_image(SimProgram::service());
    let node = NodeOptions::new("node", host.clone()).capacity(GPU, Quantity::from_units(2));
    Cluster::builder().store(store.clone()).seed(seed).node(node).start().await.unwrap()
}

fn pod(name: &str, milli: &str) -> Pod {
    Pod::new(name).spec(PodSpec::new(Container::new("main", "app:1").request(GPU_MILLI, milli)))
}

/// The devices of a pod that runs.
async fn devices(cluster: &Cluster, name: &str) -> Vec<u16> {
    let ready = cluster.wait::<Pod>(name, |pod| pod.is_some_and(Pod::is_ready));
    tokio::time::timeout(LIMIT, ready).await.unwrap().unwrap().unwrap().gpu_devices()
}

async fn waits(cluster: &Cluster, name: &str, text: &'static str) {
    let told = cluster.wait::<Pod>(name, move |pod| {
        pod.and_then(|pod| pod.condition("PodScheduled")).is_some_and(|c| c.message.contains(text))
    });
    let told = tokio::time::timeout(LIMIT, told).await;
    assert!(told.is_ok(), "{:?}", cluster.find::<Pod>(name).await);
}

#[tokio::test(start_paused = true)]
async fn a_share_stays_on_its_device_whoever_schedules_next() {
    let (store, host) = (MemoryStore::new(), SimRuntime::new(1));
    let first = cluster(&store, &host, 1).await;
    for (name, milli, device) in [("a", "700", 0), ("b", "600", 1), ("c", "400", 1)] {
        first.create(pod(name, milli)).await.unwrap();
        assert_eq!(devices(&first, name).await, [device], "{name}");
    }
    first.create(pod("late", "301")).await.unwrap();
    waits(&first, "late", "insufficient orchestra.dev/gpu-milli").await;
    let refused = first.create(pod("much", "1500")).await.unwrap_err().to_string();
    assert!(refused.contains("1 to 999 thousandths of one GPU"), "{refused}");
    drop(first);

    let second = cluster(&store, &host, 2).await;
    // 1700 of 2000 are taken, and no device has more than 300 left.
    second.create(pod("small", "300")).await.unwrap();
    assert_eq!(devices(&second, "small").await, [0]);
    waits(&second, "late", "insufficient orchestra.dev/gpu-milli").await;
    second.delete::<Pod>("c", &DeleteOptions::default()).await.unwrap();
    assert_eq!(devices(&second, "late").await, [1]);
    second.stop().await;
}
