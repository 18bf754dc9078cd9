//! A request's place at an endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestra_core::balance::{EndpointId, Lease, Outcome};
use tokio::time::Instant;

use super::Upstream;
use super::backend::Backend;
use crate::connection::Connection;
use crate::error::NetError;
use crate::progress::Progress;
use crate::timer::later;

/// A request's place at an endpoint, from the pick until the last byte of its answer. A drain waits for its drop.
#[derive(Debug)]
pub struct Ticket {
    upstream: Arc<Upstream>,
    backend: Arc<Backend>,
    lease: Option<Lease>,
    /// When its answer began, or when it was clear that none would come.
    answered: Option<Duration>,
    /// How the request went.
    outcome: Option<Outcome>,
    /// What is learnt where it is given up before.
    if_given_up: IfGivenUp,
}

/// What is to be learnt from a request that is given up before its answer has begun.
#[derive(Debug, Default)]
pub(crate) struct IfGivenUp {
    /// From how long on the balancer is told that it took so long: an endpoint whose slow answers nobody waits for would look as
    /// fast as ever.
    pub(crate) slow: Option<Duration>,
    /// When the endpoint has failed.
    pub(crate) deadline: Option<Deadline>,
    /// What the client sends: where it is the client that is waited for, nothing is learnt of the endpoint.
    pub(crate) upload: Option<Progress>,
}

/// When an answer must have begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    /// How long before that the request came.
    limit: Duration,
}

impl Deadline {
    /// So long from now on.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { at: later(Instant::now(), limit), limit }
    }
}

impl Ticket {
    /// `backend` has been [entered](Backend::enter).
    pub(super) fn new(upstream: Arc<Upstream>, backend: Arc<Backend>, lease: Lease) -> Self {
        let (answered, outcome, if_given_up) = Default::default();
        Self { upstream, backend, lease: Some(lease), answered, outcome, if_given_up }
    }

    /// Which endpoint.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        &self.backend.id
    }

    /// When it was picked.
    pub(crate) fn picked(&self) -> Instant {
        self.lease.as_ref().map_or_else(Instant::now, |lease| self.upstream.origin + lease.started())
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    pub(crate) fn keep(&self, connection: Box<Connection>) {
        if self.backend.keep(connection) {
            self.upstream.kept.notify_one();
        }
    }

    /// The answer has begun, or it is clear that none will come. Told to the balancer; failures in a row eject.
    pub fn ended(&mut self, outcome: Outcome) {
        let took = self.answered().saturating_sub(self.started());
        self.outcome = Some(outcome);
        self.upstream.meters.ended(outcome == Outcome::Success, took);
        if outcome == Outcome::Failure {
            self.failed();
        }
    }

    /// The answer has begun, but how it went its end will say. Returns when it began.
    pub(crate) fn answered(&mut self) -> Duration {
        if let Some(at) = self.answered {
            return at;
        }
        let now = self.upstream.now();
        self.answered = Some(now);
        if let Some(lease) = &mut self.lease {
            lease.answered(now);
        }
        now
    }

    /// Whether nothing has said yet how the request went.
    pub(crate) fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    fn started(&self) -> Duration {
        self.lease.as_ref().map_or(Duration::ZERO, Lease::started)
    }

    fn failed(&self) {
        let failures = self.backend.failures.fetch_add(1, Ordering::Relaxed) + 1;
        self.upstream.failed_in_a_row(&self.backend.id, failures);
    }

    /// No answer is waited for.
    pub(crate) fn owes_nothing(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.answered(self.upstream.now());
        }
    }

    /// Says what is to be learnt where nobody waits for the answer any more.
    pub(crate) fn if_given_up(&mut self, learn: IfGivenUp) {
        self.if_given_up = learn;
    }

    /// How long the endpoint may be silent in the middle of its answer.
    pub(crate) fn body_timeout(&self) -> Option<Duration> {
        self.upstream.options().body_timeout
    }

    /// What its silence for so long is called.
    pub(crate) fn stalled(&self, limit: Duration) -> NetError {
        let (service, endpoint) = (Arc::clone(self.upstream.name()), self.backend.id.clone());
        NetError::Stalled { service, endpoint, limit }
    }

    /// The answer began well, but broke off.
    pub(crate) fn broke_off(&mut self) {
        // Where the client did first, that is what the endpoint answers to.
        if self.if_given_up.upload.as_ref().is_some_and(|upload| upload.fault().is_some()) {
            return;
        }
        self.upstream.meters.broken.increment(1);
        self.outcome = Some(Outcome::Failure);
        self.failed();
    }

    /// It ends well, to the last byte: that is what ends a row of failures, not that an answer begins.
    fn succeeded(&self) {
        if self.backend.failures.load(Ordering::Relaxed) > 0 {
            self.backend.failures.store(0, Ordering::Relaxed);
            self.upstream.pardon(&self.backend.id);
        }
    }

    /// Nobody waits for the answer any more, which had not begun.
    fn given_up(&mut self) {
        let IfGivenUp { slow, deadline, upload } = &self.if_given_up;
        if upload.as_ref().is_some_and(Progress::starving) {
            return;
        }
        let now = self.upstream.now();
        let took = now.saturating_sub(self.started());
        // One that got the request when most of the time was over is not to blame.
        let is_over =
            |deadline: Deadline| deadline.at <= self.upstream.origin + now && took >= deadline.limit / 2;
        if deadline.is_some_and(is_over) {
            self.ended(Outcome::Failure);
        } else if slow.is_some_and(|slow| took >= slow) {
            self.answered();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.answered.is_none() {
            self.given_up();
        }
        if self.outcome == Some(Outcome::Success) {
            self.succeeded();
        }
        if let (Some(lease), Some(at)) = (self.lease.take(), self.answered) {
            lease.complete(self.outcome.unwrap_or(Outcome::Success), at);
        }
        self.backend.leave();
        self.upstream.place_is_free();
    }
}
