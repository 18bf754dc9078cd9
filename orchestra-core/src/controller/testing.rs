//! A small cluster for tests: a memory store, the controllers of workloads, and kubelets that only pretend.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::deployment::{DeploymentController, Rollouts};
use super::replica_set::{ReplicaSetController, budget_of};
use super::{EndpointsController, WorkloadIndexes};
use crate::client::{Client, ClientError, DeleteOptions, ListOptions};
use crate::clock::TokioClock;
use crate::engine::{Cache, Caches, Controller, Next, ReconcileError, Reconciler, Recorder, Tasks};
use crate::model::{
    AnyObjectExt, Condition, ContainerState, ContainerStatus, ContainerWaiting, Deployment, EndpointSlice,
    Namespace, ObjectKey, Pod, PodPhase, ReplicaSet, Resource, Revision, Scheme, Service, Timestamp, Uid,
};
use crate::rng::Rng;
use crate::store::{HistoryLimits, MemoryStore, MemoryStoreOptions, Scope, Store};

/// How long a pod takes to become ready.
const START: Duration = Duration::from_secs(2);
/// How long a crashing container takes to crash again.
const CRASH: Duration = Duration::from_secs(10);
/// How much history the store keeps: all that a test makes.
const HISTORY: usize = 1_000_000;
/// How long a test waits for something, in simulated time.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A small cluster.
pub(super) struct World {
    pub(super) client: Client,
    pub(super) caches: Caches,
    pub(super) indexes: WorkloadIndexes,
    pub(super) tasks: Tasks,
    pub(super) rng: Rng,
    pub(super) start: Timestamp,
}

impl World {
    pub(super) async fn start(seed: u64) -> Self {
        Self::with(seed, Rollouts::new()).await
    }

    pub(super) async fn with(seed: u64, rollouts: Rollouts) -> Self {
        let world = Self::bare(seed).await;
        world.run_workloads(rollouts);
        EndpointsController::start(&world.client, &world.caches, &world.rng, &world.tasks);
        Kubelet::start(&world);
        world
    }

    /// A store and a client, and nothing that acts.
    pub(super) async fn bare(seed: u64) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (rng, tasks) = (Rng::seeded(seed), Tasks::new());
        let history = HistoryLimits::default().with_changes(HISTORY).with_age(Duration::MAX);
        let options = MemoryStoreOptions::default().with_history(history);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::with_options(options));
        let caches = Caches::new(Arc::clone(&store), tasks.clone());
        let clock = Arc::new(TokioClock::starting_at(start));
        let client = Client::new(store, Arc::new(Scheme::kubernetes()), clock, rng.fork());
        let namespace =
            Namespace { metadata: crate::model::ObjectMeta::named("default"), ..Namespace::default() };
        client.create(namespace).await.unwrap();
        let indexes = WorkloadIndexes::new(&caches);
        Self { client, caches, indexes, tasks, rng, start }
    }

    /// The controllers of deployments and replica sets; a second call is a second control plane.
    pub(super) fn run_workloads(&self, rollouts: Rollouts) {
        let recorder = Recorder::disabled();
        let Self { client, caches, indexes, tasks, rng, .. } = self;
        ReplicaSetController::start(indexes, client, caches, &recorder, rng, tasks);
        DeploymentController::start(rollouts, indexes, client, caches, &recorder, rng, tasks);
    }

    pub(super) async fn wait<T: Resource>(
        &self,
        name: &str,
        until: impl Fn(&T) -> bool + Send + Sync,
    ) -> Arc<T> {
        let wait = self.client.wait::<T>(name, |object| object.is_some_and(&until));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found.unwrap().unwrap(),
            Err(_) => panic!("{name} never gets there: {:#?}", self.client.find::<T>(name).await.unwrap()),
        }
    }

    pub(super) async fn rolled_out(&self, name: &str) -> Arc<Deployment> {
        self.wait(name, super::is_rolled_out).await
    }

    pub(super) async fn pods(&self) -> Vec<Arc<Pod>> {
        let pods = self.client.list::<Pod>(&ListOptions::default()).await.unwrap().items;
        pods.into_iter().filter(|pod| !pod.is_terminating() && !pod.is_terminal()).collect()
    }

    /// How many pods run each image.
    pub(super) async fn images(&self) -> BTreeMap<String, usize> {
        let mut images = BTreeMap::new();
        for pod in self.pods().await {
            *images.entry(pod.spec.containers[0].image.clone()).or_default() += 1;
        }
        images
    }

    pub(super) async fn sets(&self) -> Vec<Arc<ReplicaSet>> {
        self.client.list::<ReplicaSet>(&ListOptions::default()).await.unwrap().items
    }

    pub(super) async fn revision(&self) -> Revision {
        self.client.store().revision(&Scope { kind: None, namespace: None }).await.unwrap()
    }

    /// Waits until nothing is written for a minute; nothing but heartbeats would be.
    pub(super) async fn quiet(&self) {
        loop {
            let before = self.revision().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            if self.revision().await == before {
                return;
            }
        }
    }

    /// Walks the store's whole history and hands each state to `check`.
    pub(super) async fn replay(&self, after: Revision, mut check: impl FnMut(&State)) {
        let last = self.revision().await;
        let mut watch =
            self.client.store().watch(&Scope { kind: None, namespace: None }, Revision::ZERO).await.unwrap();
        let mut state = State::default();
        while state.revision < last {
            let event = watch.next().await.unwrap().unwrap();
            state.revision = event.revision;
            for change in event.changes.iter() {
                state.apply(change);
            }
            if state.revision > after {
                check(&state);
            }
        }
    }
}

