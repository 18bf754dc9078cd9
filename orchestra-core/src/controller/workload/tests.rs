use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::roster::Roster;
use super::*;
use crate::client::DeleteOptions;
use crate::controller::testing::World;
use crate::model::{
    Condition, ContainerState, ContainerStatus, ContainerWaiting, Endpoint, EndpointConditions, Labels,
    ObjectReference, PodPhase, Service, Timestamp,
};

const OFF: (&str, &str) = (crate::controller::TRAFFIC_LABEL, "off");

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// One change of one of five pods, and whether services list it.
#[derive(Clone, Debug)]
struct Change {
    pod: usize,
    /// `None`: it goes.
    state: Option<State>,
    listed: bool,
}

#[derive(Clone, Debug)]
struct State {
    phase: PodPhase,
    deleting: bool,
    ready_since: Option<i64>,
    crashing: bool,
    restarts: u32,
    labels: usize,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let phase = prop_oneof![
        Just(PodPhase::Pending),
        Just(PodPhase::Running),
        Just(PodPhase::Succeeded),
        Just(PodPhase::Failed)
    ];
    let state = (phase, any::<bool>(), proptest::option::of(0..20i64), any::<bool>(), 0..3u32, 0..4usize);
    let state = state.prop_map(|(phase, deleting, ready_since, crashing, restarts, labels)| State {
        phase,
        deleting,
        ready_since,
        crashing,
        restarts,
        labels,
    });
    let change = (0..5usize, proptest::option::weighted(0.8, state), any::<bool>());
    let change = change.prop_map(|(pod, state, listed)| Change { pod, state, listed });
    proptest::collection::vec(change, 1..40)
}

fn labels(which: usize) -> Labels {
    let web = Labels::from([("app", "web")]);
    match which {
        0 => web,
        1 => web.with("tier", "front"),
        2 => web.with(OFF.0, OFF.1),
        _ => Labels::from([("app", "other")]),
    }
}

fn pod(name: &str, state: &State) -> Arc<Pod> {
    let mut pod = Pod::new(name);
    pod.metadata.labels = labels(state.labels);
    pod.metadata.deletion_timestamp = state.deleting.then(|| at(1));
    pod.status.phase = state.phase;
    if let Some(since) = state.ready_since {
        pod.status.conditions = vec![Condition::new("Ready", true, at(since))];
    }
    let waiting = ContainerWaiting { reason: "CrashLoopBackOff".into(), ..Default::default() };
    let state_now = if state.crashing { ContainerState::Waiting(waiting) } else { ContainerState::default() };
    let status = ContainerStatus { restart_count: state.restarts, state: state_now, ..Default::default() };
    pod.status.container_statuses = vec![status];
    Arc::new(pod)
}

/// The same numbers, counted from nothing.
fn counted(pods: &BTreeMap<ObjectKey, (Arc<Pod>, bool)>, min_ready: Duration, now: Timestamp) -> Standing {
    let mut standing = Standing { all: u32::try_from(pods.len()).unwrap(), ..Standing::default() };
    for (pod, listed) in pods.values().filter(|(pod, _)| !pod.is_terminal()) {
        if pod.is_terminating() {
            standing.terminating += 1;
            continue;
        }
        standing.alive += 1;
        standing.held_back += u32::from(is_held_back(pod));
        standing.restarts = standing.restarts.max(restarts(pod));
        standing.crashing += u32::from(standing::is_crashing(pod));
        let Some(since) = pod.ready_since() else { continue };
        standing.ready += 1;
        if *listed || is_held_back(pod) {
            if since + min_ready <= now {
                standing.available += 1;
            } else {
                standing.next = [standing.next, Some(since + min_ready)].into_iter().flatten().min();
            }
        }
    }
    standing
}

proptest! {
    /// Whatever happens to pods, the numbers kept are the numbers counted.
    #[test]
    fn a_roster_equals_a_count(changes in changes(), min_ready in 0..10u64, now in 0..30i64) {
        let (min_ready, now) = (Duration::from_secs(min_ready), at(now));
        let (mut roster, mut naive) = (Roster::default(), BTreeMap::new());
        for change in changes {
            let name = format!("web-{}", change.pod);
            let key = ObjectKey::new::<Pod>("default", name.as_str());
            match &change.state {
                None => {
                    roster.remove(&key);
                    naive.remove(&key);
                }
                Some(state) => {
                    let pod = pod(&name, state);
                    roster.put(&key, &pod, || change.listed);
                    naive.insert(key.clone(), (pod, change.listed));
                }
            }
            prop_assert_eq!(roster.standing(min_ready, now), counted(&naive, min_ready, now));
            // Listing alone changes, too.
            roster.look_again(&key, |_| !change.listed);
            if let Some((_, listed)) = naive.get_mut(&key) {
                *listed = !*listed;
            }
            prop_assert_eq!(roster.standing(min_ready, now), counted(&naive, min_ready, now));
            let pods = || naive.values().map(|(pod, _)| pod);
            prop_assert!(roster.pods().eq(pods()));
            prop_assert_eq!(roster.is_empty(), naive.is_empty());
            let failed: Vec<_> = pods().filter(|p| p.is_terminal() && !p.is_terminating()).cloned().collect();
            prop_assert_eq!(roster.failed(), failed);
            let selector = LabelSelector::labels([("app", "web")]);
            let strays: Vec<_> = pods().filter(|p| !selector.matches(&p.metadata.labels)).cloned().collect();
            prop_assert_eq!(roster.strays(&selector), strays);
            let alive: Vec<_> = roster.alive(min_ready, now).collect();
            let labeled = alive.iter().filter(|(p, _)| p.metadata.labels.contains_key("tier")).count();
            prop_assert_eq!(roster.labeled(&Labels::from([("tier", "front")])) as usize, labeled);
            let available = alive.iter().filter(|(_, stands)| *stands == Readiness::Available).count();
            prop_assert_eq!(roster.standing(min_ready, now).available as usize, available);
        }
    }
}

