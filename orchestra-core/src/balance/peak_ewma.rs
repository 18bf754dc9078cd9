//! The endpoint that will answer soonest, as far as latency tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::endpoint::{Feedback, Lease, Outcome, Slot, SlotLoad, nanos};
use super::members::{Dice, Members};
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// How [`PeakEwma`] judges endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeakEwmaOptions {
    /// How fast old latencies are forgotten: after this time they count 1/e.
    pub decay: Duration,
    /// The latency a failure counts as. An endpoint that fails fast must not look fast.
    pub failure_penalty: Duration,
    /// What a new endpoint is taken to need, before it was asked.
    pub initial: Duration,
    /// Of so many picks one goes to any endpoint that owes no answer, whatever is known of it, so that one that has
    /// recovered is found again. 64: 1.6 percent.
    pub probe_every: u64,
    /// An endpoint that owes no answer and was not asked for so long is asked, whatever is known of it, so that one that has
    /// recovered is found again also where few requests come. One in 16 picks at most.
    pub probe_after: Duration,
    /// Seeds the choices.
    pub seed: u64,
}

impl Default for PeakEwmaOptions {
    fn default() -> Self {
        Self {
            // One that was slow has its share again after some five seconds. Below that, one that stalls again and again is asked
            // too often, and equal endpoints look unequal by chance.
            decay: Duration::from_secs(3),
            failure_penalty: Duration::from_secs(1),
            initial: Duration::from_millis(1),
            probe_every: 64,
            // So that it is found within a second where 32 requests come in one.
            probe_after: Duration::from_millis(500),
            seed: 0,
        }
    }
}

impl PeakEwmaOptions {
    /// Sets [`decay`](Self::decay).
    #[must_use]
    pub fn with_decay(self, decay: Duration) -> Self {
        Self { decay, ..self }
    }

    /// Sets [`failure_penalty`](Self::failure_penalty).
    #[must_use]
    pub fn with_failure_penalty(self, failure_penalty: Duration) -> Self {
        Self { failure_penalty, ..self }
    }

    /// Sets [`initial`](Self::initial).
    #[must_use]
    pub fn with_initial(self, initial: Duration) -> Self {
        Self { initial, ..self }
    }

    /// Sets [`probe_after`](Self::probe_after).
    #[must_use]
    pub fn with_probe_after(self, probe_after: Duration) -> Self {
        Self { probe_after, ..self }
    }

    /// Sets [`probe_every`](Self::probe_every); 0 turns probing off, also that of the overdue.
    #[must_use]
    pub fn with_probe_every(self, probe_every: u64) -> Self {
        Self { probe_every, ..self }
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// One in so many picks may go to an endpoint that is overdue for one. As many are looked at then: one for each pick.
const OVERDUE_EVERY: usize = 16;

/// Picks the better of two random endpoints, by expected latency times requests in flight.
///
/// The latency is a peak-sensitive moving average, as Finagle's and Linkerd's: it jumps up to a slow answer at
/// once, and comes down slowly. Three things are added: a failure costs a penalty instead of its short latency; a
/// small share of picks is random or goes to those that were not asked for long; and one that owes answers and has begun none for
/// long is taken to be as slow as that: it is left alone before the first slow answer has come.
#[derive(Debug)]
pub struct PeakEwma {
    pub(super) members: Members,
    dice: Dice,
    picks: AtomicUsize,
    options: PeakEwmaOptions,
    feedback: Arc<dyn Feedback>,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new(PeakEwmaOptions::default())
    }
}

impl PeakEwma {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new(options: PeakEwmaOptions) -> Self {
        let feedback = Arc::new(Peak { decay: options.decay, penalty: options.failure_penalty });
        let dice = Dice::new(options.seed);
        Self { members: Members::default(), dice, picks: AtomicUsize::new(0), options, feedback }
    }

    #[allow(clippy::cast_precision_loss, reason = "nanoseconds and counts that matter are far below 2^52")]
    fn load(&self, slot: &Slot, now: Duration) -> f64 {
        let known = f64::from_bits(slot.load.cost.load(Ordering::Relaxed));
        let initial = self.options.initial.as_nanos() as f64;
        let cost = if known > 0.0 {
            (known * left(slot.load.updated.load(Ordering::Relaxed), now, self.options.decay)).max(1.0)
        } else {
            initial
        };
        let cost = slot.load.silence(now).map_or(cost, |silence| cost.max(silence as f64));
        cost * (slot.load.in_flight.load(Ordering::Relaxed) as f64 + 1.0) / f64::from(slot.endpoint.weight)
    }

