//! The controllers on a memory store, with a paused clock: what they bring about, and what they leave alone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use orchestra_core::client::{Client, ClientError, DeleteOptions, ListOptions, Propagation};
use orchestra_core::clock::TokioClock;
use orchestra_core::controller::{
    DisruptionController, EndpointsController, GarbageCollector, NODE_LEASE_NAMESPACE, NamespaceController,
    NodeLifecycleController, NodeLifecycleOptions, SchedulingLoop, UNREACHABLE,
};
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::model::{
    AnyObject, AnyObjectExt, Condition, ConfigMap, Container, Deployment, Endpoint, EndpointSlice, Event,
    Lease, Namespace, Node, ObjectKey, OwnerReference, Pod, PodDisruptionBudget, PriorityClass, Protocol,
    ReplicaSet, Resource, Revision, Scheme, Service, Taint, TaintEffect, Timestamp, Toleration,
};
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{Batch, Explanation, Scheduler};
use orchestra_core::store::{
    Commit, Committed, Listing, MemoryStore, Scope, Store, StoreError, Watch, Write,
};

struct World {
    client: Client,
    caches: Caches,
    rng: Rng,
    tasks: Tasks,
}

impl World {
    async fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    async fn on(store: Arc<dyn Store>) -> Self {
        let rng = Rng::seeded(1);
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_micros(1_800_000_000_000_000)));
        let client = Client::new(Arc::clone(&store), Arc::new(Scheme::kubernetes()), clock, rng.clone());
        for name in ["default", NODE_LEASE_NAMESPACE] {
            client.create(Namespace::new(name)).await.unwrap();
        }
        let tasks = Tasks::new();
        Self { client, caches: Caches::new(store, tasks.clone()), rng, tasks }
    }

    async fn running(&self, name: &str, node: &str, ip: [u8; 4]) -> Arc<Pod> {
        let pod = self.client.create(Pod::new(name).image("i").label("app", "web")).await.unwrap();
        self.client.transaction().bind(&pod, node).commit().await.unwrap();
        self.client
            .modify_status::<Pod>(name, |pod| {
                pod.status.pod_ip = Some(ip.into());
                pod.set_condition(Condition::new("Ready", true, Timestamp::EPOCH));
            })
            .await
            .unwrap()
    }

    /// Waits until the object is as `holds` says; the deadline is in paused time, so it costs none.
    async fn until<T: Resource>(&self, name: &str, holds: impl FnMut(Option<&T>) -> bool + Send) {
        let wait = self.client.wait::<T>(name, holds);
        tokio::time::timeout(Duration::from_secs(600), wait).await.expect("it came about in time").unwrap();
    }
}

fn owned_by<T: Resource>(owner: &T, name: &str) -> ConfigMap {
    let mut part = ConfigMap::new(name);
    part.metadata.owner_references = vec![OwnerReference::controller_of(owner)];
    part
}

