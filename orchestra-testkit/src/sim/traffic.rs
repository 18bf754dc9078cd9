//! Requests: a balancer that follows the endpoints, and clients that do not wait for answers before they ask again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::drain::DrainGate;
use orchestra_core::engine::Tasks;
use orchestra_core::model::{AnyObjectExt, EndpointSlice, ObjectKey, Revision, Uid};
use orchestra_core::store::{Scope, Store, StoreError};
use tokio::sync::Notify;

use super::Mutant;
use super::event::Request;
use super::host::Hosts;
use super::process::{Actor, Link, Process};
use super::store::FaultyStore;
use super::world::{Phase, World};

/// The mean time between two requests to one service.
const BETWEEN: Duration = Duration::from_millis(400);

/// How long a request takes at most.
const LONGEST: Duration = Duration::from_secs(2);

/// A balancer in front of all services, and its clients.
#[derive(Debug)]
pub(crate) struct SimTraffic {
    world: Arc<World>,
    store: FaultyStore,
    tasks: Tasks,
    hosts: Hosts,
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What each slice says: its service, and its ready endpoints.
    slices: BTreeMap<ObjectKey, (String, Vec<(Uid, IpAddr)>)>,
    /// Up to where the slices are followed.
    applied: Revision,
    /// Pods that are never picked again.
    drained: BTreeSet<Uid>,
    open: BTreeMap<Uid, u32>,
}

impl SimTraffic {
    pub(crate) fn start(world: &Arc<World>, hosts: &Hosts, tasks: &Tasks) -> Arc<Self> {
        let (process, link) = (Arc::new(Process::new()), Arc::new(Link::new()));
        let store = FaultyStore::new(world, Actor::Traffic, &process, &link);
        let this = Arc::new(Self {
            world: Arc::clone(world),
            store,
            tasks: tasks.clone(),
            hosts: hosts.clone(),
            state: Mutex::default(),
            moved: Notify::new(),
        });
        let (follower, clients) = (Arc::clone(&this), Arc::clone(&this));
        tasks.spawn("balancer", async move { follower.follow().await });
        tasks.spawn("clients", async move { clients.ask().await });
        this
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                self.world.note(format_args!("traffic lost its watch: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn follow_once(&self) -> Result<(), StoreError> {
        let scope = Scope::of::<EndpointSlice>();
        let listing = self.store.list(&scope).await?;
        let mut watch = self.store.watch(&scope, listing.revision).await?;
        let slices = listing.objects.iter().filter_map(|object| object.as_resource::<EndpointSlice>());
        let slices = slices.map(|slice| (ObjectKey::of(slice), endpoints(slice))).collect();
        {
            let mut state = self.lock();
            state.slices = slices;
            state.applied = state.applied.max(listing.revision);
        }
        self.moved.notify_waiters();
        while let Some(event) = watch.next().await {
            let event = event?;
            {
                let mut state = self.lock();
                for change in event.changes.iter() {
                    match change.object.as_ref().and_then(|o| o.as_resource::<EndpointSlice>()) {
                        Some(slice) => state.slices.insert(change.key.clone(), endpoints(slice)),
                        None => state.slices.remove(&change.key),
                    };
                }
                state.applied = state.applied.max(event.revision);
            }
            self.moved.notify_waiters();
        }
        Ok(())
    }

    /// Sends requests, one after the other, whatever became of those before.
    async fn ask(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BETWEEN / 2 + self.world.up_to(BETWEEN)).await;
            if self.world.phase() == Phase::Quiet {
                return;
            }
            let services: BTreeSet<String> = self.lock().slices.values().map(|(s, _)| s.clone()).collect();
            for service in services {
                let this = Arc::clone(&self);
                self.tasks.spawn("request", async move { this.request(&service).await });
            }
        }
    }

    fn pick(&self, service: &str) -> Option<(Uid, IpAddr)> {
        let mut state = self.lock();
        let picks_drained = self.world.options.mutant == Some(Mutant::PicksDrained);
        let known: Vec<(Uid, IpAddr)> = state
            .slices
            .values()
            .filter(|(name, _)| name == service)
            .flat_map(|(_, endpoints)| endpoints)
            .filter(|(uid, _)| picks_drained || !state.drained.contains(uid))
            .cloned()
            .collect();
        if known.is_empty() {
            return None;
        }
        let pick = usize::try_from(self.world.rng.below(known.len() as u64)).unwrap_or(0);
        let (uid, ip) = known[pick].clone();
        *state.open.entry(uid.clone()).or_default() += 1;
        Some((uid, ip))
    }

    async fn request(&self, service: &str) {
        let Some((pod, ip)) = self.pick(service) else {
            return self.world.request(&Request::NoEndpoint { service: service.to_owned() });
        };
        self.world.request(&Request::Sent { pod: pod.clone() });
        // Nobody listens, or somebody else does.
        let serves = || {
            let host = self.hosts.values().find_map(|host| host.machine.at_address(ip))?;
            (host.0 == pod && !host.1.is_empty()).then_some(())
        };
        let began = serves().is_some();
        if began {
            tokio::time::sleep(self.world.up_to(LONGEST)).await;
        }
        let answered = began && serves().is_some();
        {
            let mut state = self.lock();
            if let Some(open) = state.open.get_mut(&pod) {
                *open = open.saturating_sub(1);
            }
        }
        self.moved.notify_waiters();
        let what = if answered { Request::Answered { pod } } else { Request::Failed { pod, began } };
        self.world.request(&what);
    }
}

fn endpoints(slice: &EndpointSlice) -> (String, Vec<(Uid, IpAddr)>) {
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.is_ready());
    let known = ready.filter_map(|endpoint| {
        let ip = endpoint.addresses.first()?.parse().ok()?;
        Some((endpoint.target_ref.as_ref()?.uid.clone(), ip))
    });
    (format!("{}/{}", slice.metadata.namespace, slice.service_name().unwrap_or_default()), known.collect())
}

#[async_trait]
impl DrainGate for SimTraffic {
    async fn drain(&self, pod: &Uid, revision: Revision) {
        if self.world.mutates(Mutant::DrainsTooEarly, 0.5) {
            return;
        }
        self.lock().drained.insert(pod.clone());
        // The last change of an endpoint before that revision; there may be none as late as the pod's own change.
        let last = loop {
            match self.store.revision(&Scope::of::<EndpointSlice>()).await {
                Ok(last) => break last.min(revision),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        loop {
            let moved = self.moved.notified();
            {
                let state = self.lock();
                if state.applied >= last && state.open.get(pod).is_none_or(|open| *open == 0) {
                    break;
                }
            }
            moved.await;
        }
        self.world.request(&Request::Drained { pod: pod.clone() });
    }
}
