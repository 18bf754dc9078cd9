//! One endpoint, as a proxy sees it: connections that wait, requests in flight, failures in a row.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestra_core::balance::EndpointId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pick::tag;
use crate::connection::Connection;
use crate::error::Cause;
use crate::http2::Shared;
use crate::workers::{shard, shards};

/// How many connections to one endpoint wait for the next request, for each thread that serves. More than that were
/// needed only in a peak; one costs about 10 KB.
const IDLE_CONNECTIONS: usize = 256;

/// A connection that waited longer than this is not used for a request that can't be repeated: the endpoint
/// may just be closing it. Servers wait for seconds at least before they do.
const FRESH: Duration = Duration::from_secs(1);

/// A connection that waited longer than this is closed. Below the 60 s and more that most servers have.
const STALE: Duration = Duration::from_secs(30);

#[allow(clippy::vec_box, reason = "a connection is a kilobyte that moves from request to request in its box")]
type Idle = Mutex<Vec<Box<Connection>>>;

/// Whether a request got in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    In,
    /// The endpoint is leaving.
    Closed,
    /// It has as many as it may.
    Full,
}

/// An endpoint with its connections.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: EndpointId,
    /// What sessions name it by.
    pub(super) tag: u64,
    /// For each thread that serves, in the order they were given back: a connection is moved by the thread that made
    /// it, so another one would have to be woken by that one for every byte.
    idle: Box<[Idle]>,
    /// For each thread again: the HTTP/2 connections that new ways lead into.
    shared: Box<[Mutex<Vec<Shared>>]>,
    in_flight: AtomicUsize,
    quiet: Notify,
    /// It is leaving: no request enters, no connection is kept.
    closed: AtomicBool,
    /// Since when it is leaving.
    leaving: Mutex<Option<Instant>>,
    pub(crate) failures: AtomicU32,
}

impl Backend {
    pub(crate) fn new(id: EndpointId) -> Self {
        Self {
            tag: tag(&id),
            id,
            idle: (0..shards()).map(|_| Idle::default()).collect(),
            shared: (0..shards()).map(|_| Mutex::default()).collect(),
            in_flight: AtomicUsize::new(0),
            quiet: Notify::new(),
            closed: AtomicBool::new(false),
            leaving: Mutex::default(),
            failures: AtomicU32::new(0),
        }
    }

    /// The list of this thread.
    #[allow(clippy::vec_box, reason = "as the list")]
    fn lock(&self) -> MutexGuard<'_, Vec<Box<Connection>>> {
        self.idle[shard()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lists of all threads.
    #[allow(clippy::vec_box, reason = "as the list")]
    fn lists(&self) -> impl Iterator<Item = MutexGuard<'_, Vec<Box<Connection>>>> {
        self.idle.iter().map(|idle| idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A waiting connection that stands, the one that was used last. `http2`: what it is to speak; `repeatable`: whether the
    /// request that it is for could be sent again.
    pub(crate) async fn connection(
        &self,
        http2: bool,
        repeatable: bool,
        now: Instant,
    ) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.take(http2, if repeatable { STALE } else { FRESH }, now)?;
            if repeatable || connection.stands().await {
                return Some(connection);
            }
        }
    }

    fn take(&self, http2: bool, oldest: Duration, now: Instant) -> Option<Box<Connection>> {
        let mut idle = self.lock();
        // What the endpoint speaks may have changed.
        while idle.pop_if(|last| last.has_ended() || last.is_http2() != http2).is_some() {}
        let last = idle.last()?;
        // All before the last one waited longer still. A way into a connection that others use, too, is as good as any new one.
        if !http2 && now.saturating_duration_since(last.idle_since) > oldest {
            return None;
        }
        idle.pop()
    }

