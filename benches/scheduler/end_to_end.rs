//! What a whole cluster does: store, watches, scheduler, bindings, and an agent with a simulated runtime on every node.

use std::any::Any;

use orchestra::model::{AnyObject, Quantity, Revision};
use orchestra::prelude::*;
use orchestra::store::{MemoryStore, Scope, Store};
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};
use tokio::time::Instant;

const NODES: u64 = 5_000;
const PODS: usize = 50_000;
/// How many pods a client creates together.
const TOGETHER: usize = 500;

/// Pods per second of real time: from the first one's creation until the last one is bound, and until all are ready.
pub(super) fn rates() -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new();
        let mut builder = Cluster::builder().store(store.clone());
        for i in 0..NODES {
            let host = SimRuntime::new(i);
            host.any_image(SimProgram::service());
            let node = NodeOptions::new(format!("node-{i}"), host).capacity("cpu", Quantity::from_units(64));
            builder = builder.node(node);
        }
        let cluster = builder.start().await.unwrap();
        cluster.ready().await;
        let from = store.revision(&Scope::of::<Pod>()).await.unwrap();
        let watching = runtime.spawn(watch(store.clone(), from));
        let client = cluster.client();
        let template = Pod::new("web")
            .container(Container::new("main", "web:1").request("cpu", "100m").request("memory", "64Mi"));
        let started = Instant::now();
        for first in (0..PODS).step_by(TOGETHER) {
            let mut transaction = client.transaction();
            for i in first..first + TOGETHER {
                let mut pod = template.clone();
                pod.metadata.name = format!("web-{i}");
                transaction = transaction.create(pod);
            }
            transaction.commit().await.unwrap();
        }
        let (bound, ready) = watching.await.unwrap();
        cluster.leave().await;
        let rate = |until: Instant| PODS as f64 / (until - started).as_secs_f64();
        (rate(bound), rate(ready))
    })
}

/// When the last pod was bound, and when it was ready.
async fn watch(store: MemoryStore, from: Revision) -> (Instant, Instant) {
    let mut watch = store.watch(&Scope::of::<Pod>(), from).await.unwrap();
    let (mut bound, mut ready, mut last) = (0, 0, None);
    while ready < PODS {
        let event = watch.next().await.unwrap().unwrap();
        for change in event.changes.iter() {
            let stands = |object: &AnyObject| {
                let any: &dyn Any = &**object;
                any.downcast_ref::<Pod>().map(|pod| (pod.node_name.is_some(), pod.is_ready()))
            };
            let is = change.object.as_ref().and_then(stands).unwrap_or_default();
            let was = change.previous.as_ref().and_then(stands).unwrap_or_default();
            bound += usize::from(is.0 && !was.0);
            ready += usize::from(is.1 && !was.1);
        }
        if bound == PODS && last.is_none() {
            last = Some(Instant::now());
        }
    }
    (last.unwrap(), Instant::now())
}