/// What was stored at one revision.
#[derive(Default)]
pub(super) struct State {
    pub(super) revision: Revision,
    pub(super) pods: BTreeMap<ObjectKey, Arc<Pod>>,
    pub(super) slices: BTreeMap<ObjectKey, Arc<EndpointSlice>>,
    pub(super) deployment: Option<Arc<Deployment>>,
    pub(super) pods_made: usize,
}

impl State {
    fn apply(&mut self, change: &crate::store::Change) {
        let key = change.key.clone();
        let object = change.object.clone();
        if key.kind == crate::model::GroupKind::of::<Pod>() {
            self.pods_made += usize::from(change.previous.is_none());
            match object.and_then(AnyObjectExt::downcast) {
                Some(pod) => drop(self.pods.insert(key, pod)),
                None => drop(self.pods.remove(&key)),
            }
        } else if key.kind == crate::model::GroupKind::of::<EndpointSlice>() {
            match object.and_then(AnyObjectExt::downcast) {
                Some(slice) => drop(self.slices.insert(key, slice)),
                None => drop(self.slices.remove(&key)),
            }
        } else if key.kind == crate::model::GroupKind::of::<Deployment>() {
            self.deployment = object.and_then(AnyObjectExt::downcast);
        }
    }

    /// Pods that are neither ending nor over.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().filter(|pod| !pod.is_terminating() && !pod.is_terminal())
    }

    /// The pods that balancers may choose.
    pub(super) fn listed(&self) -> Vec<Uid> {
        self.slices
            .values()
            .flat_map(|slice| &slice.endpoints)
            .filter(|e| e.conditions.is_ready() && !e.conditions.is_terminating())
            .filter_map(|e| e.target_ref.as_ref().map(|t| t.uid.clone()))
            .collect()
    }

    /// How many pods are ready, and known to the balancers.
    pub(super) fn available(&self) -> usize {
        let listed = self.listed();
        self.alive().filter(|pod| pod.is_ready() && listed.contains(&pod.metadata.uid)).count()
    }

    /// S26 for the one deployment there is.
    pub(super) fn check_bounds(&self) {
        let Some(deployment) = &self.deployment else { return };
        let (budget, want) = (budget_of(deployment), deployment.spec.replicas);
        let (alive, available) = (self.alive().count(), self.available());
        let (floor, ceiling) = (budget.floor(want), budget.ceiling(want));
        assert!(alive <= ceiling as usize, "revision {:?}: {alive} pods, {ceiling} may", self.revision);
        assert!(
            available >= floor as usize,
            "revision {:?}: {available} available, {floor} must",
            self.revision
        );
    }
}

/// Binds pods and makes them ready, by their image: `crash..` never gets ready and is restarted again and again,
/// `flap..` is so too, and ready for a moment each time, `reject..` fails at once, `never..` stays as it is, all else gets ready.
#[derive(Debug)]
pub(super) struct Kubelet {
    pods: Arc<Cache<Pod>>,
    addresses: AtomicU32,
}

