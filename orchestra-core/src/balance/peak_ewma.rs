//! The endpoint that will answer soonest, as far as latency tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
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

    /// Sets [`probe_every`](Self::probe_every); 0 turns probing off.
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

/// Picks the better of two random endpoints, by expected latency times requests in flight.
///
/// The latency is a peak-sensitive moving average, as Finagle's and Linkerd's: it jumps up to a slow answer at
/// once, and comes down slowly. Three things are added: a failure costs a penalty instead of its short latency, a
/// small share of picks is random, and one that owes answers and has begun none for long is taken to be as slow as that:
/// it is left alone before the first slow answer has come.
#[derive(Debug)]
pub struct PeakEwma {
    pub(super) members: Members,
    dice: Dice,
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
        Self { members: Members::default(), dice: Dice::new(options.seed), options, feedback }
    }

    #[allow(clippy::cast_precision_loss, reason = "nanoseconds and counts that matter are far below 2^52")]
    fn load(&self, slot: &Slot, now: Duration) -> f64 {
        let known = f64::from_bits(slot.load.cost.load(Ordering::Relaxed));
        let initial = self.options.initial.as_nanos() as f64;
        let cost = if known > 0.0 {
            decayed(known, slot.load.updated.load(Ordering::Relaxed), now, self.options.decay).max(1.0)
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
        let probe = self.options.probe_every > 0
            && self.dice.roll().is_multiple_of(self.options.probe_every)
            && one.load.silence(request.now).is_none();
        let best = match other {
            Some(other) if !probe && self.load(other, request.now) < self.load(one, request.now) => other,
            _ => one,
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

#[allow(clippy::cast_precision_loss, reason = "nanoseconds that matter are far below 2^52")]
fn decayed(cost: f64, updated: u64, now: Duration, decay: Duration) -> f64 {
    let age = nanos(now).saturating_sub(updated) as f64;
    cost * (-age / nanos(decay).max(1) as f64).exp()
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
        let old = decayed(known, updated, now, self.decay);
        // Up at once, down with time. Two that end together may lose one sample: the next one makes up for it.
        let weight = 1.0 - decayed(1.0, updated, now, self.decay);
        let cost = if sample > old || known <= 0.0 { sample } else { old + (sample - old) * weight };
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
    fn a_slow_endpoint_gets_little_and_is_found_again_when_it_recovers() {
        let slow = |i: u64| (Duration::from_millis(if i < 4000 { 100 } else { 1 }), Outcome::Success);
        let before = share_of_bad(slow, 4000);
        assert!(before < 4000 / 20, "{before} of 4000 went to the slow one");
        let after = share_of_bad(slow, 60_000) - before;
        assert!(after > 56_000 / 10, "{after} of 56000 after it recovered");
    }
}
