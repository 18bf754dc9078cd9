//! New endpoints get their share little by little.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::endpoint::Lease;
use super::members::Dice;
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// The least share of a new endpoint: a tenth of its full one, as Envoy has it. It must get something to warm up by.
const LEAST: f64 = 0.1;

/// When an endpoint was first seen, before it was.
const NOT_YET: u64 = u64::MAX;

/// Gives endpoints that come later than others their share little by little: in `window` it grows from a tenth to all of it.
///
/// Another balancer picks; where it picks a new endpoint, that pick is given up with the probability that is still missing to
/// the endpoint's full share, and one that has been there for longer is picked. Endpoints that came together, as all do at the
/// begin, share evenly. A request's key, where the balancer has a use for it, leads to a new endpoint more and more often.
#[derive(Debug)]
pub struct SlowStart {
    inner: Box<dyn LoadBalancer>,
    window: Duration,
    /// Nearly always empty.
    warming: ArcSwap<Vec<Arc<Warming>>>,
    known: Mutex<BTreeSet<EndpointId>>,
    dice: Dice,
}

#[derive(Debug)]
struct Warming {
    id: EndpointId,
    /// In nanoseconds of the caller's time: the first pick after it came.
    since: AtomicU64,
}

impl Warming {
    /// Its share at `now`, from 0 to 1.
    fn share(&self, now: Duration, window: Duration) -> f64 {
        let now = u64::try_from(now.as_nanos()).unwrap_or(NOT_YET - 1);
        let first = self.since.compare_exchange(NOT_YET, now, Ordering::Relaxed, Ordering::Relaxed);
        let since = first.map_or_else(|since| since, |_not_yet| now);
        let age = Duration::from_nanos(now.saturating_sub(since));
        if age >= window { 1.0 } else { (age.as_secs_f64() / window.as_secs_f64()).max(LEAST) }
    }
}

impl SlowStart {
    /// `inner` picks, and new endpoints warm up for `window`; zero: not at all.
    #[must_use]
    pub fn new(inner: Box<dyn LoadBalancer>, window: Duration, seed: u64) -> Self {
        let known = inner.endpoints().into_iter().map(|endpoint| endpoint.id).collect();
        Self { inner, window, warming: ArcSwap::default(), known: Mutex::new(known), dice: Dice::new(seed) }
    }

    fn warm(&self, keep: impl Fn(&Warming) -> bool) {
        let mut warming = (**self.warming.load()).clone();
        warming.retain(|one| keep(one));
        self.warming.store(Arc::new(warming));
    }

    #[allow(clippy::cast_precision_loss, reason = "a million is far below 2^52")]
    fn chance(&self, share: f64) -> bool {
        (self.dice.below(1_000_000) as f64) < share * 1e6
    }

    /// Another endpoint in place of this one, which is new, where chance has it.
    fn instead(&self, of: &EndpointId, request: &RequestKey<'_>, warming: &[Arc<Warming>]) -> Option<Lease> {
        let share = |one: &Warming| one.share(request.now, self.window);
        // All of them, so that each one's time begins with the first pick after it came.
        let shares: Vec<(&EndpointId, f64)> = warming.iter().map(|one| (&one.id, share(one))).collect();
        if shares.iter().any(|(_, share)| *share >= 1.0) {
            let _one_at_a_time = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            self.warm(|one| share(one) < 1.0);
        }
        let (_, share) = *shares.iter().find(|(id, _)| *id == of)?;
        if self.chance(share) {
            return None;
        }
        let no_older = shares.iter().filter(|(_, other)| *other <= share).map(|(id, _)| (*id).clone());
        let exclude: Vec<EndpointId> = request.exclude.iter().cloned().chain(no_older).collect();
        self.inner.pick(&RequestKey { exclude: &exclude, ..*request })
    }
}

impl LoadBalancer for SlowStart {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let lease = self.inner.pick(request)?;
        let warming = self.warming.load();
        // Who has begun a session with it goes on with it.
        if warming.is_empty() || request.only.is_some() {
            return Some(lease);
        }
        Some(self.instead(lease.id(), request, &warming).unwrap_or(lease))
    }

    fn insert(&self, endpoint: Endpoint) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(endpoint.id.clone()) && !self.window.is_zero() {
            let mut warming = (**self.warming.load()).clone();
            warming.push(Arc::new(Warming { id: endpoint.id.clone(), since: AtomicU64::new(NOT_YET) }));
            self.warming.store(Arc::new(warming));
        }
        self.inner.insert(endpoint);
    }

    fn remove(&self, id: &EndpointId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.remove(id) {
            self.warm(|one| one.id != *id);
        }
        self.inner.remove(id);
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.inner.endpoints()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RoundRobin;
    use super::*;

    fn endpoint(i: u8) -> Endpoint {
        Endpoint::new(format!("pod-{i}"), ([127, 0, 0, i], 80))
    }

    /// How many of a thousand requests at this time go to this endpoint.
    fn share(balancer: &SlowStart, at: u64, of: u8) -> usize {
        let request = RequestKey::at(Duration::from_secs(at));
        let picked = (0..1000).map(|_| balancer.pick(&request).unwrap());
        picked.filter(|lease| *lease.id() == endpoint(of).id).count()
    }

    #[test]
    fn a_new_endpoint_gets_its_share_little_by_little() {
        let balancer = SlowStart::new(Box::<RoundRobin>::default(), Duration::from_secs(100), 1);
        (1..=3).for_each(|i| balancer.insert(endpoint(i)));
        assert!((320..350).contains(&share(&balancer, 0, 1)), "those that came together share evenly");
        assert!((320..350).contains(&share(&balancer, 200, 1)));
        assert!(balancer.warming.load().is_empty());
        balancer.insert(endpoint(4));
        // A fourth is its full share.
        for (at, fair) in [(1000, 25), (1030, 75), (1060, 150), (1099, 247), (1100, 250)] {
            let share = share(&balancer, at, 4);
            assert!(share.abs_diff(fair) <= 30, "{share} of 1000 at {at}, {fair} is fair");
        }
        assert!(balancer.warming.load().is_empty());
    }

    #[test]
    fn a_change_of_weight_is_no_begin_and_a_return_is_one() {
        let balancer = SlowStart::new(Box::<RoundRobin>::default(), Duration::from_secs(100), 1);
        (1..=2).for_each(|i| balancer.insert(endpoint(i)));
        share(&balancer, 0, 1);
        share(&balancer, 100, 1);
        balancer.insert(endpoint(1).weight(3));
        assert!((730..770).contains(&share(&balancer, 100, 1)));
        balancer.remove(&endpoint(1).id);
        assert_eq!(share(&balancer, 100, 2), 1000);
        balancer.insert(endpoint(1));
        assert!(share(&balancer, 100, 1) < 100);
        let only = endpoint(1).id;
        let request = RequestKey::at(Duration::from_secs(100)).only(&only);
        assert!((0..100).all(|_| *balancer.pick(&request).unwrap().id() == only), "a session goes on");
        let alone = SlowStart::new(Box::<RoundRobin>::default(), Duration::from_secs(100), 1);
        alone.insert(endpoint(1));
        assert_eq!(share(&alone, 0, 1), 1000);
    }
}
