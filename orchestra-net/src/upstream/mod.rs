//! The endpoints of one service: who may be picked, who is ejected, who is leaving.

mod backend;
mod connect;
mod drained;
mod ejection;
mod health;
mod members;
mod meters;
mod options;
mod pick;
mod status;
mod sticky;
mod ticket;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use orchestra_core::balance::{Endpoint, EndpointId, LoadBalancer, PeakEwma};
use orchestra_core::engine::Tasks;
use orchestra_core::model::Uid;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::retry::budget::TpsBudget;

use crate::body::Backlog;

pub(crate) use self::backend::Backend;
pub(crate) use self::drained::Drained;
pub use self::health::{HealthCheck, Probe};
pub use self::options::UpstreamOptions;
pub(crate) use self::pick::{Affinity, AnsweredBy, Session, Tries};
pub use self::status::{EndpointState, EndpointStatus, ServicesStatus, UpstreamStatus};
pub use self::ticket::Ticket;
pub(crate) use self::ticket::{Deadline, IfGivenUp};

use self::ejection::Ejections;
use self::members::Members;
use self::meters::Meters;

/// How long retries are counted together: tower's own default.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries a second that are free, so that a service with few requests can have any: tower's own default.
const FREE_RETRIES: u32 = 10;

/// The endpoints of one service port behind one balancer, and the connections to them.
///
/// Endpoints come and go by [`apply`](Self::apply), which changes only what differs; a pod that is about to be
/// stopped goes by [`drain`](Self::drain), which waits for its last request.
pub struct Upstream {
    name: Arc<str>,
    host: Arc<str>,
    options: ArcSwap<UpstreamOptions>,
    budget: ArcSwap<TpsBudget>,
    balancer: ArcSwap<Box<dyn LoadBalancer>>,
    members: Members,
    ejections: Ejections,
    /// Endpoints that a pick avoids: ejected, or unhealthy. Nearly always empty.
    avoided: ArcSwap<Vec<EndpointId>>,
    /// Whether there are any.
    avoids: AtomicBool,
    arrived: Notify,
    waiting: AtomicUsize,
    /// Whether requests from one client address go to one endpoint.
    by_client: AtomicBool,
    /// A connection began to wait where none did.
    kept: Arc<Notify>,
    tended: AtomicBool,
    /// How many copies are on their way to it where it is a mirror, and how much of them waits. Here, and not with a route: that may be
    /// replaced while they are.
    pub(crate) copies: Arc<AtomicUsize>,
    pub(crate) backlog: Backlog,
    origin: Instant,
    pub(crate) meters: Meters,
    /// What moves connections that many requests share.
    pub(crate) tasks: Tasks,
    #[cfg(feature = "tls")]
    tls: arc_swap::ArcSwapOption<crate::tls::ClientTls>,
}