/// The pod counts as available while every service that selects it lists it, whatever changes last.
#[tokio::test(start_paused = true)]
async fn availability_follows_services_slices_and_owners() {
    let world = World::bare(31).await;
    let indexes = WorkloadIndexes::new(&world.caches);
    let (client, now) = (&world.client, world.start);
    let owner = client.create(ReplicaSet::new("web").image("v1").port(80)).await.unwrap();
    let mut pod = Pod::new("web-1").image("v1");
    pod.metadata.labels = Labels::from([("app", "web")]);
    pod.metadata.owner_references = vec![OwnerReference::controller_of(&*owner)];
    let made = client.create(pod).await.unwrap();
    let ready = Condition::new("Ready", true, now);
    client.modify_status::<Pod>("web-1", |p| p.status.conditions = vec![ready.clone()]).await.unwrap();
    let stands = async |what: &str, alive: u32, available: u32| {
        world.caches.barrier().await.unwrap();
        let standing = indexes.rosters.standing(&owner.metadata.uid, Duration::ZERO, now);
        assert_eq!((standing.alive, standing.available), (alive, available), "{what}");
    };
    stands("no service", 1, 1).await;
    client.create(Service::new("web").port(80)).await.unwrap();
    stands("a service that does not list it", 1, 0).await;
    let mut slice = EndpointSlice::new("web-0").service("web");
    slice.endpoints = vec![Endpoint {
        addresses: vec!["127.0.0.9".into()],
        conditions: EndpointConditions { ready: Some(true), ..Default::default() },
        target_ref: Some(ObjectReference::to(&*made)),
        ..Default::default()
    }];
    client.create(slice).await.unwrap();
    stands("it is listed", 1, 1).await;
    client.delete::<EndpointSlice>("web-0", &DeleteOptions::default()).await.unwrap();
    stands("and no longer", 1, 0).await;
    client.modify::<Service>("web", |s| s.spec.selector = Labels::from([("app", "else")])).await.unwrap();
    stands("the service selects others", 1, 1).await;
    client.modify::<Service>("web", |s| s.spec.selector = Labels::from([("app", "web")])).await.unwrap();
    stands("and selects it again", 1, 0).await;
    client.delete::<Service>("web", &DeleteOptions::default()).await.unwrap();
    stands("the service is gone", 1, 1).await;
    client.modify::<Pod>("web-1", |p| p.metadata.owner_references.clear()).await.unwrap();
    stands("it is let go", 0, 0).await;
    let back = OwnerReference::controller_of(&*owner);
    client.modify::<Pod>("web-1", |p| p.metadata.owner_references = vec![back.clone()]).await.unwrap();
    stands("and taken up", 1, 1).await;
    client.delete::<Pod>("web-1", &DeleteOptions::default().grace_period(0)).await.unwrap();
    stands("it is gone", 0, 0).await;
    world.tasks.shutdown().await;
}

/// Its parts have just been set free, and its controller may not have heard of it: taken up again, they would go with it.
#[tokio::test(start_paused = true)]
async fn what_an_orphaning_deletion_set_free_is_not_taken_up_again() {
    let world = World::bare(33).await;
    let client = &world.client;
    let seen = client.create(ReplicaSet::new("web").image("v1").port(80)).await.unwrap();
    let mut pod = Pod::new("web-1").image("v1");
    pod.metadata.labels = Labels::from([("app", "web")]);
    let free = client.create(pod).await.unwrap();
    let orphan = DeleteOptions::default().propagation(crate::client::Propagation::Orphan);
    client.delete::<ReplicaSet>("web", &orphan).await.unwrap();
    let claims = Claims::of(&seen.spec.selector, Vec::new(), vec![free]);
    assert!(claims.settle(client, &*seen).await.unwrap_err().is_conflict());
    assert!(client.get::<Pod>("web-1").await.unwrap().metadata.owner_references.is_empty());
    world.tasks.shutdown().await;
}

/// Handlers of a cache hold caches: nothing of it may outlive the cluster.
#[tokio::test(start_paused = true)]
async fn caches_go_with_their_cluster() {
    let world = World::start(32).await;
    world.client.create(Pod::new("web-1").image("v1")).await.unwrap();
    world.caches.barrier().await.unwrap();
    let pods = Arc::downgrade(&world.caches.of::<Pod>());
    world.tasks.shutdown().await;
    drop(world);
    assert_eq!(pods.strong_count(), 0);
}
