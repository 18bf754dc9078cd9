//! Pods of high priority get room from those of low priority, in a whole cluster on the simulated runtime.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use orchestra::model::{
    AnyObjectExt, Container, Event, PodDisruptionBudget, PodGroup, PodSpec, PriorityClass, Quantity,
    Resource, Revision,
};
use orchestra::prelude::*;
use orchestra::store::{MemoryStore, Scope, Store};
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime, SimStop};

/// In simulated time.
const LIMIT: Duration = Duration::from_secs(600);
/// How many CPUs the one node has.
const CPUS: i64 = 4;

async fn cluster(store: &MemoryStore) -> Cluster {
    let host = SimRuntime::new(1);
    // Takes its time, so that whoever waits for its end is seen to wait.
    host.any_image(SimProgram::service().on_stop(SimStop::Exits(Duration::from_secs(5))));
    let node = NodeOptions::new("node", host).capacity("cpu", Quantity::from_units(CPUS));
    let cluster = Cluster::builder().store(store.clone()).seed(1).node(node).start().await.unwrap();
    cluster.create(PriorityClass::new("urgent", 1_000)).await.unwrap();
    cluster.create(PriorityClass::new("patient", 1_000).never_preempt()).await.unwrap();
    cluster.create(PriorityClass::new("batch", -10)).await.unwrap();
    cluster
}

/// As many pods of low priority as there is room for.
async fn fill(cluster: &Cluster) {
    let mut low = Deployment::new("low").image("app:1").replicas(4).request("cpu", "1");
    low.spec.template.spec_mut().priority_class_name = "batch".into();
    cluster.apply(low).await.unwrap();
    until::<Deployment>(cluster, "low", |d| d.is_some_and(|d| d.status.available_replicas == 4)).await;
}

fn pod(name: &str, class: &str) -> Pod {
    let spec = PodSpec::new(Container::new("main", "app:1").request("cpu", "2")).priority_class(class);
    Pod::new(name).spec(spec)
}

async fn until<T: Resource>(
    cluster: &Cluster,
    name: &str,
    holds: impl FnMut(Option<&T>) -> bool + Send,
) -> Option<Arc<T>> {
    match tokio::time::timeout(LIMIT, cluster.wait::<T>(name, holds)).await {
        Ok(object) => object.unwrap(),
        Err(_) => panic!("{name} is not as awaited: {:?}", cluster.find::<T>(name).await),
    }
}

fn runs(pod: Option<&Pod>) -> bool {
    pod.is_some_and(Pod::is_ready)
}

fn waits_with(text: &'static str) -> impl Fn(Option<&Pod>) -> bool {
    move |pod| {
        let condition = pod.and_then(|pod| pod.condition("PodScheduled"));
        condition.is_some_and(|condition| condition.message.contains(text))
    }
}

/// Whatever happened: at no moment did pods on the node request more than it has.
async fn assert_never_overcommitted(store: &MemoryStore) {
    let mut watch = store.watch(&Scope::of::<Pod>(), Revision::ZERO).await.unwrap();
    let mut there: BTreeMap<String, i64> = BTreeMap::new();
    let mut most = 0;
    while let Some(Some(event)) = watch.next().now_or_never() {
        for change in event.unwrap().changes.iter() {
            let pod = change.object.as_ref().and_then(|object| object.as_resource::<Pod>());
            match pod.filter(|pod| pod.node_name.is_some() && !pod.is_terminal()) {
                Some(pod) => {
                    let cpu = pod.spec.requests().get("cpu").map_or(0, |cpu| cpu.milli());
                    there.insert(change.key.name.to_string(), cpu);
                }
                None => drop(there.remove(&*change.key.name)),
            }
        }
        let sum: i64 = there.values().sum();
        most = most.max(sum);
        assert!(sum <= CPUS * 1_000, "{there:?}");
    }
    assert_eq!(most, CPUS * 1_000, "the node was never full");
}

