//! The new version beside the old one, then a switch at once.

use std::sync::Arc;
use std::time::Duration;

use super::rolling_update::{keep_traffic, paused};
use super::{
    Analysis, FailurePolicy, Phase, ReplicaSetView, Rollout, RolloutStep, RolloutView, Sizes, Verdict,
};
use crate::model::Timestamp;

/// How long the old version stays after the switch, to go back to at once. As long as Argo Rollouts keeps it.
const KEEP: Duration = Duration::from_secs(30);

/// Starts the new version at full size without traffic, and when all of it is available, has soaked and was
/// analysed, switches all traffic to it at once. The old version stays a while, to go back to.
///
/// It needs room for twice the pods, whatever `maxSurge` says. A version that fails is given up without ever having
/// had traffic; unless told otherwise the deployment is then set back to the last good revision.
#[derive(Clone, Debug)]
pub struct BlueGreen {
    failure: FailurePolicy,
    soak: Duration,
    keep: Duration,
    analysis: Option<Arc<dyn Analysis>>,
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self::new()
    }
}

impl BlueGreen {
    /// Switches as soon as all new pods are available, keeps the old ones for 30 s, undoes what failed.
    #[must_use]
    pub fn new() -> Self {
        Self { failure: FailurePolicy::new().undo(true), soak: Duration::ZERO, keep: KEEP, analysis: None }
    }

    /// How long all new pods must have been available before the switch.
    #[must_use]
    pub fn soak(mut self, soak: Duration) -> Self {
        self.soak = soak;
        self
    }

    /// How long the old version stays after the switch.
    #[must_use]
    pub fn keep_old(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// What must pass before the switch, and must not fail while the old version is kept.
    #[must_use]
    pub fn analysis(mut self, analysis: impl Analysis) -> Self {
        self.analysis = Some(Arc::new(analysis));
        self
    }

    /// Says when it fails and whether it is then undone.
    #[must_use]
    pub fn with_failure(mut self, failure: FailurePolicy) -> Self {
        self.failure = failure;
        self
    }

    /// Before the switch: the new version fills up and is tried out.
    fn try_out(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        let held = |step: RolloutStep| keep_traffic(view, step).hold_back(&view.new).sized(&beside(view));
        if view.new.size != view.replicas || view.new.settled() < view.replicas {
            return held(self.failure.judge(view, now)).remember("");
        }
        let full = Memory::read(view.memory).full.unwrap_or(now);
        let step = held(self.failure.judge_crashes(view))
            .remember(Memory { full: Some(full), switched: None }.write());
        if is_known_good(view) {
            return self.switch(view, now);
        }
        if now < full + self.soak {
            return step.wake_at(full + self.soak);
        }
        match self.analysis.as_ref().map_or(Verdict::Pass, |analysis| analysis.verdict(view, now)) {
            Verdict::Pass => self.switch(view, now),
            Verdict::Fail(why) => held(self.failure.failed(view, "AnalysisFailed", why)),
            pending => pending.ask_again(now).into_iter().fold(step, RolloutStep::wake_at),
        }
    }

    fn switch(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        let message = format!("traffic switches to ReplicaSet {}", view.new.name);
        let step = RolloutStep::new(Phase::Progressing, "TrafficSwitched", message).wake_at(now + self.keep);
        let memory = Memory { full: None, switched: Some(now) };
        view.old.iter().fold(step, RolloutStep::hold_back).remember(memory.write())
    }

    /// After the switch: the old version is kept for a while, then given up.
    fn wind_up(&self, view: &RolloutView<'_>, switched: Timestamp, now: Timestamp) -> RolloutStep {
        let until = if view.undone { switched } else { switched + self.keep };
        let mut sizes = Sizes::of(view).up_to(room(view));
        sizes.shrink_new(view.replicas);
        sizes.grow_new(view.replicas);
        let healthy = view.new.serving() >= view.floor() && !view.new.held_back;
        // Once more when the time is up: then what it could go back to goes.
        let kept = view.old.iter().any(|old| old.size > 0);
        let watched = self.analysis.as_ref().filter(|_| now < until || kept && !view.undone);
        let verdict = watched.map(|analysis| analysis.verdict(view, now));
        let again = verdict.as_ref().and_then(|verdict| verdict.ask_again(now)).filter(|_| now < until);
        let step = if let Some(Verdict::Fail(why)) = verdict {
            self.failure.failed(view, "AnalysisFailed", why)
        } else if !healthy {
            self.failure.judge(view, now)
        } else if now < until {
            self.failure.judge_crashes(view).wake_at(until)
        } else {
            sizes.shrink_old(0);
            self.failure.judge(view, now)
        };
        let step = again.into_iter().fold(step, RolloutStep::wake_at);
        view.old.iter().fold(step.sized(&sizes), RolloutStep::hold_back)
    }
}

impl Rollout for BlueGreen {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        if view.paused {
            return paused(view);
        }
        let serves = |set: &ReplicaSetView<'_>| set.occupied() > 0 && !set.held_back;
        match Memory::read(view.memory).switched {
            Some(switched) => self.wind_up(view, switched, now),
            None if view.old.iter().any(serves) => self.try_out(view, now),
            // Nobody else has the traffic.
            None => {
                let mut sizes = Sizes::of(view).up_to(room(view));
                sizes.shrink_new(view.replicas);
                sizes.grow_new(view.replicas);
                sizes.shrink_old(0);
                self.failure.judge(view, now).sized(&sizes)
            }
        }
    }
}

