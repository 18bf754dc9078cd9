//! Picking an endpoint, and waiting for one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestra_core::balance::{EndpointId, Lease, RequestKey};
use tokio::time::Instant;

use super::backend::{Backend, Entry};
use super::{Deadline, Ticket, Upstream, UpstreamOptions};
use crate::error::{Cause, NetError};
use crate::http::{FNV, fnv};
use crate::timer::later;

/// The first pause after all endpoints refused; it doubles up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a pick is repeated because the endpoint left, or became full, between being picked and being entered.
///
/// Each time means that it did so just then; more in a row than this means that a balancer picks endpoints that were removed,
/// or excluded.
const PICKS: usize = 64;

impl Upstream {
    /// A request has left: one that waits for a place may look again.
    pub(super) fn place_is_free(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 && self.options().max_in_flight.is_some() {
            self.arrived.notify_one();
        }
    }

    /// Picks an endpoint that is not in `tried`; one that is avoided only where there is no other. For protocols
    /// that this crate does not speak: [`ServiceClient`](crate::ServiceClient) does this by itself.
    ///
    /// `hash`: what equal requests have in common, for balancers that look at it.
    #[must_use]
    pub fn pick(self: &Arc<Self>, tried: &[EndpointId], hash: Option<u64>) -> Option<Ticket> {
        self.pick_for(tried, Affinity { hash, ..Affinity::default() })
    }

    #[tracing::instrument(name = "pick", level = "trace", skip_all, fields(service = %self.name))]
    pub(crate) fn pick_for(self: &Arc<Self>, tried: &[EndpointId], affinity: Affinity) -> Option<Ticket> {
        let most = self.options().max_in_flight;
        // Those that were tried, and those that have as many requests as they may, once one of these was picked.
        let mut out: Option<Vec<EndpointId>> = None;
        for _ in 0..PICKS {
            let lease = match &out {
                None => self.lease(tried, affinity)?,
                Some(out) => self.lease_of_others(out, self.key(affinity))?,
            };
            let Some(backend) = self.members.load().get(lease.id()).cloned() else { continue };
            match backend.enter(most) {
                Entry::In => return Some(Ticket::new(Arc::clone(self), backend, lease)),
                // All at once: there may be any number of them.
                Entry::Full => out = Some(self.out(tried, most)?),
                Entry::Closed => {}
            }
        }
        if out.is_none() {
            tracing::error!(service = %self.name, "the balancer picks endpoints that were removed");
        }
        None
    }

    /// Those that were tried, and those that have as many requests as they may; `None` where there is no other.
    fn out(&self, tried: &[EndpointId], most: Option<usize>) -> Option<Vec<EndpointId>> {
        let most = most.unwrap_or(usize::MAX);
        let members = self.members.load();
        let open = members.values().filter(|backend| !backend.is_closed());
        let is_out = |backend: &&Arc<Backend>| backend.in_flight() >= most || tried.contains(&backend.id);
        let (out, others): (Vec<_>, Vec<_>) = open.partition(is_out);
        (!others.is_empty()).then(|| out.into_iter().map(|backend| backend.id.clone()).collect())
    }

