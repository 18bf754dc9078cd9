//! When a probe is due, and what a series of answers means. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::{ProbeKind, ProbeOutcome, RAMP_FIRST};
use crate::model::Probe;

/// One probe of one run of a container.
///
/// Kubernetes asks every period and counts. We ask more often until the first success: readiness and startup
/// probes without an initial delay begin at once, then after 20 ms, 40 ms, and so on up to the period. Such extra
/// questions only count where the answer is yes; thresholds count the regular ones, one a period. So a program
/// that is up after 30 ms serves after 60 ms and not after a period, and none is failed sooner than in Kubernetes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbeState {
    kind: ProbeKind,
    /// When to ask next.
    next: Instant,
    /// When the next answer counts for a threshold.
    regular: Instant,
    /// The wait after the next extra question; `None`: no more of them.
    ramp: Option<Duration>,
    successes: u32,
    failures: u32,
    verdict: Option<bool>,
}

impl ProbeState {
    /// The probe of a container that was started at `started`.
    pub(crate) fn new(kind: ProbeKind, probe: &Probe, started: Instant) -> Self {
        let first = started + Duration::from_secs(probe.initial_delay_seconds.into());
        let ramps = kind != ProbeKind::Liveness && probe.initial_delay_seconds == 0;
        // An extra question at the very start tells nothing that counts: the first regular one is a period later.
        let regular = if ramps { first + period(probe) } else { first };
        Self {
            kind,
            next: first,
            regular,
            ramp: ramps.then_some(RAMP_FIRST),
            successes: 0,
            failures: 0,
            verdict: None,
        }
    }

    /// A probe with an answer from before the agent was restarted, which holds until it is proven wrong.
    pub(crate) fn carried(kind: ProbeKind, verdict: bool, next: Instant) -> Self {
        let (ramp, verdict) = ((!verdict).then_some(RAMP_FIRST), Some(verdict));
        Self { kind, next, regular: next, ramp, successes: 0, failures: 0, verdict }
    }

    /// Whether it is time to ask.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// What the answers so far mean; `None`: nothing yet.
    pub(crate) fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Takes note of an answer. `period` is the probe's period with some jitter. Returns whether the answer was a
    /// regular one: a failure to tell of.
    pub(crate) fn record(
        &mut self,
        probe: &Probe,
        outcome: &ProbeOutcome,
        now: Instant,
        period: Duration,
    ) -> bool {
        let regular = now >= self.regular;
        match outcome {
            ProbeOutcome::Success => {
                self.ramp = None;
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= probe.success_threshold {
                    self.verdict = Some(true);
                }
            }
            ProbeOutcome::Failure(_) if regular => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= probe.failure_threshold {
                    self.verdict = Some(false);
                }
            }
            ProbeOutcome::Failure(_) | ProbeOutcome::Unknown(_) => {}
        }
        if regular || self.ramp.is_none() {
            self.regular = now + period;
        }
        self.next = match self.ramp {
            Some(wait) if wait < period => {
                self.ramp = Some(wait * 2);
                (now + wait).min(self.regular.max(now + RAMP_FIRST))
            }
            _ => self.regular,
        };
        regular
    }

    /// Whether the container must be stopped: a startup or liveness probe has failed.
    pub(crate) fn condemns(&self) -> bool {
        self.kind != ProbeKind::Readiness && self.verdict == Some(false)
    }
}

/// The time from one question to the next.
pub(crate) fn period(probe: &Probe) -> Duration {
    Duration::from_secs(probe.period_seconds.max(1).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail() -> ProbeOutcome {
        ProbeOutcome::Failure("no".into())
    }

    /// Asks whenever due until `until`, and returns the moments in milliseconds.
    fn run(state: &mut ProbeState, probe: &Probe, start: Instant, until: u64, ready_at: u64) -> Vec<u128> {
        let mut asked = Vec::new();
        while state.due() <= start + Duration::from_millis(until) {
            let now = state.due();
            let at = (now - start).as_millis();
            asked.push(at);
            let outcome = if at >= u128::from(ready_at) { ProbeOutcome::Success } else { fail() };
            state.record(probe, &outcome, now, period(probe));
            if state.verdict().is_some() {
                break;
            }
        }
        asked
    }

    #[test]
    fn readiness_ramps_up_to_the_period_until_it_succeeds() {
        let (probe, start) = (Probe::tcp(80).period(1), Instant::now());
        let mut state = ProbeState::new(ProbeKind::Readiness, &probe, start);
        assert_eq!(run(&mut state, &probe, start, 5000, 130), [0, 20, 60, 140]);
        assert_eq!(state.verdict(), Some(true));
        assert_eq!(state.due(), start + Duration::from_millis(1140), "then one a period");
    }

    #[test]
    fn extra_questions_do_not_count_against_the_container() {
        let (probe, start) = (Probe::tcp(80).period(1).failures(3), Instant::now());
        let mut state = ProbeState::new(ProbeKind::Startup, &probe, start);
        let asked = run(&mut state, &probe, start, 60_000, u64::MAX);
        let last = *asked.last().unwrap();
        assert!(last >= 3000, "three periods, not three questions: {asked:?}");
        assert!(state.condemns());
    }

    #[test]
    fn liveness_asks_regularly_and_a_success_forgives() {
        let (probe, start) = (Probe::tcp(80).period(2).initial_delay(5).failures(2), Instant::now());
        let mut state = ProbeState::new(ProbeKind::Liveness, &probe, start);
        assert_eq!(state.due(), start + Duration::from_secs(5));
        for (outcome, verdict) in
            [(fail(), None), (ProbeOutcome::Success, Some(true)), (fail(), Some(true)), (fail(), Some(false))]
        {
            let now = state.due();
            assert!(state.record(&probe, &outcome, now, period(&probe)));
            assert_eq!(state.verdict(), verdict);
            assert_eq!(state.due(), now + Duration::from_secs(2));
        }
        assert!(state.condemns());
    }

    #[test]
    fn a_success_threshold_counts_regular_answers() {
        let (probe, start) = (Probe::tcp(80).period(1).successes(3), Instant::now());
        let mut state = ProbeState::new(ProbeKind::Readiness, &probe, start);
        assert_eq!(run(&mut state, &probe, start, 10_000, 0), [0, 1000, 2000]);
        assert_eq!(state.verdict(), Some(true));
    }

    #[test]
    fn what_cannot_be_asked_counts_neither_way() {
        let (probe, start) = (Probe::grpc(80).failures(1), Instant::now());
        let mut state = ProbeState::new(ProbeKind::Liveness, &probe, start);
        for _ in 0..5 {
            let now = state.due();
            state.record(&probe, &ProbeOutcome::Unknown(String::new()), now, period(&probe));
        }
        assert_eq!(state.verdict(), None);
    }

    #[test]
    fn a_carried_verdict_needs_as_many_failures_as_any() {
        let (probe, start) = (Probe::tcp(80).period(1).failures(3), Instant::now());
        let mut state = ProbeState::carried(ProbeKind::Readiness, true, start);
        for verdict in [Some(true), Some(true), Some(false)] {
            let now = state.due();
            state.record(&probe, &fail(), now, period(&probe));
            assert_eq!(state.verdict(), verdict);
        }
    }
}