impl Kubelet {
    pub(super) fn start(world: &World) {
        let kubelet = Self { pods: world.caches.of(), addresses: AtomicU32::new(1) };
        Controller::new("kubelet", &world.client, &world.caches, &world.rng)
            .resync(None)
            .on::<Pod>()
            .start(kubelet, &world.tasks);
    }

    /// Ready for a moment in each period.
    async fn flap(client: &Client, pod: &Pod, age: Duration, now: Timestamp) -> Result<Next, ReconcileError> {
        let age = Duration::from_secs(age.as_secs() % CRASH.as_secs());
        let ready = (START..START * 2).contains(&age);
        let change = |pod: &mut Pod| {
            pod.set_condition(Condition::new("Ready", ready, now));
        };
        Self::set_status(client, pod, change).await?;
        let next = [START, START * 2, CRASH].into_iter().find(|at| *at > age).unwrap_or(CRASH);
        Ok(Next::After(next.saturating_sub(age)))
    }

    async fn set_status(
        client: &Client,
        pod: &Pod,
        change: impl FnOnce(&mut Pod),
    ) -> Result<(), ClientError> {
        let mut pod = pod.clone();
        change(&mut pod);
        client.update_status(pod).await.map(|_| ())
    }
}

#[async_trait]
impl Reconciler for Kubelet {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(pod) = self.pods.get(key) else { return Ok(Next::OnChange) };
        let client = client.namespace(Arc::clone(&key.namespace));
        let now = client.clock().now();
        if pod.is_terminating() {
            let options = DeleteOptions::default().uid(pod.metadata.uid.clone()).grace_period(0);
            client.delete_any(key.clone(), &options).await?;
            return Ok(Next::OnChange);
        }
        if pod.is_terminal() {
            return Ok(Next::OnChange);
        }
        if pod.node_name.is_none() {
            let node = format!("node-{}", self.addresses.load(Ordering::Relaxed) % 3);
            client.transaction().bind(&pod, node).commit().await?;
            return Ok(Next::OnChange);
        }
        let image = pod.spec.containers[0].image.as_str();
        let since = pod.status.start_time.unwrap_or(now);
        if image.starts_with("never") {
            return Ok(Next::OnChange);
        }
        if image.starts_with("reject") {
            Self::set_status(&client, &pod, |pod| pod.status.phase = PodPhase::Failed).await?;
            return Ok(Next::OnChange);
        }
        if pod.status.start_time.is_none() {
            let n = self.addresses.fetch_add(1, Ordering::Relaxed);
            Self::set_status(&client, &pod, |pod| {
                pod.status.phase = PodPhase::Running;
                pod.status.start_time = Some(now);
                pod.status.pod_ip = Some(IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + n)));
                pod.set_condition(Condition::new("Ready", false, now));
            })
            .await?;
            return Ok(Next::After(START));
        }
        if image.starts_with("crash") {
            let restarts = pod.status.container_statuses.first().map_or(0, |c| c.restart_count);
            let due = since + CRASH * (restarts + 1);
            if now < due {
                return Ok(Next::After(due.since(now)));
            }
            let waiting =
                ContainerWaiting { reason: "CrashLoopBackOff".into(), ..ContainerWaiting::default() };
            let status = ContainerStatus {
                restart_count: restarts + 1,
                state: ContainerState::Waiting(waiting),
                ..ContainerStatus::default()
            };
            Self::set_status(&client, &pod, |pod| pod.status.container_statuses = vec![status]).await?;
            return Ok(Next::After(CRASH));
        }
        if image.starts_with("flap") {
            return Self::flap(&client, &pod, now.since(since), now).await;
        }
        if now < since + START {
            return Ok(Next::After((since + START).since(now)));
        }
        // What a test made unready stays so.
        if !pod.is_ready() && pod.condition("Ready").is_none_or(|c| c.reason != "Broken") {
            Self::set_status(&client, &pod, |pod| {
                pod.set_condition(Condition::new("Ready", true, now));
            })
            .await?;
        }
        Ok(Next::OnChange)
    }
}

/// A deployment of `replicas` pods of an image.
pub(super) fn web(image: &str, replicas: u32) -> Deployment {
    Deployment::new("web").image(image).port(80).replicas(replicas)
}

/// The service in front of it.
pub(super) fn service() -> Service {
    Service::new("web").selector([("app", "web")]).port(80)
}
