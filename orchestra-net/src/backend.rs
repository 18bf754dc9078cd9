//! One endpoint, as a proxy sees it: connections that wait, requests in flight, failures in a row.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::client::conn::http1::SendRequest;
use orchestra_core::balance::{EndpointId, Lease};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::ProxyBody;

/// How many connections to one endpoint wait for the next request. More than that were needed only in a peak.
const IDLE_CONNECTIONS: usize = 64;

/// A connection that waited longer than this is not used for a request that can't be repeated: the endpoint
/// may just be closing it. Servers wait for seconds at least before they do.
const FRESH: Duration = Duration::from_millis(500);

/// A connection that waited longer than this is not used at all.
const STALE: Duration = Duration::from_secs(30);

/// An endpoint with its connections.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: EndpointId,
    idle: Mutex<Vec<(SendRequest<ProxyBody>, Instant)>>,
    in_flight: AtomicUsize,
    quiet: Notify,
    /// No new connection is kept: it is leaving.
    closed: AtomicBool,
    pub(crate) failures: AtomicU32,
}

impl Backend {
    pub(crate) fn new(id: EndpointId) -> Self {
        Self {
            id,
            idle: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            quiet: Notify::new(),
            closed: AtomicBool::new(false),
            failures: AtomicU32::new(0),
        }
    }

    /// A waiting connection, the one that was used last; `fresh`: only one that surely still stands.
    pub(crate) fn connection(&self, fresh: bool) -> Option<SendRequest<ProxyBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((mut connection, since)) = idle.pop() {
            if since.elapsed() > STALE {
                // All that waited longer are older still.
                idle.clear();
                return None;
            }
            if fresh && since.elapsed() > FRESH {
                idle.push((connection, since));
                return None;
            }
            if matches!(connection.ready().now_or_never(), Some(Ok(()))) {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: SendRequest<ProxyBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS && !connection.is_closed() && !self.closed.load(Ordering::Acquire) {
            idle.push((connection, Instant::now()));
        }
    }

    /// Closes what waits, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// It is a member again.
    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Release);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn quiet(&self) {
        loop {
            let notified = self.quiet.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// A request's place at an endpoint, from the pick until the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) backend: Arc<Backend>,
    lease: Option<Lease>,
}

impl Ticket {
    pub(crate) fn new(backend: Arc<Backend>, lease: Lease) -> Self {
        backend.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { backend, lease: Some(lease) }
    }

    pub(crate) fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.backend.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.backend.quiet.notify_waiters();
        }
    }
}

/// What an answer's body holds until it has ended: the place at the endpoint, and the connection.
#[derive(Debug)]
pub struct Release {
    pub(crate) connection: SendRequest<ProxyBody>,
    pub(crate) ticket: Ticket,
}

impl Release {
    /// The answer has ended well: the connection can carry another.
    pub(crate) fn reuse(self) {
        self.ticket.backend.keep(self.connection);
    }
}