#[tokio::test(start_paused = true)]
async fn a_service_lists_the_ready_pods_it_selects_and_forgets_those_that_go() {
    let world = World::new().await;
    EndpointsController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    world.client.create(Service::new("web").port(80).target_port(8080)).await.unwrap();
    let a = world.running("a", "node", [127, 1, 0, 1]).await;
    world.running("b", "node", [127, 1, 0, 2]).await;
    let ready = |slice: Option<&EndpointSlice>| {
        slice.map_or(0, |s| s.endpoints.iter().filter(|e| e.conditions.is_ready()).count())
    };
    world.until::<EndpointSlice>("web-0", |slice| ready(slice) == 2).await;
    let slice = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    assert_eq!(slice.ports[0].port, Some(8080));
    assert!(slice.endpoints.iter().any(|e| e.target_ref.as_ref().unwrap().uid == a.metadata.uid));

    world.client.delete::<Pod>("a", &DeleteOptions::default()).await.unwrap();
    world.until::<EndpointSlice>("web-0", |slice| ready(slice) == 1).await;
    let slice = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    assert!(slice.endpoints.iter().any(|e| e.conditions.is_terminating()), "it is listed until it is gone");
    world.client.delete::<Pod>("a", &DeleteOptions::default().grace_period(0)).await.unwrap();
    world.until::<EndpointSlice>("web-0", |slice| slice.is_some_and(|s| s.endpoints.len() == 1)).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_port_speaks_changes_for_endpoints_that_are_listed_already() {
    let world = World::new().await;
    EndpointsController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    world.client.create(Service::new("web").port(80)).await.unwrap();
    world.running("a", "node", [127, 1, 0, 1]).await;
    world.until::<EndpointSlice>("web-0", |slice| slice.is_some_and(|s| s.endpoints.len() == 1)).await;
    let change = |service: &mut Service| {
        service.spec.ports[0].protocol = Protocol::Udp;
        service.spec.ports[0].app_protocol = "example.org/echo".to_owned();
    };
    world.client.modify::<Service>("web", change).await.unwrap();
    world.until::<EndpointSlice>("web-0", |s| s.is_some_and(|s| s.ports[0].protocol == Protocol::Udp)).await;
    world.running("b", "node", [127, 1, 0, 2]).await;
    world.until::<EndpointSlice>("web-0", |slice| slice.is_some_and(|s| s.endpoints.len() == 2)).await;
    let slice = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    assert_eq!(slice.ports[0].app_protocol, "example.org/echo");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn slices_that_others_made_for_a_service_are_left_alone() {
    let world = World::new().await;
    EndpointsController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    let outside = Endpoint { addresses: vec!["10.0.0.1".to_owned()], ..Endpoint::default() };
    let mut by_hand = EndpointSlice::new("web-0").service("web");
    by_hand.endpoints = vec![outside];
    let by_hand = world.client.create(by_hand).await.unwrap();
    world.client.create(Service::new("web").port(80)).await.unwrap();
    world.running("a", "node", [127, 1, 0, 1]).await;
    world.until::<EndpointSlice>("web-1", |slice| slice.is_some_and(|s| s.endpoints.len() == 1)).await;
    world.client.delete::<Pod>("a", &DeleteOptions::default().grace_period(0)).await.unwrap();
    world.until::<EndpointSlice>("web-1", |slice| slice.is_some_and(|s| s.endpoints.is_empty())).await;
    assert_eq!(world.client.get::<EndpointSlice>("web-0").await.unwrap(), by_hand);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_in_the_zones_of_their_nodes() {
    let world = World::new().await;
    EndpointsController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    let in_zone = |name: &str, zone: &str| Node::new(name).label("topology.kubernetes.io/zone", zone);
    world.client.create(in_zone("one", "a")).await.unwrap();
    world.client.create(Service::new("web").port(80)).await.unwrap();
    world.running("a", "one", [127, 1, 0, 1]).await;
    world.running("b", "two", [127, 1, 0, 2]).await;
    let zones = |slice: Option<&EndpointSlice>, wanted: [&str; 2]| {
        slice.is_some_and(|slice| slice.endpoints.iter().map(|e| e.zone.as_str()).eq(wanted))
    };
    world.until::<EndpointSlice>("web-0", |slice| zones(slice, ["a", ""])).await;
    // A node that comes after its pod, and one that is told another zone.
    world.client.create(in_zone("two", "b")).await.unwrap();
    world.until::<EndpointSlice>("web-0", |slice| zones(slice, ["a", "b"])).await;
    world.client.apply(in_zone("one", "c")).await.unwrap();
    world.until::<EndpointSlice>("web-0", |slice| zones(slice, ["c", "b"])).await;
    let before = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    world.client.create(Node::new("three")).await.unwrap();
    world.caches.barrier().await.unwrap();
    let after = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_large_service_is_cut_into_slices_and_a_change_rewrites_one() {
    let world = World::new().await;
    EndpointsController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    for i in 0..150u8 {
        world.running(&format!("pod-{i}"), "node", [127, 1, 1, i]).await;
    }
    world.client.create(Service::new("web").port(80)).await.unwrap();
    world.until::<EndpointSlice>("web-1", |slice| slice.is_some_and(|s| s.endpoints.len() == 50)).await;
    let first = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    assert_eq!(first.endpoints.len(), 100);
    let second = world.client.get::<EndpointSlice>("web-1").await.unwrap();
    let in_second = second.endpoints[0].target_ref.as_ref().unwrap().name.clone();
    world.client.delete::<Pod>(&in_second, &DeleteOptions::default().grace_period(0)).await.unwrap();
    world.until::<EndpointSlice>("web-1", |slice| slice.is_some_and(|s| s.endpoints.len() == 49)).await;
    let after = world.client.get::<EndpointSlice>("web-0").await.unwrap();
    assert_eq!(
        after.metadata.resource_version, first.metadata.resource_version,
        "the other slice is not touched"
    );
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn parts_go_with_their_last_owner_and_only_then() {
    let world = World::new().await;
    let one = world.client.create(ConfigMap::new("one")).await.unwrap();
    let two = world.client.create(ConfigMap::new("two")).await.unwrap();
    let mut shared = owned_by(&*one, "shared");
    shared
        .metadata
        .owner_references
        .push(OwnerReference { controller: false, ..OwnerReference::controller_of(&*two) });
    world.client.create(shared).await.unwrap();
    world.client.create(owned_by(&*one, "part")).await.unwrap();
    GarbageCollector::start(&world.client, &world.rng, &world.tasks);
    world.client.delete::<ConfigMap>("one", &DeleteOptions::default()).await.unwrap();
    world.until::<ConfigMap>("part", |part| part.is_none()).await;
    assert!(world.client.find::<ConfigMap>("shared").await.unwrap().is_some(), "it has another owner");
    world.client.delete::<ConfigMap>("two", &DeleteOptions::default()).await.unwrap();
    world.until::<ConfigMap>("shared", |part| part.is_none()).await;

    // An owner of the same name, but another object: the part is an orphan from the start.
    world.client.create(ConfigMap::new("one")).await.unwrap();
    world.client.create(owned_by(&*one, "late")).await.unwrap();
    world.until::<ConfigMap>("late", |part| part.is_none()).await;
    assert!(world.client.find::<ConfigMap>("one").await.unwrap().is_some());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn foreground_waits_for_the_parts_and_orphan_frees_them() {
    let world = World::new().await;
    GarbageCollector::start(&world.client, &world.rng, &world.tasks);
    let owner = world.client.create(ConfigMap::new("owner")).await.unwrap();
    let mut part = owned_by(&*owner, "part");
    part.metadata.finalizers = vec!["example.org/slow".into()];
    world.client.create(part).await.unwrap();
    let foreground = DeleteOptions::default().propagation(Propagation::Foreground);
    world.client.delete::<ConfigMap>("owner", &foreground).await.unwrap();
    world.until::<ConfigMap>("part", |part| part.is_some_and(|p| p.metadata.is_deleting())).await;
    assert!(
        world.client.get::<ConfigMap>("owner").await.unwrap().metadata.is_deleting(),
        "it waits for its part"
    );
    world.client.modify::<ConfigMap>("part", |part| part.metadata.finalizers.clear()).await.unwrap();
    world.until::<ConfigMap>("owner", |owner| owner.is_none()).await;

    let owner = world.client.create(ConfigMap::new("owner")).await.unwrap();
    world.client.create(owned_by(&*owner, "kept")).await.unwrap();
    // The collector must know of the part before it can free it.
    world.until::<ConfigMap>("kept", |kept| kept.is_some()).await;
    let orphan = DeleteOptions::default().propagation(Propagation::Orphan);
    world.client.delete::<ConfigMap>("owner", &orphan).await.unwrap();
    world.until::<ConfigMap>("owner", |owner| owner.is_none()).await;
    let kept = world.client.get::<ConfigMap>("kept").await.unwrap();
    assert!(kept.metadata.owner_references.is_empty() && !kept.metadata.is_deleting());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn foreground_does_not_wait_for_what_others_own_or_nobody_does() {
    let world = World::new().await;
    GarbageCollector::start(&world.client, &world.rng, &world.tasks);
    let owner = world.client.create(ConfigMap::new("owner")).await.unwrap();
    let other = world.client.create(ConfigMap::new("other")).await.unwrap();
    let mut shared = owned_by(&*owner, "shared");
    let also = OwnerReference { controller: false, ..OwnerReference::controller_of(&*other) };
    shared.metadata.owner_references.push(also.clone());
    world.client.create(shared).await.unwrap();
    let foreground = DeleteOptions::default().propagation(Propagation::Foreground);
    world.client.delete::<ConfigMap>("owner", &foreground).await.unwrap();
    world.until::<ConfigMap>("owner", |owner| owner.is_none()).await;
    let shared = world.client.get::<ConfigMap>("shared").await.unwrap();
    assert_eq!(shared.metadata.owner_references, [also]);

    // A part that can't go at once, and is then taken from the owner that waits for it.
    let mut part = owned_by(&*other, "part");
    part.metadata.finalizers = vec!["example.org/slow".into()];
    world.client.create(part).await.unwrap();
    world.client.delete::<ConfigMap>("other", &foreground).await.unwrap();
    world.until::<ConfigMap>("part", |part| part.is_some_and(|p| p.metadata.is_deleting())).await;
    world.client.modify::<ConfigMap>("part", |part| part.metadata.owner_references.clear()).await.unwrap();
    world.until::<ConfigMap>("other", |other| other.is_none()).await;
    assert!(world.client.find::<ConfigMap>("part").await.unwrap().is_some());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_namespace_stays_whatever_it_says_of_an_owner_in_one() {
    let world = World::new().await;
    let owner = world.client.create(ConfigMap::new("owner")).await.unwrap();
    let gone = world.client.create(Node::new("gone")).await.unwrap();
    world.client.delete::<Node>("gone", &DeleteOptions::default()).await.unwrap();
    let mut kept = PriorityClass::new("a-kept", 1);
    kept.metadata.owner_references = vec![OwnerReference::controller_of(&*owner)];
    let mut part = PriorityClass::new("b-part", 1);
    part.metadata.owner_references = vec![OwnerReference::controller_of(&*gone)];
    world.client.create(kept).await.unwrap();
    world.client.create(part).await.unwrap();
    GarbageCollector::start(&world.client, &world.rng, &world.tasks);
    world.until::<PriorityClass>("b-part", |part| part.is_none()).await;
    assert!(world.client.find::<PriorityClass>("a-kept").await.unwrap().is_some());
    world.tasks.shutdown().await;
}

/// On threads, so that the first look at the owner can fall into the first look at all there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_starts_knows_all_parts_before_it_frees_one() {
    let world = World::new().await;
    let owner = world.client.create(ConfigMap::new("a-owner")).await.unwrap();
    let names: Vec<String> = (0..2_000).map(|i| format!("part-{i}")).collect();
    for name in &names {
        world.client.create(owned_by(&*owner, name)).await.unwrap();
    }
    let orphan = DeleteOptions::default().propagation(Propagation::Orphan);
    world.client.delete::<ConfigMap>("a-owner", &orphan).await.unwrap();
    GarbageCollector::start(&world.client, &world.rng, &world.tasks);
    world.until::<ConfigMap>("a-owner", |owner| owner.is_none()).await;
    for name in &names {
        let part = world.client.get::<ConfigMap>(name).await.unwrap();
        assert!(part.metadata.owner_references.is_empty(), "{name} was freed before its owner went");
    }
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_is_emptied_and_takes_nothing_new() {
    let world = World::new().await;
    NamespaceController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    world.client.create(Namespace::new("shop")).await.unwrap();
    let shop = world.client.namespace("shop");
    let mut slow = ConfigMap::new("slow");
    slow.metadata.finalizers = vec!["example.org/slow".into()];
    shop.create(slow).await.unwrap();
    shop.create(ConfigMap::new("quick")).await.unwrap();
    world.client.delete::<Namespace>("shop", &DeleteOptions::default()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), shop.wait::<ConfigMap>("quick", |map| map.is_none()))
        .await
        .unwrap()
        .unwrap();
    let refused = shop.create(ConfigMap::new("late")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Denied { .. }), "{refused}");
    assert!(world.client.find::<Namespace>("shop").await.unwrap().is_some());
    shop.modify::<ConfigMap>("slow", |map| map.metadata.finalizers.clear()).await.unwrap();
    world.until::<Namespace>("shop", |namespace| namespace.is_none()).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_are_held_say_by_what_and_keep_no_other_from_going() {
    const HELD: usize = 40;
    let world = World::new().await;
    NamespaceController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    let delete = async |name: &str| {
        world.client.delete::<Namespace>(name, &DeleteOptions::default()).await.unwrap();
    };
    for i in 0..HELD {
        let name = format!("held-{i}");
        world.client.create(Namespace::new(&name)).await.unwrap();
        let client = world.client.namespace(name.as_str());
        for (map, finalizers) in [("a", 1), ("b", 2), ("free", 0)] {
            let mut map = ConfigMap::new(map);
            map.metadata.finalizers = ["example.org/slow", "example.org/slower"][..finalizers]
                .iter()
                .map(ToString::to_string)
                .collect();
            client.create(map).await.unwrap();
        }
        delete(&name).await;
    }
    let message = |namespace: Option<&Namespace>, type_: &str| {
        let condition = Condition::find(&namespace?.status.conditions, type_)?;
        condition.is_true().then(|| condition.message.clone())
    };
    for i in 0..HELD {
        let told = |n: Option<&Namespace>| {
            message(n, "NamespaceContentRemaining").as_deref() == Some("there are 2 ConfigMap left")
        };
        world.until::<Namespace>(&format!("held-{i}"), told).await;
    }
    let first = world.client.get::<Namespace>("held-0").await.unwrap();
    let finalizers = message(Some(&first), "NamespaceFinalizersRemaining").unwrap();
    assert!(finalizers.ends_with("2 example.org/slow, 1 example.org/slower"), "{finalizers}");
    assert_eq!(message(Some(&first), "NamespaceDeletionContentFailure"), None);

    world.client.create(Namespace::new("free")).await.unwrap();
    delete("free").await;
    world.until::<Namespace>("free", |namespace| namespace.is_none()).await;
    // What is held costs nothing: not even the net under lost events writes anything.
    let before = world.client.store().revision(&Scope::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.client.store().revision(&Scope::default()).await.unwrap(), before);

    let shop = world.client.namespace("held-7");
    shop.modify::<ConfigMap>("b", |map| map.metadata.finalizers.clear()).await.unwrap();
    let fewer = |n: Option<&Namespace>| {
        message(n, "NamespaceContentRemaining").as_deref() == Some("there are 1 ConfigMap left")
    };
    world.until::<Namespace>("held-7", fewer).await;
    shop.modify::<ConfigMap>("a", |map| map.metadata.finalizers.clear()).await.unwrap();
    world.until::<Namespace>("held-7", |namespace| namespace.is_none()).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_namespace_that_somebody_else_holds_says_that_nothing_is_left() {
    let world = World::new().await;
    NamespaceController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    let mut namespace = Namespace::new("shop");
    namespace.metadata.finalizers = vec!["example.org/bill".into()];
    world.client.create(namespace).await.unwrap();
    let shop = world.client.namespace("shop");
    let mut map = ConfigMap::new("map");
    map.metadata.finalizers = vec!["example.org/slow".into()];
    shop.create(map).await.unwrap();
    world.client.delete::<Namespace>("shop", &DeleteOptions::default()).await.unwrap();
    let remains = |holds| {
        move |namespace: Option<&Namespace>| {
            let conditions = namespace.map(|n| n.status.conditions.as_slice()).unwrap_or_default();
            Condition::find(conditions, "NamespaceContentRemaining").is_some_and(|c| c.is_true() == holds)
        }
    };
    world.until::<Namespace>("shop", remains(true)).await;
    shop.modify::<ConfigMap>("map", |map| map.metadata.finalizers.clear()).await.unwrap();
    world.until::<Namespace>("shop", remains(false)).await;
    world.client.modify::<Namespace>("shop", |n| n.metadata.finalizers.clear()).await.unwrap();
    world.until::<Namespace>("shop", |namespace| namespace.is_none()).await;
    world.tasks.shutdown().await;
}

async fn renew(client: &Client, node: &str) {
    let leases = client.namespace(NODE_LEASE_NAMESPACE);
    let now = client.clock().now();
    match leases.modify::<Lease>(node, |lease| lease.spec.renew_time = Some(now)).await {
        Err(ClientError::NotFound(_)) => {
            drop(leases.create(Lease::new(node).held(node, 40, now)).await.unwrap())
        }
        result => drop(result.unwrap()),
    }
}

async fn nodes(world: &World, names: &[&str]) {
    for name in names {
        world.client.create(Node::new(*name)).await.unwrap();
        renew(&world.client, name).await;
    }
    NodeLifecycleController::start(
        NodeLifecycleOptions::default(),
        &world.client,
        &world.caches,
        Recorder::disabled(),
        &world.rng,
        &world.tasks,
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_tainted_and_its_pods_leave_it() {
    let world = World::new().await;
    nodes(&world, &["a", "b", "c"]).await;
    world.running("on-a", "a", [127, 1, 0, 1]).await;
    world.running("on-b", "b", [127, 1, 0, 2]).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        renew(&world.client, "b").await;
        renew(&world.client, "c").await;
    }
    world.until::<Pod>("on-a", |pod| pod.is_none_or(|p| p.metadata.is_deleting() && !p.is_ready())).await;
    assert!(world.client.get::<Node>("a").await.unwrap().spec.taints.iter().any(|t| t.key == UNREACHABLE));
    assert!(!world.client.get::<Pod>("on-b").await.unwrap().metadata.is_deleting());
    renew(&world.client, "a").await;
    world.until::<Node>("a", |node| node.is_some_and(|n| n.spec.taints.is_empty())).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_taint_that_a_person_set_is_tolerated_for_a_time_and_no_longer() {
    let world = World::new().await;
    let recorder = Recorder::disabled();
    let options = NodeLifecycleOptions::default();
    NodeLifecycleController::start(options, &world.client, &world.caches, recorder, &world.rng, &world.tasks);
    nodes(&world, &["a"]).await;
    let mut pod = Pod::new("guest").image("i");
    let toleration = Toleration::exists("example.org/repair").effect(TaintEffect::NoExecute).seconds(60);
    pod.spec_mut().tolerations = vec![toleration];
    let pod = world.client.create(pod).await.unwrap();
    world.client.transaction().bind(&pod, "a").commit().await.unwrap();
    let mut node = Node::new("a");
    node.spec.taints = vec![Taint::new("example.org/repair", "", TaintEffect::NoExecute)];
    world.client.apply(node.clone()).await.unwrap();
    let since = |node: &Node| node.spec.taints[0].time_added.unwrap();
    let first = since(&world.client.get::<Node>("a").await.unwrap());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        renew(&world.client, "a").await;
        world.client.apply(node.clone()).await.unwrap();
    }
    assert_eq!(since(&world.client.get::<Node>("a").await.unwrap()), first, "it is the same taint");
    assert!(!world.client.get::<Pod>("guest").await.unwrap().is_terminating());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(world.client.get::<Pod>("guest").await.unwrap().is_terminating());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn when_most_nodes_are_silent_at_once_nothing_is_evicted() {
    let world = World::new().await;
    nodes(&world, &["a", "b", "c"]).await;
    for (i, node) in ["a", "b", "c"].into_iter().enumerate() {
        world.running(&format!("on-{node}"), node, [127, 1, 0, u8::try_from(i).unwrap()]).await;
    }
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        renew(&world.client, "c").await;
    }
    let pods = world.client.list::<Pod>(&ListOptions::default()).await.unwrap();
    assert!(pods.items.iter().all(|pod| !pod.metadata.is_deleting()), "two of three is more than 55 percent");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_evictions_at_once_do_not_both_spend_the_last_of_a_budget() {
    let world = World::new().await;
    DisruptionController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    for i in 0..3u8 {
        world.running(&format!("web-{i}"), "node", [127, 1, 0, i]).await;
    }
    world.client.create(PodDisruptionBudget::new("web").min_available(2)).await.unwrap();
    let spendable = |b: Option<&PodDisruptionBudget>| b.is_some_and(|b| b.status.disruptions_allowed == 1);
    world.until::<PodDisruptionBudget>("web", spendable).await;
    let options = DeleteOptions::default();
    let (one, two) =
        tokio::join!(world.client.evict("web-0", &options), world.client.evict("web-1", &options));
    assert!(one.is_ok() != two.is_ok(), "one of them goes: {one:?}, {two:?}");
    let refused = one.err().or(two.err()).unwrap();
    assert!(refused.to_string().contains("disruption budget web"), "{refused}");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_never_ran_is_evicted_at_no_cost_and_nobody_in_place_of_another() {
    let world = World::new().await;
    DisruptionController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    world.running("web-0", "node", [127, 1, 0, 1]).await;
    let starting = world.client.create(Pod::new("web-1").image("i").label("app", "web")).await.unwrap();
    world.client.transaction().bind(&starting, "node").commit().await.unwrap();
    world.client.create(PodDisruptionBudget::new("web").min_available(2)).await.unwrap();
    world.until::<PodDisruptionBudget>("web", |b| b.is_some_and(|b| b.status.desired_healthy == 2)).await;
    let other = DeleteOptions::default().uid("another".into());
    assert!(world.client.evict("web-1", &other).await.unwrap_err().is_conflict());
    assert!(!world.client.get::<Pod>("web-1").await.unwrap().metadata.is_deleting());
    // Its image never comes, say: it serves nobody, and a drained node waits for it.
    world.client.evict("web-1", &DeleteOptions::default()).await.unwrap();
    let refused = world.client.evict("web-0", &DeleteOptions::default()).await.unwrap_err();
    assert!(refused.to_string().contains("disruption budget web"), "{refused}");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_does_not_give_way_with_the_pods_that_are_gone() {
    let world = World::new().await;
    DisruptionController::start(&world.client, &world.caches, &world.rng, &world.tasks);
    let web = world.client.create(Deployment::new("web").image("i").replicas(3)).await.unwrap();
    let mut set = ReplicaSet::new("web-1").image("i").replicas(3);
    set.metadata.owner_references = vec![OwnerReference::controller_of(&*web)];
    let set = world.client.create(set).await.unwrap();
    for i in 0..3u8 {
        let name = format!("web-{i}");
        world.running(&name, "node", [127, 1, 0, i]).await;
        let owner = OwnerReference::controller_of(&*set);
        let owned = |pod: &mut Pod| pod.metadata.owner_references = vec![owner.clone()];
        world.client.modify::<Pod>(&name, owned).await.unwrap();
    }
    world.client.create(PodDisruptionBudget::new("web").max_unavailable(1)).await.unwrap();
    let allows =
        |n| move |b: Option<&PodDisruptionBudget>| b.is_some_and(|b| b.status.disruptions_allowed == n);
    world.until::<PodDisruptionBudget>("web", allows(1)).await;
    world.client.delete::<Pod>("web-0", &DeleteOptions::default().grace_period(0)).await.unwrap();
    world.until::<PodDisruptionBudget>("web", allows(0)).await;
    // Nobody makes it anew here; fewer are wanted now.
    world.client.scale::<Deployment>("web", 2).await.unwrap();
    world.until::<PodDisruptionBudget>("web", allows(1)).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pending_pods_are_bound_and_those_that_fit_nowhere_say_why() {
    let world = World::new().await;
    let mut schedulers = orchestra_core::controller::Schedulers::new();
    let pipeline = orchestra_core::scheduler::PipelineBuilder::kubernetes().build();
    schedulers.insert("default-scheduler".to_owned(), Box::new(pipeline));
    let recorder = Recorder::start(&world.client, "scheduler", &world.tasks);
    SchedulingLoop::start(schedulers, &world.client, &world.caches, recorder, &world.tasks);
    for name in ["a", "b"] {
        world.client.create(Node::new(name).capacity("cpu", "2").capacity("pods", "10")).await.unwrap();
    }
    for i in 0..4 {
        let container = Container::new("main", "i").request("cpu", "1");
        world.client.create(Pod::new(format!("fits-{i}")).container(container)).await.unwrap();
    }
    for i in 0..4 {
        world.until::<Pod>(&format!("fits-{i}"), |pod| pod.is_some_and(|p| p.node_name.is_some())).await;
    }
    let container = Container::new("main", "i").request("cpu", "1");
    world.client.create(Pod::new("waits").container(container)).await.unwrap();
    let explained = |pod: Option<&Pod>| pod.is_some_and(|p| p.condition("PodScheduled").is_some());
    world.until::<Pod>("waits", explained).await;
    let waits = world.client.get::<Pod>("waits").await.unwrap();
    let why = &waits.condition("PodScheduled").unwrap().message;
    assert!(why.starts_with("0/2 nodes") && why.contains("cpu"), "{why}");

    world.client.delete::<Pod>("fits-0", &DeleteOptions::default().grace_period(0)).await.unwrap();
    world.until::<Pod>("waits", |pod| pod.is_some_and(|p| p.node_name.is_some())).await;
    let events = world.client.list::<Event>(&ListOptions::default()).await.unwrap();
    assert!(events.items.iter().any(|e| e.reason == "FailedScheduling" && e.involved_object.name == "waits"));
    let mut on_node = std::collections::BTreeMap::new();
    for pod in world.client.list::<Pod>(&ListOptions::default()).await.unwrap().items {
        *on_node.entry(pod.node_name.clone()).or_insert(0) += 1;
    }
    assert!(on_node.values().all(|n| *n == 2), "no node is over-committed: {on_node:?}");
    world.tasks.shutdown().await;
}

/// Gives every pod its number of nodes as the explanation; while it decides, somebody else writes to the pod.
#[derive(Debug)]
struct Interrupted(Client);

impl Scheduler for Interrupted {
    fn schedule(&mut self, batch: &mut Batch<'_>) {
        let why = format!("{} nodes are not enough", batch.nodes().count());
        while let Some(unit) = batch.next() {
            for pod in unit.pods() {
                let other = Condition::new("Other", true, Timestamp::EPOCH).message(&why);
                let write = self.0.modify_status::<Pod>(pod.name(), |pod| {
                    pod.set_condition(other.clone());
                });
                // A memory store answers at once.
                write.now_or_never().unwrap().unwrap();
                batch.defer(pod, Explanation::note(why.clone()));
            }
        }
    }
}

/// Refuses to have a pod bound that is called so, and counts how often it is asked.
#[derive(Debug)]
struct Picky(MemoryStore, Arc<AtomicU32>);

#[async_trait::async_trait]
impl Store for Picky {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        self.0.list(scope).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let binds = |write: &Write| {
            let Write::Put(object) = write else { return false };
            let pod = object.as_resource::<Pod>();
            pod.is_some_and(|pod| pod.metadata.name == "bad" && pod.node_name.is_some())
        };
        if commit.writes.iter().any(binds) {
            self.1.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Invalid("it is bad".to_owned()));
        }
        self.0.commit(commit).await
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        self.0.watch(scope, after).await
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        self.0.revision(scope).await
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.0.compact(through).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_placement_that_is_refused_for_good_is_told_and_tried_ever_more_seldom() {
    let asked = Arc::new(AtomicU32::new(0));
    let world = World::on(Arc::new(Picky(MemoryStore::new(), Arc::clone(&asked)))).await;
    let mut schedulers = orchestra_core::controller::Schedulers::new();
    schedulers
        .insert("default-scheduler".to_owned(), Box::new(orchestra_core::scheduler::Pipeline::kubernetes()));
    SchedulingLoop::start(schedulers, &world.client, &world.caches, Recorder::disabled(), &world.tasks);
    world.client.create(Node::new("n").capacity("cpu", "4").capacity("pods", "10")).await.unwrap();
    for name in ["bad", "good"] {
        world.client.create(Pod::new(name).image("i")).await.unwrap();
    }
    world.until::<Pod>("good", |pod| pod.is_some_and(|pod| pod.node_name.is_some())).await;
    let told = |pod: Option<&Pod>| {
        let condition = pod.and_then(|pod| pod.condition("PodScheduled"));
        condition.is_some_and(|c| c.message.contains("its placement was refused: commit refused: it is bad"))
    };
    world.until::<Pod>("bad", told).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = asked.load(Ordering::Relaxed);
    assert!((10..40).contains(&asked), "asked {asked} times in ten minutes");
    world.tasks.shutdown().await;
}

/// Panics at pods that are called so.
#[derive(Debug)]
struct Panicky(orchestra_core::scheduler::Pipeline);

impl Scheduler for Panicky {
    fn schedule(&mut self, batch: &mut Batch<'_>) {
        while let Some(unit) = batch.next() {
            let ripe = batch.nodes().any(|node| node.label("mended").is_some());
            assert!(ripe || unit.pods().iter().all(|pod| pod.name() != "bad"), "it is bad");
            batch.place(&unit, |batch, pod| {
                let first = batch.feasible(pod).map(|node| node.id()).next();
                first.ok_or_else(|| batch.explain(pod))
            });
        }
        self.0.schedule(batch);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_panics_at_a_pod_goes_on_with_the_others() {
    let world = World::new().await;
    let mut schedulers = orchestra_core::controller::Schedulers::new();
    let panicky = Panicky(orchestra_core::scheduler::Pipeline::kubernetes());
    schedulers.insert("default-scheduler".to_owned(), Box::new(panicky));
    let pod = |name: &str| Pod::new(name).container(Container::new("main", "i").request("cpu", "1"));
    for name in ["a", "bad", "c"] {
        world.client.create(pod(name)).await.unwrap();
    }
    world.client.create(Node::new("n").capacity("cpu", "3").capacity("pods", "10")).await.unwrap();
    SchedulingLoop::start(schedulers, &world.client, &world.caches, Recorder::disabled(), &world.tasks);
    let placed = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.node_name.is_some());
    world.until::<Pod>("a", placed).await;
    world.until::<Pod>("c", placed).await;
    let told = |pod: Option<&Pod>| {
        let condition = pod.and_then(|pod| pod.condition("PodScheduled"));
        condition.is_some_and(|c| c.message == "scheduler default-scheduler panicked: it is bad")
    };
    world.until::<Pod>("bad", told).await;
    world.client.create(pod("later")).await.unwrap();
    world.until::<Pod>("later", placed).await;
    // It is asked again, ever more seldom; and what was placed before a panic is not forgotten: the node is full.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mended = |node: &mut Node| drop(node.metadata.labels.insert("mended".to_owned(), "yes".to_owned()));
    world.client.modify::<Node>("n", mended).await.unwrap();
    let full = |pod: Option<&Pod>| {
        let condition = pod.and_then(|pod| pod.condition("PodScheduled"));
        condition.is_some_and(|c| c.message.contains("insufficient cpu"))
    };
    world.until::<Pod>("bad", full).await;
    world.client.delete::<Pod>("a", &DeleteOptions::default().grace_period(0)).await.unwrap();
    world.until::<Pod>("bad", placed).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_on_a_node_that_goes_silent_is_placed_elsewhere() {
    let world = World::new().await;
    let mut schedulers = orchestra_core::controller::Schedulers::new();
    let pipeline = orchestra_core::scheduler::PipelineBuilder::kubernetes().build();
    schedulers.insert("default-scheduler".to_owned(), Box::new(pipeline));
    SchedulingLoop::start(schedulers, &world.client, &world.caches, Recorder::disabled(), &world.tasks);
    let node = |name: &str| Node::new(name).capacity("cpu", "1").capacity("pods", "10");
    world.client.create(node("a")).await.unwrap();
    world.client.create(PriorityClass::new("high", 10)).await.unwrap();
    let pod = |name: &str| Pod::new(name).container(Container::new("main", "i").request("cpu", "1"));
    world.client.create(pod("low")).await.unwrap();
    world.until::<Pod>("low", |pod| pod.is_some_and(|pod| pod.node_name.is_some())).await;
    let mut high = pod("high");
    high.spec_mut().priority_class_name = "high".to_owned();
    world.client.create(high).await.unwrap();
    let waits = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.status.nominated_node_name == "a");
    world.until::<Pod>("high", waits).await;
    // Nobody ends the low one any more.
    let silent = |node: &mut Node| {
        let taint = Taint::new(UNREACHABLE, "", TaintEffect::NoSchedule);
        node.spec.taints.push(taint);
    };
    world.client.modify::<Node>("a", silent).await.unwrap();
    world.client.create(node("b")).await.unwrap();
    world.until::<Pod>("high", |pod| pod.is_some_and(|pod| pod.node_name.as_deref() == Some("b"))).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn why_a_pod_waits_is_told_though_the_pod_was_written_to_meanwhile() {
    let world = World::new().await;
    let mut schedulers = orchestra_core::controller::Schedulers::new();
    schedulers.insert("default-scheduler".to_owned(), Box::new(Interrupted(world.client.clone())));
    let recorder = Recorder::start(&world.client, "scheduler", &world.tasks);
    SchedulingLoop::start(schedulers, &world.client, &world.caches, recorder, &world.tasks);
    world.client.create(Pod::new("waits").image("i")).await.unwrap();
    for count in 0..3 {
        let wanted = format!("{count} nodes are not enough");
        let told = |pod: Option<&Pod>| {
            pod.and_then(|pod| pod.condition("PodScheduled")).is_some_and(|c| c.message.contains(&wanted))
        };
        world.until::<Pod>("waits", told).await;
        world.client.create(Node::new(format!("node-{count}")).capacity("pods", "1")).await.unwrap();
    }
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_node_that_is_no_more_go_with_it() {
    let world = World::new().await;
    nodes(&world, &["a", "b"]).await;
    world.running("on-a", "a", [127, 1, 0, 1]).await;
    world.client.delete::<Node>("a", &DeleteOptions::default()).await.unwrap();
    world.until::<Pod>("on-a", |pod| pod.is_none()).await;
    world.tasks.shutdown().await;
}