    /// Two different members that the request allows, or as many as there are.
    fn two<'s>(
        &self,
        slots: &'s [Arc<Slot>],
        request: &RequestKey<'_>,
    ) -> Option<(&'s Slot, Option<&'s Slot>)> {
        if request.allows_all() {
            let (first, second) = self.draw(slots.len())?;
            return Some((&slots[first], second.map(|second| &*slots[second])));
        }
        let allowed: Vec<&Slot> =
            slots.iter().map(|slot| &**slot).filter(|slot| request.allows(&slot.endpoint.id)).collect();
        let (first, second) = self.draw(allowed.len())?;
        Some((allowed[first], second.map(|second| allowed[second])))
    }

    /// The one that was not asked for longest, where that is too long and it owes no answer, among some of those that the request
    /// allows. `turn` says among which.
    fn overdue<'s>(&self, slots: &'s [Arc<Slot>], request: &RequestKey<'_>, turn: usize) -> Option<&'s Slot> {
        let since = nanos(request.now.saturating_sub(self.options.probe_after));
        let few = slots.len().min(OVERDUE_EVERY);
        let overdue = (0..few).filter_map(|n| {
            let slot = &*slots[(turn * few + n) % slots.len()];
            let heard = slot.load.heard.load(Ordering::Relaxed);
            let owes = slot.load.waiting.load(Ordering::Relaxed) > 0;
            (heard < since && !owes && request.allows(&slot.endpoint.id)).then_some((heard, slot))
        });
        overdue.min_by_key(|(heard, _)| *heard).map(|(_, slot)| slot)
    }

    /// Two different numbers below `count`, or as many as there are.
    fn draw(&self, count: usize) -> Option<(usize, Option<usize>)> {
        match count {
            0 => None,
            1 => Some((0, None)),
            _ => {
                let first = self.dice.below(count);
                Some((first, Some((first + 1 + self.dice.below(count - 1)) % count)))
            }
        }
    }
}

impl LoadBalancer for PeakEwma {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let slots = self.members.load();
        let (one, other) = self.two(&slots, request)?;
        let probes = self.options.probe_every > 0;
        let probe = probes
            && self.dice.roll().is_multiple_of(self.options.probe_every)
            && one.load.silence(request.now).is_none();
        let best = match other {
            Some(other) if !probe && self.load(other, request.now) < self.load(one, request.now) => other,
            _ => one,
        };
        let picks = self.picks.fetch_add(1, Ordering::Relaxed);
        let best = match probes && picks.is_multiple_of(OVERDUE_EVERY) {
            true => self.overdue(&slots, request, picks / OVERDUE_EVERY).unwrap_or(best),
            false => best,
        };
        Some(Lease::new(best, request.now, Some(Arc::clone(&self.feedback))))
    }

    fn insert(&self, endpoint: Endpoint) {
        self.members.insert(endpoint);
    }

    fn remove(&self, id: &EndpointId) {
        self.members.remove(id);
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.members.endpoints()
    }
}

#[derive(Debug)]
struct Peak {
    decay: Duration,
    penalty: Duration,
}

/// What is left of a cost that was `updated` then.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds that matter are far below 2^52")]
fn left(updated: u64, now: Duration, decay: Duration) -> f64 {
    let age = nanos(now).saturating_sub(updated) as f64;
    (-age / nanos(decay).max(1) as f64).exp()
}