/// Whether the new version has proved itself before, and is only gone back to.
fn is_known_good(view: &RolloutView<'_>) -> bool {
    view.undone || view.new.completed
}

/// Room for the new version beside all others.
fn room(view: &RolloutView<'_>) -> u32 {
    let old = view.old.iter().fold(0u32, |sum, old| sum.saturating_add(old.occupied()));
    old.saturating_add(view.replicas).max(view.ceiling())
}

/// The new version at full size beside the old one at full size; versions that never got traffic go.
fn beside<'v>(view: &'v RolloutView<'v>) -> Sizes<'v> {
    let mut sizes = Sizes::of(view).up_to(room(view));
    sizes.shrink_new(view.replicas);
    sizes.grow_new(view.replicas);
    sizes.drop_held_back();
    sizes.grow_old(view.replicas);
    sizes.shrink_old(view.replicas);
    sizes
}

/// What is remembered between steps: since when all new pods are available, and when traffic was switched.
#[derive(Default)]
struct Memory {
    full: Option<Timestamp>,
    switched: Option<Timestamp>,
}

impl Memory {
    fn read(memory: &str) -> Self {
        let field = |name: &str| {
            let value = memory.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
            value.parse().ok().map(Timestamp::from_micros)
        };
        Self { full: field("full"), switched: field("switched") }
    }

    fn write(&self) -> String {
        let field = |name: &str, at: Option<Timestamp>| at.map(|at| format!("{name}={}", at.as_micros()));
        let fields = [field("full", self.full), field("switched", self.switched)];
        fields.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Verdict, analysis_fn};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(seconds)
    }

    fn view(memory: &str) -> RolloutView<'_> {
        let mut view = RolloutView::new("shop/web", ReplicaSetView::new("green", 2));
        view.replicas = 3;
        view.new.held_back = true;
        view.old.push(ReplicaSetView::new("blue", 1).running(3));
        view.old[0].completed = true;
        view.memory = memory;
        view
    }

    #[test]
    fn traffic_switches_at_once_when_all_is_up_and_has_soaked() {
        let rollout = BlueGreen::new().soak(Duration::from_secs(10)).keep_old(Duration::from_secs(5));
        let mut view = view("");
        let step = rollout.step(&view, at(0));
        assert_eq!((step.size_of(&view.new), step.size_of(&view.old[0])), (3, 3));
        assert!(step.held_back.contains("green") && !step.held_back.contains("blue"));

        view.new = ReplicaSetView { held_back: true, ..ReplicaSetView::new("green", 2).running(3) };
        let step = rollout.step(&view, at(1));
        assert!(step.held_back.contains("green"));
        assert_eq!(step.wake_at, Some(at(11)));

        let memory = step.memory.unwrap_or_default();
        view.memory = &memory;
        let step = rollout.step(&view, at(11));
        assert!(
            !step.held_back.contains("green") && step.held_back.contains("blue"),
            "both in one step: {step:?}"
        );
        assert_eq!(step.size_of(&view.old[0]), 3);

        let memory = step.memory.unwrap_or_default();
        view.memory = &memory;
        view.new.held_back = false;
        view.old[0].held_back = true;
        assert_eq!(rollout.step(&view, at(15)).size_of(&view.old[0]), 3, "kept to go back to");
        assert_eq!(rollout.step(&view, at(16)).size_of(&view.old[0]), 0);
    }

    #[test]
    fn a_version_that_fails_its_analysis_never_gets_traffic() {
        let bad = analysis_fn("smoke", |_, _| Verdict::Fail("500s".to_owned()));
        let mut view = view("");
        view.new = ReplicaSetView { held_back: true, ..ReplicaSetView::new("green", 2).running(3) };
        let step = BlueGreen::new().analysis(bad).step(&view, at(1));
        assert_eq!((step.phase, step.rollback_to, &*step.message), (Phase::Failed, Some(1), "500s"));
        assert!(step.held_back.contains("green"));
    }

    #[test]
    fn who_watches_is_asked_again_after_the_switch_and_once_when_the_time_is_up() {
        let wait = Duration::from_secs(3);
        let pending = BlueGreen::new().analysis(analysis_fn("errors", move |_, _| Verdict::Pending(wait)));
        let mut switched = view("switched=0");
        switched.new = ReplicaSetView::new("green", 2).running(3);
        assert_eq!(pending.step(&switched, at(1)).wake_at, Some(at(4)));
        let passing = BlueGreen::new().analysis(analysis_fn("errors", |_, _| Verdict::Pass));
        assert_eq!(passing.step(&switched, at(1)).wake_at, Some(at(11)));
        assert_eq!(passing.step(&switched, at(25)).wake_at, Some(at(30)), "the end of what is kept");
        let failing =
            BlueGreen::new().analysis(analysis_fn("errors", |_, _| Verdict::Fail("500s".to_owned())));
        let step = failing.step(&switched, at(31));
        assert_eq!((step.phase, step.size_of(&switched.old[0])), (Phase::Failed, 3));
        assert_eq!(passing.step(&switched, at(31)).size_of(&switched.old[0]), 0);
    }

    #[test]
    fn going_back_takes_no_soak_and_no_waiting() {
        let mut view = view("");
        view.new =
            ReplicaSetView { held_back: true, completed: true, ..ReplicaSetView::new("blue", 3).running(3) };
        let step = BlueGreen::new().soak(Duration::from_secs(600)).step(&view, at(1));
        assert_eq!(&*step.reason, "TrafficSwitched");
    }
}
