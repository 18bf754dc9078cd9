//! Which endpoint gets a request: the [`LoadBalancer`] trait and its kind. PURE.
//!
//! Which one do I want? [`PeakEwma`] for HTTP: it sends little to an endpoint that is slow or fails.
//! [`LeastRequests`] where requests take very different times on equal endpoints. [`RoundRobin`] where each
//! endpoint shall get its exact share. [`ConsistentHash`] where equal keys shall meet the same endpoint, [`Maglev`] where
//! there are more than some dozens of endpoints besides. [`ZoneAware`] and [`SlowStart`] go around any of these: near
//! endpoints first, and new ones little by little.

mod consistent_hash;
mod endpoint;
mod least_requests;
mod maglev;
mod members;
mod peak_ewma;
#[cfg(test)]
mod properties;
mod round_robin;
mod slow_start;
mod zone_aware;

use std::fmt::Debug;
use std::time::Duration;

pub use consistent_hash::ConsistentHash;
pub use endpoint::{Endpoint, EndpointId, Lease, Outcome};
pub use least_requests::LeastRequests;
pub use maglev::{Maglev, MaglevOptions};
pub use peak_ewma::{PeakEwma, PeakEwmaOptions};
pub use round_robin::RoundRobin;
pub use slow_start::SlowStart;
pub use zone_aware::{ZoneAware, ZoneOptions};

/// What a balancer may know of a request.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RequestKey<'a> {
    /// The time, since any fixed origin of the caller. It never goes back.
    pub now: Duration,
    /// What equal requests have in common (a session, a path), hashed; `None`: nothing.
    pub hash: Option<u64>,
    /// Endpoints that must not be picked: they were just tried, or are ejected.
    pub exclude: &'a [EndpointId],
    /// The only endpoint that may be picked: a session has begun with it; `None`: any.
    pub only: Option<&'a EndpointId>,
}

impl<'a> RequestKey<'a> {
    /// A request at this time.
    #[must_use]
    pub fn at(now: Duration) -> Self {
        Self { now, ..Self::default() }
    }

    /// Adds what equal requests have in common.
    #[must_use]
    pub fn hash(mut self, hash: u64) -> Self {
        self.hash = Some(hash);
        self
    }

    /// Adds endpoints that must not be picked.
    #[must_use]
    pub fn exclude(mut self, exclude: &'a [EndpointId]) -> Self {
        self.exclude = exclude;
        self
    }

    /// Lets only this one be picked.
    #[must_use]
    pub fn only(mut self, only: &'a EndpointId) -> Self {
        self.only = Some(only);
        self
    }

    /// Whether this endpoint may be picked.
    #[must_use]
    pub fn allows(&self, id: &EndpointId) -> bool {
        self.only.is_none_or(|only| only == id) && !self.exclude.contains(id)
    }

    /// Whether every endpoint may be picked.
    fn allows_all(&self) -> bool {
        self.exclude.is_empty() && self.only.is_none()
    }
}

/// Picks an endpoint for each request.
///
/// # Contract
/// - **Only members.** Picks an endpoint that was inserted and not removed, and that the request
///   [allows](RequestKey::allows); `None` only where there is none such.
/// - **Incremental.** Inserting or removing one endpoint leaves what is known of the others as it is; an
///   endpoint that is inserted again keeps its requests in flight and takes its new weight.
/// - **Feedback.** Every pick is a [`Lease`]; it is completed with an outcome or dropped, and the balancer
///   learns from that. A lease outlives the endpoint's membership.
/// - **Concurrent**, never blocks, and takes the time from the request: it has no clock of its own.
///
/// Checked by `orchestra_testkit::balance_contract`. Shipped: [`RoundRobin`], [`LeastRequests`], [`PeakEwma`],
/// [`ConsistentHash`] and [`Maglev`]; [`ZoneAware`] and [`SlowStart`] go around any of them.
///
/// ```
/// use std::time::Duration;
/// use orchestra_core::balance::{Endpoint, LoadBalancer, RequestKey, RoundRobin};
///
/// let balancer = RoundRobin::new();
/// balancer.insert(Endpoint::new("pod-a", ([127, 0, 0, 2], 8080)));
/// let lease = balancer.pick(&RequestKey::at(Duration::ZERO)).unwrap();
/// assert_eq!(lease.address().port(), 8080);
/// ```
pub trait LoadBalancer: Debug + Send + Sync + 'static {
    /// The endpoint for a request; `None` where there is none.
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease>;
    /// Adds an endpoint, or changes the weight or zone of the one with its id.
    fn insert(&self, endpoint: Endpoint);
    /// Takes an endpoint out. Nothing where it is not there.
    fn remove(&self, id: &EndpointId);
    /// The endpoints that can be picked.
    fn endpoints(&self) -> Vec<Endpoint>;
}

const _: fn(&dyn LoadBalancer) = |_| {};
