//! The endpoints of one service: who may be picked, who is ejected, who is leaving.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use orchestra_core::balance::{Endpoint, EndpointId, LoadBalancer, Outcome, RequestKey};
use orchestra_core::model::Uid;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::retry::budget::TpsBudget;

use crate::backend::{Backend, Ticket};

/// How requests to a service are treated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an endpoint may take until its answer begins.
    pub response_timeout: Duration,
    /// How long a request waits where no endpoint is ready.
    pub endpoint_wait: Duration,
    /// How many endpoints a request is tried on at most.
    pub attempts: usize,
    /// How many failures in a row eject an endpoint.
    pub eject_after: u32,
    /// How long an endpoint stays ejected.
    pub eject_for: Duration,
    /// The share of endpoints that may be ejected at once, in percent.
    pub eject_percent: usize,
    /// The share of requests that may be repeated after they were sent, in percent. Ten a second are free.
    pub retry_percent: f32,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(30),
            endpoint_wait: Duration::from_secs(5),
            attempts: 4,
            eject_after: 5,
            eject_for: Duration::from_secs(5),
            eject_percent: 50,
            retry_percent: 0.2,
        }
    }
}

/// How long retries are counted together: tower's own default.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Retries that are free in a second, so that a service with few requests can have any.
const FREE_RETRIES: u32 = 10;

/// The endpoints of one service port, behind one balancer.
#[derive(Debug)]
pub struct Upstream {
    name: Arc<str>,
    pub(crate) options: UpstreamOptions,
    pub(crate) budget: TpsBudget,
    balancer: Box<dyn LoadBalancer>,
    members: Mutex<Members>,
    ejected: ArcSwap<Vec<EndpointId>>,
    arrived: Notify,
    origin: Instant,
}

#[derive(Debug, Default)]
struct Members {
    /// Those that can be picked, and those that left and still answer something.
    backends: BTreeMap<EndpointId, Arc<Backend>>,
    listed: BTreeMap<EndpointId, Endpoint>,
    /// Pods that were drained: they stay out while the cluster still lists them.
    drained: BTreeSet<Uid>,
    ejected: BTreeMap<EndpointId, Instant>,
}