impl Upstream {
    /// A service called `name` without endpoints. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        balancer: Box<dyn LoadBalancer>,
        options: UpstreamOptions,
    ) -> Arc<Self> {
        let name = name.into();
        Self::with_host(Arc::clone(&name), name, balancer, options)
    }

    /// The same, with what clients in this process put into `Host`.
    pub(crate) fn with_host(
        name: Arc<str>,
        host: Arc<str>,
        balancer: Box<dyn LoadBalancer>,
        options: UpstreamOptions,
    ) -> Arc<Self> {
        Arc::new(Self {
            meters: Meters::new(&name),
            name,
            host,
            budget: ArcSwap::from_pointee(budget(&options)),
            options: ArcSwap::from_pointee(options),
            balancer: ArcSwap::from_pointee(balancer),
            members: Members::default(),
            ejections: Ejections::default(),
            avoided: ArcSwap::default(),
            avoids: AtomicBool::new(false),
            arrived: Notify::new(),
            waiting: AtomicUsize::new(0),
            by_client: AtomicBool::new(false),
            kept: Arc::default(),
            tended: AtomicBool::new(false),
            copies: Arc::default(),
            backlog: Backlog::default(),
            origin: Instant::now(),
            tasks: Tasks::new(),
            #[cfg(feature = "tls")]
            tls: arc_swap::ArcSwapOption::empty(),
        })
    }

    /// A service whose endpoints are chosen by [`PeakEwma`], with the default options. To be called inside a
    /// tokio runtime.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Arc<Self> {
        Self::new(name, Box::new(PeakEwma::default()), UpstreamOptions::default())
    }

    /// The service's name, for people.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Replaces the balancer: it is given the endpoints. What the other one had learnt is lost.
    pub fn set_balancer(&self, balancer: Box<dyn LoadBalancer>) {
        self.members.with_listed(|listed| {
            listed.values().for_each(|endpoint| balancer.insert(endpoint.clone()));
            self.balancer.store(Arc::new(balancer));
        });
    }

    /// How requests are treated now. Not to be held for long: it is one of few that a thread may hold cheaply.
    pub(crate) fn options(&self) -> Guard<Arc<UpstreamOptions>> {
        self.options.load()
    }

    /// What requests may be sent again from.
    pub(crate) fn budget(&self) -> Guard<Arc<TpsBudget>> {
        self.budget.load()
    }

    /// Treats requests so from their next try on; those that are under way go on as they began. Connections that speak another
    /// protocol than they should are used no more.
    pub fn set_options(&self, options: UpstreamOptions) {
        let before = self.options.swap(Arc::new(options));
        if before.retry_share != options.retry_share {
            self.budget.store(Arc::new(budget(&options)));
        }
        // There may be more places now.
        self.arrived.notify_waiters();
    }

    /// The time, as the balancer is told it.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Makes `endpoints` be the ones that get requests. Those that stay keep their requests and what is known
    /// of them; those that go finish what they have. Pods that were [drained](Self::drain) stay out; one that
    /// is missing here is forgotten, so a later listing lets it in.
    pub fn apply(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        let _leaving = self.replace(endpoints);
    }

    /// The same. Returns those that go and still answer something.
    pub(crate) fn replace(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Vec<Arc<Backend>> {
        let changes = self.members.apply(endpoints, |change| match change {
            members::Change::Removed(id) => self.balancer.load().remove(id),
            members::Change::Added(endpoint) => self.balancer.load().insert(endpoint.clone()),
        });
        if !changes.removed.is_empty() {
            self.ejections.forget(&changes.removed);
            self.publish_avoided();
        }
        if changes.added {
            self.arrived.notify_waiters();
        }
        changes.leaving
    }

    /// Adds endpoints to those that get requests, or changes the weights of those that are there.
    pub fn insert(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.members.insert(endpoints, |endpoint| self.balancer.load().insert(endpoint.clone()));
        self.arrived.notify_waiters();
    }

    /// Takes endpoints out, and returns when nothing is in flight to them any more. They may be [inserted](Self::insert)
    /// again; where that happens meanwhile, nothing is waited for any more. Idempotent; what was begun goes on when the
    /// future is dropped.
    pub async fn remove(&self, ids: &[EndpointId]) {
        let leaving = self.members.remove(ids, |id| self.balancer.load().remove(id));
        self.ejections.forget(ids);
        self.publish_avoided();
        for backend in leaving {
            backend.quiet().await;
        }
    }

    /// Takes the pod's endpoints out, and returns when nothing is in flight to them any more. The pod stays
    /// out even where an update that is under way still lists it. Idempotent; what was begun goes on when the
    /// future is dropped.
    pub async fn drain(&self, pod: &Uid) {
        self.members.remember(pod);
        for backend in self.begin_drain(pod) {
            backend.quiet().await;
        }
    }

    /// Takes the pod's endpoints out, and returns them. Whoever calls this lists it no more.
    pub(crate) fn begin_drain(&self, pod: &Uid) -> Vec<Arc<Backend>> {
        let (leaving, removed) = self.members.drain(pod, |id| self.balancer.load().remove(id));
        if !removed.is_empty() {
            self.ejections.forget(&removed);
            self.publish_avoided();
        }
        leaving
    }

    /// The endpoints that can be picked.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.balancer.load().endpoints()
    }

    /// Waits until an endpoint can be picked.
    pub async fn ready(&self) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if !self.members.is_empty() {
                return;
            }
            arrived.await;
        }
    }

    fn publish_avoided(&self) {
        self.ejections.tell(|avoided| {
            let avoids = !avoided.is_empty();
            self.avoided.store(Arc::new(avoided));
            self.avoids.store(avoids, Ordering::Release);
        });
        // There may be a place at one that is well again, and who waits for that time to come may know another one now.
        self.arrived.notify_waiters();
    }

    /// Closes connections that nobody used for long, in a task of `tasks`. May be called again.
    pub fn tend(self: &Arc<Self>, tasks: &Tasks) {
        if !self.tended.swap(true, Ordering::Relaxed) {
            tasks.spawn("idle-connections", close_stale(Arc::downgrade(self), Arc::clone(&self.kept)));
        }
    }
}

fn budget(options: &UpstreamOptions) -> TpsBudget {
    TpsBudget::new(BUDGET_WINDOW, FREE_RETRIES, options.retry_share)
}

async fn close_stale(upstream: Weak<Upstream>, kept: Arc<Notify>) {
    loop {
        let Some(strong) = upstream.upgrade() else { return };
        let backends = strong.members.load_full();
        let next = backends.values().filter_map(|backend| backend.close_stale(Instant::now())).min();
        drop((strong, backends));
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => kept.notified().await,
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Whoever looks after the connections sees that there are none any more.
        self.kept.notify_one();
        self.tasks.cancel();
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("endpoints", &self.status())
            .finish_non_exhaustive()
    }
}