    /// What a balancer is to know of a request now.
    fn key(&self, affinity: Affinity) -> RequestKey<'static> {
        let mut request = RequestKey::at(self.now());
        request.hash = affinity.hash;
        request
    }

    fn lease(&self, tried: &[EndpointId], affinity: Affinity) -> Option<Lease> {
        let request = self.key(affinity);
        let avoids = self.avoids.load(Ordering::Acquire);
        // Also those whose sessions come back.
        if avoids {
            self.readmit();
        }
        if let Some(Session::Of(tag)) = affinity.session
            && let Some(lease) = self.lease_of(tag, tried, request)
        {
            return Some(lease);
        }
        if !avoids {
            return self.balancer.load().pick(&request.exclude(tried));
        }
        let others = self.lease_of_others(tried, request);
        others.or_else(|| self.balancer.load().pick(&request.exclude(tried)))
    }

    /// Of an endpoint that is neither avoided nor one of these. Where some are full, the others are waited for, as where there is none:
    /// one that fails is no place for what is too much for the rest.
    fn lease_of_others(&self, out: &[EndpointId], request: RequestKey<'_>) -> Option<Lease> {
        let avoided = self.avoided.load();
        let both: Vec<EndpointId> = out.iter().chain(avoided.iter()).cloned().collect();
        self.balancer.load().pick(&request.exclude(&both))
    }

    /// The endpoint of a session, where it is there and well.
    fn lease_of(&self, tag: u64, tried: &[EndpointId], request: RequestKey<'_>) -> Option<Lease> {
        let member = self.member_of(tag)?;
        let id = &member.id;
        if tried.contains(id) || self.avoided.load().contains(id) {
            return None;
        }
        // A balancer that does not look at it has picked some other one.
        self.balancer.load().pick(&request.only(id)).filter(|lease| lease.id() == id)
    }

    /// Whether the endpoint of this session is there, however it does.
    pub(crate) fn has_session(&self, tag: u64) -> bool {
        self.member_of(tag).is_some()
    }

    fn member_of(&self, tag: u64) -> Option<Arc<Backend>> {
        let members = self.members.load();
        members.values().find(|backend| backend.tag == tag && !backend.is_closed()).cloned()
    }

    fn readmit(&self) {
        let back = self.ejections.readmit(self.now());
        if back.is_empty() {
            return;
        }
        let backends = self.members.load();
        for backend in back.iter().filter_map(|id| backends.get(id)) {
            backend.failures.store(0, Ordering::Relaxed);
        }
        self.publish_avoided();
    }

    /// When the next one of those that are ejected gets requests again.
    fn next_back(&self) -> Option<Instant> {
        if !self.avoids.load(Ordering::Acquire) {
            return None;
        }
        self.readmit();
        self.ejections.next().map(|at| later(self.origin, at))
    }

    /// An endpoint has failed so many times in a row.
    pub(super) fn failed_in_a_row(&self, id: &EndpointId, failures: u32) {
        let options = **self.options();
        if options.eject_after == 0 || failures < options.eject_after {
            return;
        }
        // Whoever leaves does so before this or after it, and is then forgotten.
        let ejected = self.members.with_listed(|listed| {
            let most = listed.len() * options.eject_percent / 100;
            listed.contains_key(id) && self.ejections.eject(id, failures, most, options.eject_for, self.now())
        });
        if ejected {
            self.publish_avoided();
            self.meters.ejections.increment(1);
            tracing::info!(service = %self.name, endpoint = ?id, failures, "ejected an endpoint that fails");
        }
    }

    pub(super) fn pardon(&self, id: &EndpointId) {
        self.ejections.pardon(id);
    }
}

/// What a request's endpoint is chosen by, besides how the endpoints do, and how long it may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Affinity {
    /// What equal requests have in common.
    pub(crate) hash: Option<u64>,
    /// The session that it belongs to, where there are any.
    pub(crate) session: Option<Session>,
    /// How long the endpoint may be silent, where the route says so.
    pub(crate) response_timeout: Option<Duration>,
    /// When whoever asks stops waiting, where the route says so.
    pub(crate) deadline: Option<Deadline>,
    /// Whether the answer is to say which endpoint it came from.
    pub(crate) named: bool,
}

impl Affinity {
    /// How long an endpoint of this service may be silent.
    pub(crate) fn response_timeout(&self, options: &UpstreamOptions) -> Duration {
        self.response_timeout.unwrap_or(options.response_timeout)
    }
}

/// A session with one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// It begins with this request.
    New,
    /// It has begun with the endpoint that has this tag.
    Of(u64),
}

/// The endpoint that a response came from.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredBy(pub(crate) EndpointId);

impl AnsweredBy {
    /// What its sessions are called.
    pub(crate) fn tag(&self) -> u64 {
        tag(&self.0)
    }
}