impl Feedback for Peak {
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds that matter are far below 2^52")]
    fn ended(&self, load: &SlotLoad, started: Duration, now: Duration, outcome: Outcome) {
        let took = now.saturating_sub(started);
        let sample = match outcome {
            Outcome::Success => took,
            Outcome::Failure => took.max(self.penalty),
        };
        let sample = nanos(sample) as f64;
        let (known, updated) =
            (f64::from_bits(load.cost.load(Ordering::Relaxed)), load.updated.load(Ordering::Relaxed));
        let left = left(updated, now, self.decay);
        let old = known * left;
        // Up at once, down with time. Two that end together may lose one sample: the next one makes up for it.
        let cost = if sample > old || known <= 0.0 { sample } else { old + (sample - old) * (1.0 - left) };
        load.cost.store(cost.max(1.0).to_bits(), Ordering::Relaxed);
        load.updated.store(nanos(now), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `n` requests a millisecond apart; endpoint `bad` answers as `ended` says, the others in 1 ms.
    fn share_of_bad(ended: impl Fn(u64) -> (Duration, Outcome), n: u64) -> u64 {
        let balancer = PeakEwma::default();
        for name in ["bad", "good-1", "good-2", "good-3"] {
            balancer.insert(Endpoint::new(name, ([127, 0, 0, 1], 80)));
        }
        let mut bad = 0;
        for i in 0..n {
            let now = Duration::from_millis(i);
            let lease = balancer.pick(&RequestKey::at(now)).unwrap();
            if lease.id().pod.as_str() == "bad" {
                bad += 1;
                let (took, outcome) = ended(i);
                lease.complete(outcome, now + took);
            } else {
                lease.complete(Outcome::Success, now + Duration::from_millis(1));
            }
        }
        bad
    }

    #[test]
    fn an_endpoint_that_fails_fast_does_not_attract_traffic() {
        let bad = share_of_bad(|_| (Duration::from_micros(10), Outcome::Failure), 4000);
        assert!(bad < 4000 / 50, "{bad} of 4000 went to the one that fails");
        assert!(bad > 0, "it is still tried now and then");
    }

    #[test]
    fn one_that_falls_silent_is_left_alone_before_it_answers_and_a_long_answer_is_no_silence() {
        let balancer = PeakEwma::new(PeakEwmaOptions::default().with_probe_every(1));
        let (bad, good) =
            (Endpoint::new("bad", ([127, 0, 0, 1], 80)), Endpoint::new("good", ([127, 0, 0, 1], 80)));
        balancer.insert(bad.clone());
        let request = |now| RequestKey::at(Duration::from_millis(now));
        let mut silent = balancer.pick(&request(0)).unwrap();
        balancer.insert(good);
        let share = |from: u64| {
            let picks = (from..from + 100).map(|now| balancer.pick(&request(now)).unwrap());
            picks.filter(|lease| *lease.id() == bad.id).count()
        };
        assert_eq!(share(10), 0, "not even to find out how it is");
        silent.answered(Duration::from_millis(110));
        assert!(share(111) > 20, "it answers, even if that takes long");
    }

    #[test]
    fn one_that_was_not_asked_for_long_is_found_by_few_requests_and_gets_few_of_them() {
        let balancer = PeakEwma::default();
        for n in 1..=20 {
            balancer.insert(Endpoint::new(format!("pod-{n}"), ([127, 0, 0, n], 80)));
        }
        // One request every 20 ms; the first pod takes 300 ms until the time `recovers`.
        let (mut asked, recovers) = (Vec::new(), 30_000);
        for now in (0..60_000).step_by(20) {
            let lease = balancer.pick(&RequestKey::at(Duration::from_millis(now))).unwrap();
            let bad = lease.id().pod.as_str() == "pod-1";
            let took = Duration::from_millis(if bad && now < recovers { 300 } else { 1 });
            if bad {
                asked.push(now);
            }
            lease.complete(Outcome::Success, Duration::from_millis(now) + took);
        }
        let found = asked.iter().find(|at| **at >= recovers).unwrap() - recovers;
        assert!(found < 1500, "after {found} ms");
        assert!(asked.len() < 3000 / 10, "{} of 3000", asked.len());
    }

    #[test]
    fn a_slow_endpoint_gets_little_and_is_found_again_when_it_recovers() {
        let slow = |i: u64| (Duration::from_millis(if i < 4000 { 100 } else { 1 }), Outcome::Success);
        let before = share_of_bad(slow, 4000);
        assert!(before < 4000 / 20, "{before} of 4000 went to the slow one");
        let after = share_of_bad(slow, 60_000) - before;
        assert!(after > 56_000 / 10, "{after} of 56000 after it recovered");
    }
}
