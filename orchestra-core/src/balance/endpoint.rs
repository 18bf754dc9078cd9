//! Endpoints, and the use of one by a request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::model::Uid;

/// Names an endpoint: the pod and the address. An address that another pod got is another endpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EndpointId {
    /// The pod's identity; any text for endpoints that are no pods.
    pub pod: Uid,
    /// Where it listens.
    pub address: SocketAddr,
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pod, self.address)
    }
}

/// Something that requests can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Which one it is.
    pub id: EndpointId,
    /// Its share beside the others; at least 1.
    pub weight: u32,
    /// Where it is, for choosing near ones; empty where that is not known.
    pub zone: Arc<str>,
}

impl Endpoint {
    /// An endpoint of weight 1.
    #[must_use]
    pub fn new(pod: impl Into<Uid>, address: impl Into<SocketAddr>) -> Self {
        Self { id: EndpointId { pod: pod.into(), address: address.into() }, weight: 1, zone: "".into() }
    }

    /// Sets the weight; 0 counts as 1.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// Sets where it is.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = zone.into();
        self
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The endpoint answered.
    Success,
    /// The endpoint failed: refused, reset, timed out, or answered that it can't (5xx).
    Failure,
}

/// An endpoint with what is known of it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Endpoint,
    pub(super) load: Arc<SlotLoad>,
}

/// What outlives a change of an endpoint's weight.
#[derive(Debug, Default)]
pub(super) struct SlotLoad {
    pub(super) in_flight: AtomicUsize,
    /// The decayed latency in nanoseconds, as bits of an `f64`.
    pub(super) cost: AtomicU64,
    /// When the cost was last updated, in nanoseconds of the caller's time.
    pub(super) updated: AtomicU64,
    /// How many requests wait for their answers to begin.
    pub(super) waiting: AtomicUsize,
    /// When an answer last began, or a request came where none waited, in the same time.
    pub(super) heard: AtomicU64,
}

impl SlotLoad {
    /// How long it has owed answers, and begun none, in nanoseconds; `None` where it owes none.
    pub(super) fn silence(&self, now: Duration) -> Option<u64> {
        let owes = self.waiting.load(Ordering::Relaxed) > 0;
        owes.then(|| nanos(now).saturating_sub(self.heard.load(Ordering::Relaxed)))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How a balancer learns from a request that has ended.
pub(super) trait Feedback: fmt::Debug + Send + Sync {
    fn ended(&self, load: &SlotLoad, started: Duration, now: Duration, outcome: Outcome);
}

/// The use of an endpoint by one request. Ends with [`complete`](Self::complete), or when it is dropped: then
/// nothing is learnt but that it ended.
pub struct Lease {
    id: EndpointId,
    load: Arc<SlotLoad>,
    started: Duration,
    /// Whether its answer has not begun.
    waits: bool,
    feedback: Option<Arc<dyn Feedback>>,
}

impl Lease {
    pub(super) fn new(slot: &Slot, started: Duration, feedback: Option<Arc<dyn Feedback>>) -> Self {
        slot.load.in_flight.fetch_add(1, Ordering::Relaxed);
        if slot.load.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            slot.load.heard.store(nanos(started), Ordering::Relaxed);
        }
        Self { id: slot.endpoint.id.clone(), load: Arc::clone(&slot.load), started, waits: true, feedback }
    }

    /// A lease on an endpoint that no shared state is kept of: for implementations that learn nothing.
    #[must_use]
    pub fn untracked(id: EndpointId, started: Duration) -> Self {
        let load = Arc::<SlotLoad>::default();
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { id, load, started, waits: false, feedback: None }
    }

    /// Which endpoint.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        &self.id
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.id.address
    }

    /// When it was picked, in the caller's time.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.started
    }

    /// Says that the answer has begun, at `now`: however long the rest takes, the endpoint is not silent.
    pub fn answered(&mut self, now: Duration) {
        if std::mem::take(&mut self.waits) {
            self.load.heard.store(nanos(now), Ordering::Relaxed);
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Says how the request ended, at `now`.
    pub fn complete(mut self, outcome: Outcome, now: Duration) {
        self.answered(now);
        if let Some(feedback) = &self.feedback {
            feedback.ended(&self.load, self.started, now, outcome);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.waits {
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.id).finish()
    }
}