#[tokio::test(start_paused = true)]
async fn the_urgent_get_room_when_others_have_ended() {
    let store = MemoryStore::new();
    let cluster = cluster(&store).await;
    fill(&cluster).await;
    cluster.create(pod("urgent", "urgent")).await.unwrap();
    let waiting =
        until::<Pod>(&cluster, "urgent", waits_with("until 2 pods of lower priority left node node"));
    assert_eq!(waiting.await.unwrap().status.nominated_node_name, "node");
    let urgent = until::<Pod>(&cluster, "urgent", runs).await.unwrap();
    assert_eq!(urgent.node_name.as_deref(), Some("node"));
    until::<Deployment>(&cluster, "low", |d| d.is_some_and(|d| d.status.available_replicas == 2)).await;
    let events = cluster.list::<Event>(&ListOptions::default()).await.unwrap().items;
    let preempted: Vec<_> = events.iter().filter(|event| event.reason == "Preempted").collect();
    assert_eq!(preempted.len(), 2, "{events:?}");
    assert_eq!(preempted[0].message, "Preempted by pod default/urgent of priority 1000 on node node");
    // Its replacements wait, and come back when it is gone.
    cluster.delete::<Pod>("urgent", &DeleteOptions::default()).await.unwrap();
    until::<Deployment>(&cluster, "low", |d| d.is_some_and(|d| d.status.available_replicas == 4)).await;
    assert_never_overcommitted(&store).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_while_waiting_leaves_the_room_to_others() {
    let store = MemoryStore::new();
    let cluster = cluster(&store).await;
    fill(&cluster).await;
    cluster.create(pod("urgent", "urgent")).await.unwrap();
    until::<Pod>(&cluster, "urgent", |p| p.is_some_and(|p| !p.status.nominated_node_name.is_empty())).await;
    cluster.delete::<Pod>("urgent", &DeleteOptions::default()).await.unwrap();
    until::<Pod>(&cluster, "urgent", |pod| pod.is_none()).await;
    until::<Deployment>(&cluster, "low", |d| d.is_some_and(|d| d.status.available_replicas == 4)).await;
    assert_never_overcommitted(&store).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn budgets_and_policies_are_kept() {
    let store = MemoryStore::new();
    let cluster = cluster(&store).await;
    fill(&cluster).await;
    let budget = PodDisruptionBudget::new("keep").selector([("app", "low")]).min_available(3);
    cluster.apply(budget).await.unwrap();
    let allows =
        |n| move |b: Option<&PodDisruptionBudget>| b.is_some_and(|b| b.status.disruptions_allowed == n);
    until::<PodDisruptionBudget>(&cluster, "keep", allows(1)).await;
    cluster.create(pod("patient", "patient")).await.unwrap();
    cluster.create(pod("urgent", "urgent")).await.unwrap();
    for name in ["patient", "urgent"] {
        until::<Pod>(&cluster, name, waits_with("0/1 nodes: 1 insufficient cpu")).await;
    }
    let low = cluster.get::<Deployment>("low").await.unwrap();
    assert_eq!(low.status.available_replicas, 4, "two would have to go, and only one may");
    cluster.delete::<PodDisruptionBudget>("keep", &DeleteOptions::default()).await.unwrap();
    until::<Pod>(&cluster, "urgent", runs).await;
    assert!(cluster.get::<Pod>("patient").await.unwrap().node_name.is_none(), "it makes nobody leave");
    // Of the room that is left it goes before those of lower priority.
    cluster.client().scale::<Deployment>("low", 0).await.unwrap();
    until::<Pod>(&cluster, "patient", runs).await;
    assert_never_overcommitted(&store).await;
    cluster.stop().await;
}

/// Creates the group and its pods, each of which requests a CPU.
async fn gang(cluster: &Cluster, name: &str, least: u32, count: usize, class: &str) -> Vec<String> {
    cluster.create(PodGroup::gang(name, least)).await.unwrap();
    let names: Vec<String> = (0..count).map(|i| format!("{name}-{i}")).collect();
    for pod_name in &names {
        let spec = PodSpec::new(Container::new("main", "app:1").request("cpu", "1")).priority_class(class);
        cluster.create(Pod::new(pod_name.as_str()).spec(spec.scheduling_group(name))).await.unwrap();
    }
    names
}

#[tokio::test(start_paused = true)]
async fn a_gang_waits_until_it_is_complete_and_gangs_do_not_block_each_other() {
    let store = MemoryStore::new();
    let cluster = cluster(&store).await;
    let early = PodSpec::new(Container::new("main", "app:1").request("cpu", "1")).scheduling_group("one");
    cluster.create(Pod::new("one-early").spec(early)).await.unwrap();
    until::<Pod>(&cluster, "one-early", waits_with("waits for its PodGroup one, which is not there")).await;
    cluster.create(PodGroup::gang("one", 4)).await.unwrap();
    until::<Pod>(&cluster, "one-early", waits_with("waits until its PodGroup one has 4 pods")).await;
    // Both have their first pods before either is complete; there is room for one of them.
    let two = gang(&cluster, "two", 3, 3, "").await;
    for name in &two {
        until::<Pod>(&cluster, name, runs).await;
    }
    for i in 0..3 {
        let spec = PodSpec::new(Container::new("main", "app:1").request("cpu", "1")).scheduling_group("one");
        cluster.create(Pod::new(format!("one-{i}")).spec(spec)).await.unwrap();
    }
    until::<Pod>(&cluster, "one-2", waits_with("gang default/one needs 4 pods placed together, 1 can be"))
        .await;
    let bound = |name: &'static str| {
        let cluster = &cluster;
        async move { cluster.get::<Pod>(name).await.unwrap().node_name.is_some() }
    };
    assert!(!bound("one-early").await && !bound("one-0").await, "a part of it was placed");
    cluster.delete::<Pod>("two-0", &DeleteOptions::default()).await.unwrap();
    until::<Pod>(&cluster, "one-2", waits_with("2 can be")).await;
    for name in &two[1..] {
        cluster.delete::<Pod>(name, &DeleteOptions::default()).await.unwrap();
    }
    for name in ["one-early", "one-0", "one-1", "one-2"] {
        until::<Pod>(&cluster, name, runs).await;
    }
    assert_never_overcommitted(&store).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn others_leave_for_all_of_a_gang_or_for_none_of_it() {
    let store = MemoryStore::new();
    let cluster = cluster(&store).await;
    fill(&cluster).await;
    let budget = PodDisruptionBudget::new("keep").selector([("app", "low")]).min_available(2);
    cluster.apply(budget).await.unwrap();
    let allows = |b: Option<&PodDisruptionBudget>| b.is_some_and(|b| b.status.disruptions_allowed == 2);
    until::<PodDisruptionBudget>(&cluster, "keep", allows).await;
    let names = gang(&cluster, "urgent", 3, 3, "urgent").await;
    for name in &names {
        until::<Pod>(&cluster, name, waits_with("needs 3 pods placed together, 0 can be")).await;
    }
    let low = cluster.get::<Deployment>("low").await.unwrap();
    assert_eq!(low.status.available_replicas, 4, "three would have to go, and only two may");
    cluster.delete::<PodDisruptionBudget>("keep", &DeleteOptions::default()).await.unwrap();
    until::<Pod>(&cluster, "urgent-0", waits_with("until 1 pod of lower priority left node node")).await;
    for name in &names {
        until::<Pod>(&cluster, name, runs).await;
    }
    until::<Deployment>(&cluster, "low", |d| d.is_some_and(|d| d.status.available_replicas == 1)).await;
    assert_never_overcommitted(&store).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gang_that_loses_a_pod_while_it_waits_for_others_to_leave_gives_up_together() {
    let store = MemoryStore::new();
    let cluster = cluster(&store).await;
    fill(&cluster).await;
    let names = gang(&cluster, "urgent", 2, 2, "urgent").await;
    until::<Pod>(&cluster, "urgent-0", |p| p.is_some_and(|p| !p.status.nominated_node_name.is_empty())).await;
    cluster.delete::<Pod>(&names[1], &DeleteOptions::default()).await.unwrap();
    until::<Deployment>(&cluster, "low", |d| d.is_some_and(|d| d.status.available_replicas == 4)).await;
    assert!(
        cluster.get::<Pod>("urgent-0").await.unwrap().node_name.is_none(),
        "a part of the gang was placed"
    );
    assert_never_overcommitted(&store).await;
    cluster.stop().await;
}