/// A number that names an endpoint, the same in every proxy, and that says nothing else about it.
pub(super) fn tag(id: &EndpointId) -> u64 {
    let address = id.address.to_string();
    let hash = fnv(fnv(FNV, id.pod.as_str().as_bytes()), address.as_bytes());
    // So that its bits depend on all of the address.
    hash ^ hash.rotate_right(23).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The tries of one request.
pub(crate) struct Tries<'u> {
    upstream: &'u Arc<Upstream>,
    affinity: Affinity,
    /// How many are tried in a row.
    attempts: usize,
    tried: Vec<EndpointId>,
    /// Since when it has been waiting, or failing to be sent.
    since: Option<Instant>,
    pause: Duration,
    last: Option<(EndpointId, Cause)>,
}

impl<'u> Tries<'u> {
    /// `attempts`: how many are tried in a row.
    pub(crate) fn new(upstream: &'u Arc<Upstream>, affinity: Affinity, attempts: usize) -> Self {
        Self { upstream, affinity, attempts, tried: Vec::new(), since: None, pause: FIRST_PAUSE, last: None }
    }

    /// An endpoint for the next try. Waits where there is none, or where as many as may be in a row refused.
    ///
    /// # Errors
    /// What the last endpoint said, or [`NetError::NoEndpoint`], where the time for waiting is over;
    /// [`NetError::Busy`] where too many wait.
    pub(crate) async fn next(&mut self) -> Result<Ticket, NetError> {
        if self.tried.len() < self.attempts
            && let Some(ticket) = self.upstream.pick_for(&self.tried, self.affinity)
        {
            return Ok(ticket);
        }
        // Boxed: few wait.
        Box::pin(self.wait()).await
    }

    /// The endpoint did not take the request, or lost it.
    pub(crate) fn failed(&mut self, id: EndpointId, cause: Cause) {
        self.since.get_or_insert_with(Instant::now);
        self.tried.push(id.clone());
        self.last = Some((id, cause));
    }

    /// Keeps its place among those who wait also where it is woken and another one has been faster.
    async fn wait(&mut self) -> Result<Ticket, NetError> {
        let upstream = self.upstream;
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = later(since, upstream.options().endpoint_wait);
        let _place = Place::take(upstream)?;
        loop {
            let arrived = upstream.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            // One that came before this moment is no news.
            let refused = !self.tried.is_empty();
            self.tried.clear();
            if !refused && let Some(ticket) = upstream.pick_for(&[], self.affinity) {
                return Ok(ticket);
            }
            let mut until = if refused { deadline.min(Instant::now() + self.pause) } else { deadline };
            // Nobody tells when that is.
            if let Some(back) = upstream.next_back() {
                until = until.min(back);
            }
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            let late = tokio::time::timeout_at(until, arrived).await.is_err();
            if late && until == deadline {
                return Err(self.given_up(since));
            }
        }
    }

    fn given_up(&mut self, since: Instant) -> NetError {
        let service = Arc::clone(self.upstream.name());
        match self.last.take() {
            Some((endpoint, source)) => NetError::Upstream { service, endpoint, source },
            None => match self.upstream.options().max_in_flight {
                Some(limit) if !self.upstream.members.is_empty() => {
                    NetError::Overloaded { service, limit, waited: since.elapsed() }
                }
                _ => NetError::NoEndpoint { service, waited: since.elapsed() },
            },
        }
    }
}

/// A place among the requests that wait for an endpoint.
struct Place<'u>(&'u Upstream);

impl<'u> Place<'u> {
    fn take(upstream: &'u Upstream) -> Result<Self, NetError> {
        // Before looking for a place, as whoever leaves looks for those who wait after leaving.
        let before = upstream.waiting.fetch_add(1, Ordering::SeqCst);
        upstream.meters.waiting.increment(1.0);
        let place = Self(upstream);
        if before >= upstream.options().max_waiting {
            return Err(NetError::Busy { service: Arc::clone(&upstream.name), waiting: before });
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.meters.waiting.decrement(1.0);
    }
}
