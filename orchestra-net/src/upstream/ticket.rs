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

/// A request's place at an endpoint, from the pick until the last byte of its answer. A drain waits for its drop.
#[derive(Debug)]
pub struct Ticket {
    upstream: Arc<Upstream>,
    backend: Arc<Backend>,
    lease: Option<Lease>,
    /// How the request went, and when its answer began.
    outcome: Option<(Outcome, Duration)>,
    /// Where it ends without an outcome: from how long on the balancer is told that it took so long.
    slow: Option<Duration>,
}

impl Ticket {
    /// `backend` has been [entered](Backend::enter).
    pub(super) fn new(upstream: Arc<Upstream>, backend: Arc<Backend>, lease: Lease) -> Self {
        Self { upstream, backend, lease: Some(lease), outcome: None, slow: None }
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

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn keep(&self, connection: Box<Connection>) {
        if self.backend.keep(connection) {
            self.upstream.kept.notify_one();
        }
    }

    /// The answer has begun, or it is clear that none will come. Told to the balancer; failures in a row eject.
    pub fn ended(&mut self, outcome: Outcome) {
        let now = self.upstream.now();
        self.outcome = Some((outcome, now));
        let took = now.saturating_sub(self.lease.as_ref().map_or(now, Lease::started));
        if let Some(lease) = &mut self.lease {
            lease.answered(now);
        }
        self.upstream.meters.ended(outcome == Outcome::Success, took);
        let failures = &self.backend.failures;
        match outcome {
            Outcome::Success if failures.load(Ordering::Relaxed) == 0 => {}
            Outcome::Success => {
                failures.store(0, Ordering::Relaxed);
                self.upstream.pardon(&self.backend.id);
            }
            Outcome::Failure => {
                let failures = failures.fetch_add(1, Ordering::Relaxed) + 1;
                self.upstream.failed_in_a_row(&self.backend.id, failures);
            }
        }
    }

    /// No answer is waited for.
    pub(crate) fn owes_nothing(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.answered(self.upstream.now());
        }
    }

    /// The balancer is to learn from it even where the request is cancelled, if that was after `slow`: an endpoint whose slow answers
    /// nobody waits for would look as fast as ever.
    pub(crate) fn tell_if_cancelled_after(&mut self, slow: Duration) {
        self.slow = Some(slow);
    }

    /// How long the endpoint may be silent in the middle of its answer.
    pub(crate) fn body_timeout(&self) -> Option<Duration> {
        self.upstream.options.body_timeout
    }

    /// What its silence for so long is called.
    pub(crate) fn stalled(&self, limit: Duration) -> NetError {
        let (service, endpoint) = (Arc::clone(self.upstream.name()), self.backend.id.clone());
        NetError::Stalled { service, endpoint, limit }
    }

    /// The answer began well, but broke off.
    pub(crate) fn broke_off(&mut self) {
        self.ended(Outcome::Failure);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            if let Some((outcome, at)) = self.outcome {
                lease.complete(outcome, at);
            } else if let Some(slow) = self.slow {
                let now = self.upstream.now();
                if now.saturating_sub(lease.started()) >= slow {
                    lease.complete(Outcome::Success, now);
                }
            }
        }
        self.backend.leave();
        self.upstream.place_is_free();
    }
}