    /// Keeps a connection for the next request of this thread, where there is room and the endpoint stays. Whether it
    /// is the only one.
    pub(crate) fn keep(&self, connection: Box<Connection>) -> bool {
        let mut idle = self.lock();
        // Under the lock: whoever closes the endpoint empties the list after this, or is seen here.
        if idle.len() < IDLE_CONNECTIONS && !self.is_closed() {
            idle.push(connection);
            return idle.len() == 1;
        }
        false
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.shared[shard()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another way into one of this thread's HTTP/2 connections, where one has room.
    pub(crate) fn way_in(&self) -> Option<Box<Connection>> {
        with_room(&mut self.shared()).map(Connection::into_used)
    }

    /// Shares an HTTP/2 connection with this thread's next requests, unless another one has got room meanwhile; a way into
    /// the one that has.
    pub(crate) fn share(&self, opened: Shared) -> Box<Connection> {
        let mut shared = self.shared();
        if let Some(other) = with_room(&mut shared) {
            return Connection::into(other);
        }
        let way = Connection::into(&opened);
        // Under the lock, as `keep`.
        if !self.is_closed() {
            shared.push(opened);
        }
        way
    }

    /// Ends the HTTP/2 connections that there is no way into, neither in use nor waiting.
    fn close_unused(&self) {
        for shared in &self.shared {
            shared.lock().unwrap_or_else(PoisonError::into_inner).retain(|shared| shared.ways() > 0);
        }
    }

    /// Shares no HTTP/2 connection any more: each ends with its last request.
    fn unshare(&self) {
        for shared in &self.shared {
            shared.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub(crate) fn idle(&self) -> usize {
        self.lists().map(|idle| idle.len()).sum()
    }

    /// Closes the connections that waited for long. Returns when the oldest of the others will have.
    pub(crate) fn close_stale(&self, now: Instant) -> Option<Instant> {
        let next = self.lists().filter_map(|mut idle| {
            let stale = idle.partition_point(|connection| connection.idle_since + STALE <= now);
            idle.drain(..stale);
            idle.first().map(|connection| connection.idle_since + STALE)
        });
        let next = next.min();
        self.close_unused();
        next
    }

    /// Lets no request in any more, and closes what waits.
    pub(crate) fn close(&self) {
        self.set_closed(true);
        // Those who wait for the last request look again, and go on waiting.
        self.quiet.notify_waiters();
        self.lists().for_each(|mut idle| idle.clear());
        self.unshare();
    }

    /// It is a member again.
    pub(crate) fn open(&self) {
        self.set_closed(false);
        self.quiet.notify_waiters();
    }

    /// Under the lock, so that both say the same whoever comes at once.
    fn set_closed(&self, closed: bool) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        *leaving = closed.then(|| leaving.unwrap_or_else(Instant::now));
        self.closed.store(closed, Ordering::SeqCst);
    }

    /// Since when it is leaving, where it is.
    pub(super) fn leaving(&self) -> Option<Instant> {
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits until it is leaving.
    pub(crate) async fn closed(&self) {
        loop {
            let changed = self.quiet.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Connects, unless the endpoint leaves before that is done: a try that is under way does not hear of its end, and by the
    /// time that somebody accepts, its address may be another's.
    pub(crate) async fn while_open<S, E: Into<Cause>>(
        &self,
        connecting: impl Future<Output = Result<S, E>>,
    ) -> Result<S, Cause> {
        tokio::select! {
            biased;
            () = self.closed() => Err("it left while it was being connected to".into()),
            connected = connecting => connected.map_err(Into::into),
        }
    }

    /// Counts a request in, unless the endpoint is leaving, or has as many as it may.
    ///
    /// Counting comes before looking here, and closing before counting in a drain: of a request and a drain
    /// at the same moment, one sees the other.
    pub(crate) fn enter(&self, most: Option<usize>) -> Entry {
        match most {
            None => {
                self.in_flight.fetch_add(1, Ordering::SeqCst);
            }
            // Not even for a moment more than that: whoever looks then would find no place where one has just become free.
            Some(most) => {
                let one_more = |before: usize| (before < most).then_some(before + 1);
                if self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_err() {
                    return if self.is_closed() { Entry::Closed } else { Entry::Full };
                }
            }
        }
        if self.is_closed() {
            self.leave();
            return Entry::Closed;
        }
        Entry::In
    }

    /// Counts a request out.
    pub(crate) fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_closed() {
            self.quiet.notify_waiters();
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until nothing is in flight, or it is a member again. To be called after [`close`](Self::close).
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if self.in_flight() == 0 || !self.is_closed() {
                return;
            }
            quiet.await;
        }
    }
}

/// The first one that has room; those that have ended go.
fn with_room(shared: &mut Vec<Shared>) -> Option<&Shared> {
    shared.retain(|shared| !shared.is_closed());
    shared.iter().find(|shared| shared.has_room())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use orchestra_core::balance::Endpoint;

    use super::*;

    #[tokio::test]
    async fn a_closed_endpoint_lets_nobody_in_and_is_quiet_after_the_last_one() {
        let backend = Backend::new(Endpoint::new("pod", ([127, 0, 0, 1], 80)).id);
        assert_eq!(backend.enter(Some(1)), Entry::In);
        assert_eq!(backend.enter(Some(1)), Entry::Full);
        backend.close();
        assert_eq!(backend.enter(None), Entry::Closed);
        let mut quiet = Box::pin(backend.quiet());
        assert!(quiet.as_mut().now_or_never().is_none(), "one is in flight");
        backend.leave();
        quiet.await;
    }
}
