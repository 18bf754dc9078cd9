//! Hedging: a request that takes long is sent to a second endpoint, too, and the first answer counts.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Request, Response, Version};
use orchestra_core::balance::EndpointId;
use tower::retry::budget::Budget;

use super::{forward, hop};
use crate::body::ProxyBody;
use crate::error::NetError;
use crate::upstream::{Affinity, Session, Ticket, Upstream};

/// How far one request moves a delay that is learnt, as a share of it: a hundred slow ones in a row move it by two orders of magnitude,
/// and at rest it lies within some percent of its percentile.
const STEP: f64 = 0.05;

/// What a delay that is learnt stays within, in seconds: what tokio's timers tell apart, and what people wait for.
const LEAST: f64 = 0.001;
const MOST: f64 = 10.0;

/// When a request is sent a second time, to another endpoint, because the first one is slow.
///
/// Of both, the first answer that is no server error counts; the other attempt is cancelled, and its place at its endpoint is free at
/// once. Only safe requests (GET, HEAD, OPTIONS, TRACE) are hedged, whose body is empty or small; none that belongs to a
/// session with one endpoint. There are two attempts at a time at most, and the second one counts as a retry in the budget of
/// [`UpstreamOptions::retry_share`](crate::UpstreamOptions::retry_share): where many are slow, few are hedged.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::time::Duration;
///
/// use orchestra_net::{Hedge, Route, Routes, ServiceClient, Upstream};
///
/// let catalogue = Upstream::named("catalogue");
/// // About one request of twenty is hedged.
/// let route = Route::to(catalogue.clone()).hedge(Hedge::percentile(95.0, Duration::from_millis(20)));
/// let client = ServiceClient::new(catalogue).hedge(Hedge::after(Duration::from_millis(50)));
/// # let _ = (Routes::new().with(route), client);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Hedge(Delay);

#[derive(Clone, Debug)]
enum Delay {
    Fixed(Duration),
    /// In seconds, as the bits of an `f64`.
    Learnt {
        share: f64,
        seconds: Arc<AtomicU64>,
    },
}

impl Hedge {
    /// After this time without an answer.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self(Delay::Fixed(delay))
    }

    /// After the time within which so many percent (1.0 to 99.9) of the requests are answered. It begins with `first` and is learnt
    /// from what is seen, within 1 ms and 10 s. Clones learn together.
    #[must_use]
    pub fn percentile(percent: f64, first: Duration) -> Self {
        let seconds = first.as_secs_f64().clamp(LEAST, MOST);
        let seconds = Arc::new(AtomicU64::new(seconds.to_bits()));
        Self(Delay::Learnt { share: percent.clamp(1.0, 99.9) / 100.0, seconds })
    }

    /// How long the first attempt is waited for alone, now.
    #[must_use]
    pub fn delay(&self) -> Duration {
        match &self.0 {
            Delay::Fixed(delay) => *delay,
            Delay::Learnt { seconds, .. } => {
                Duration::from_secs_f64(f64::from_bits(seconds.load(Ordering::Relaxed)))
            }
        }
    }

    /// Whether a request was answered within the delay: it moves down a little for each that was, and up by as much more as those
    /// are to be fewer. That needs to know of no request how long it would have taken.
    fn learn(&self, in_time: bool) {
        let Delay::Learnt { share, seconds } = &self.0 else { return };
        let by = STEP * if in_time { share - 1.0 } else { *share };
        let now = f64::from_bits(seconds.load(Ordering::Relaxed));
        // Of two at a time one may be lost, which the next ones make up for.
        seconds.store((now * by.exp()).clamp(LEAST, MOST).to_bits(), Ordering::Relaxed);
    }

    /// As [`forward::forward`], with a second attempt.
    pub(super) async fn forward(
        &self,
        upstream: &Arc<Upstream>,
        request: &mut Request<ProxyBody>,
        affinity: Affinity,
    ) -> Result<Response<ProxyBody>, NetError> {
        hop::strip(request.headers_mut());
        *request.version_mut() = Version::HTTP_11;
        let in_session = matches!(affinity.session, Some(Session::Of(_)));
        let copy = (request.method().is_safe() && !in_session).then(|| forward::copy(request)).flatten();
        let Some(mut copy) = copy else { return forward::forward(upstream, request, affinity, None).await };
        let watched = Watched { after: self.delay(), at: Mutex::default() };
        let mut first = pin!(forward::forward(upstream, request, affinity, Some(&watched)));
        if let Ok(answer) = tokio::time::timeout(watched.after, first.as_mut()).await {
            if answer.is_ok() {
                self.learn(true);
            }
            return answer;
        }
        self.learn(false);
        let Some(ticket) = watched.other(upstream, affinity).filter(|_| upstream.budget().withdraw()) else {
            return first.await;
        };
        upstream.meters.hedged.increment(1);
        let second = pin!(forward::once(upstream, ticket, &mut copy, affinity));
        let (one, other) = match select(first, second).await {
            Either::Left((one, second)) => (one, Either::Right(second)),
            Either::Right((one, first)) => (one, Either::Left(first)),
        };
        if is_good(&one) {
            return one;
        }
        let other = other.await;
        if one.is_ok() && !is_good(&other) { one } else { other }
    }
}

fn is_good(answer: &Result<Response<ProxyBody>, NetError>) -> bool {
    answer.as_ref().is_ok_and(|response| !response.status().is_server_error())
}

/// Where the first attempt is.
pub(super) struct Watched {
    pub(super) after: Duration,
    at: Mutex<Option<EndpointId>>,
}

impl Watched {
    /// It tries this endpoint.
    pub(super) fn enters(&self, ticket: &Ticket) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticket.id().clone());
    }

    /// Another endpoint, where there is one, and where the first attempt does not wait for any.
    fn other(&self, upstream: &Arc<Upstream>, affinity: Affinity) -> Option<Ticket> {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        upstream.pick_for(&[at], affinity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_learnt_from_both_sides() {
        for first in [1, 500] {
            let hedge = Hedge::percentile(95.0, Duration::from_millis(first));
            for i in 0..20_000 {
                // Each of 1 to 100 ms, evenly mixed.
                let took = Duration::from_millis(1 + (i * 37) % 100);
                hedge.learn(took <= hedge.delay());
            }
            let delay = hedge.delay().as_millis();
            assert!((90..=99).contains(&delay), "{delay} ms from {first}");
        }
        let fixed = Hedge::after(Duration::from_millis(7));
        fixed.learn(false);
        assert_eq!(fixed.delay(), Duration::from_millis(7));
    }

    #[test]
    fn what_is_learnt_stays_within_bounds() {
        let hedge = Hedge::percentile(50.0, Duration::ZERO);
        hedge.learn(true);
        assert_eq!(hedge.delay(), Duration::from_millis(1));
        (0..1000).for_each(|_| hedge.learn(false));
        assert_eq!(hedge.delay(), Duration::from_secs(10));
    }
}