impl Upstream {
    /// A service called `name` without endpoints. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, balancer: Box<dyn LoadBalancer>, options: UpstreamOptions) -> Self {
        Self {
            name: name.into(),
            options,
            budget: TpsBudget::new(BUDGET_WINDOW, FREE_RETRIES, options.retry_percent),
            balancer,
            members: Mutex::default(),
            ejected: ArcSwap::default(),
            arrived: Notify::new(),
            origin: Instant::now(),
        }
    }

    /// The service's name, for people.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the endpoints be `ready`. `listed` are the pods that the cluster still lists, ready or not: a
    /// drained pod is forgotten when it is no longer among them.
    pub fn apply(&self, ready: impl IntoIterator<Item = Endpoint>, listed: &BTreeSet<Uid>) {
        let mut members = self.lock();
        members.drained.retain(|pod| listed.contains(pod));
        let drained = members.drained.clone();
        let wanted: BTreeMap<EndpointId, Endpoint> = ready
            .into_iter()
            .filter(|endpoint| !drained.contains(&endpoint.id.pod))
            .map(|endpoint| (endpoint.id.clone(), endpoint))
            .collect();
        let before = std::mem::take(&mut members.listed);
        for id in before.keys().filter(|id| !wanted.contains_key(*id)) {
            self.take_out(&mut members, id);
        }
        let mut arrived = false;
        for (id, endpoint) in &wanted {
            if before.get(id) == Some(endpoint) {
                continue;
            }
            members.backends.entry(id.clone()).or_insert_with(|| Arc::new(Backend::new(id.clone()))).open();
            self.balancer.insert(endpoint.clone());
            arrived = true;
        }
        members.listed = wanted;
        let Members { backends, listed, .. } = &mut *members;
        backends.retain(|id, backend| listed.contains_key(id) || backend.in_flight() > 0);
        drop(members);
        if arrived {
            self.arrived.notify_waiters();
        }
    }

    fn take_out(&self, members: &mut Members, id: &EndpointId) {
        self.balancer.remove(id);
        if let Some(backend) = members.backends.get(id) {
            backend.close();
        }
        if members.ejected.remove(id).is_some() {
            self.publish_ejected(members);
        }
    }

    /// Takes the pod's endpoints out, and waits until nothing is in flight to them. The pod stays out even if
    /// an update that is under way still lists it.
    pub async fn drain(&self, pod: &Uid) {
        let leaving: Vec<Arc<Backend>> = {
            let mut members = self.lock();
            members.drained.insert(pod.clone());
            let ids: Vec<EndpointId> = members.listed.keys().filter(|id| id.pod == *pod).cloned().collect();
            for id in &ids {
                self.take_out(&mut members, id);
                members.listed.remove(id);
            }
            members.backends.values().filter(|backend| backend.id.pod == *pod).cloned().collect()
        };
        for backend in leaving {
            backend.quiet().await;
        }
    }

    /// The endpoints that can be picked.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.balancer.endpoints()
    }

    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Picks an endpoint that was not tried yet; one that is ejected only where there is no other.
    pub(crate) fn pick(&self, tried: &[EndpointId], hash: Option<u64>) -> Option<Ticket> {
        self.readmit();
        let ejected = self.ejected.load();
        let mut request = RequestKey::at(self.now());
        request.hash = hash;
        let lease = if ejected.is_empty() {
            self.balancer.pick(&request.exclude(tried))
        } else {
            let avoid: Vec<EndpointId> = tried.iter().chain(ejected.iter()).cloned().collect();
            self.balancer
                .pick(&request.exclude(&avoid))
                .or_else(|| self.balancer.pick(&request.exclude(tried)))
        }?;
        // Under the lock that a drain takes: a request is either seen by it, or picks after it.
        let members = self.lock();
        if !members.listed.contains_key(lease.id()) {
            drop(members);
            drop(lease);
            return self.pick(tried, hash);
        }
        let backend = members.backends.get(lease.id()).cloned()?;
        Some(Ticket::new(backend, lease))
    }

    /// Picks, and waits for an endpoint to come where there is none.
    pub(crate) async fn pick_or_wait(&self, tried: &[EndpointId], hash: Option<u64>) -> Option<Ticket> {
        let deadline = Instant::now() + self.options.endpoint_wait;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(ticket) = self.pick(tried, hash) {
                return Some(ticket);
            }
            tokio::time::timeout_at(deadline, arrived).await.ok()?;
        }
    }

    /// Tells the balancer how a request ended, and ejects an endpoint that fails and fails.
    pub(crate) fn ended(&self, ticket: &mut Ticket, outcome: Outcome) {
        if let Some(lease) = ticket.take_lease() {
            lease.complete(outcome, self.now());
        }
        let backend = &ticket.backend;
        match outcome {
            Outcome::Success => backend.failures.store(0, Ordering::Relaxed),
            Outcome::Failure => {
                let failures = backend.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= self.options.eject_after {
                    self.eject(&backend.id);
                }
            }
        }
    }

    fn eject(&self, id: &EndpointId) {
        let mut members = self.lock();
        let most = members.listed.len() * self.options.eject_percent / 100;
        if members.ejected.len() >= most || !members.listed.contains_key(id) {
            return;
        }
        members.ejected.insert(id.clone(), Instant::now() + self.options.eject_for);
        self.publish_ejected(&members);
        metrics::counter!("orchestra_endpoint_ejections_total", "service" => self.name.to_string())
            .increment(1);
        tracing::info!(service = %self.name, endpoint = ?id, "ejected after failures in a row");
    }

    /// Lets in again whose time is over. Costs nothing while nobody is ejected.
    fn readmit(&self) {
        if self.ejected.load().is_empty() {
            return;
        }
        let now = Instant::now();
        let mut members = self.lock();
        let Members { ejected, backends, .. } = &mut *members;
        let before = ejected.len();
        ejected.retain(|id, until| {
            let stays = *until > now;
            if let (false, Some(backend)) = (stays, backends.get(id)) {
                backend.failures.store(0, Ordering::Relaxed);
            }
            stays
        });
        if ejected.len() != before {
            self.publish_ejected(&members);
        }
    }

    fn publish_ejected(&self, members: &Members) {
        self.ejected.store(Arc::new(members.ejected.keys().cloned().collect()));
    }
}
