//! A share of the pods first.

use std::sync::Arc;
use std::time::Duration;

use super::rolling_update::{keep_traffic, paused, roll};
use super::{Analysis, FailurePolicy, Phase, Rollout, RolloutStep, RolloutView, Verdict};
use crate::model::{IntOrPercent, Timestamp};

/// The annotation that lets a canary go on: `"<revision>"` takes that revision through all its steps,
/// `"<revision>:<n>"` past its first `n` steps. Naming the revision keeps it from meaning the next one.
pub const PROMOTE: &str = "orchestra.dev/promote";

/// One step of a [`Canary`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CanaryStep {
    /// This share of the pods, in percent, is of the new version; passed when they are available and settled.
    Weight(u32),
    /// Waits this long.
    Pause(Duration),
    /// Waits until a person goes on, with [`PROMOTE`].
    Hold,
    /// Waits until the analysis passes; fails the rollout if it fails.
    Analysis(Arc<dyn Analysis>),
}

/// Gives the new version a growing share of the pods, and with them of the traffic, step by step.
///
/// After the last step it goes on to all pods. Within the steps it moves as a
/// [`RollingUpdate`](super::RollingUpdate) does, in the same budget. A share is rounded up to whole pods on both
/// sides where `maxSurge` leaves room for one pod more. Going back to a version that was once complete takes no
/// steps. Unless told otherwise, a canary that fails is undone.
#[derive(Clone, Debug)]
pub struct Canary {
    failure: FailurePolicy,
    steps: Vec<CanaryStep>,
    watch: Option<Arc<dyn Analysis>>,
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

impl Canary {
    /// Without steps: a rolling update that is undone if it fails.
    #[must_use]
    pub fn new() -> Self {
        Self { failure: FailurePolicy::new().undo(true), steps: Vec::new(), watch: None }
    }

    /// Then this share of the pods, in percent (0 to 100), is of the new version.
    #[must_use]
    pub fn weight(self, percent: u32) -> Self {
        self.then(CanaryStep::Weight(percent.min(100)))
    }

    /// Then it waits.
    #[must_use]
    pub fn pause(self, wait: Duration) -> Self {
        self.then(CanaryStep::Pause(wait))
    }

    /// Then it waits until a person goes on.
    #[must_use]
    pub fn hold(self) -> Self {
        self.then(CanaryStep::Hold)
    }

    /// Then it waits until `analysis` passes.
    #[must_use]
    pub fn analysis(self, analysis: impl Analysis) -> Self {
        self.then(CanaryStep::Analysis(Arc::new(analysis)))
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, step: CanaryStep) -> Self {
        self.steps.push(step);
        self
    }

    /// Asks `analysis` from the first new pod on, at each step and every ten seconds: if it fails, so does the rollout.
    #[must_use]
    pub fn watched_by(mut self, analysis: impl Analysis) -> Self {
        self.watch = Some(Arc::new(analysis));
        self
    }

    /// Says when it fails and whether it is then undone.
    #[must_use]
    pub fn with_failure(mut self, failure: FailurePolicy) -> Self {
        self.failure = failure;
        self
    }

    /// How many steps a person has let the rollout pass.
    fn promoted(&self, view: &RolloutView<'_>) -> usize {
        let Some(value) = view.annotation(PROMOTE) else { return 0 };
        let (revision, steps) = value.split_once(':').map_or((value, None), |(r, n)| (r, Some(n)));
        if revision.parse() != Ok(view.new.revision) {
            return 0;
        }
        steps.map_or(usize::MAX, |n| n.parse().unwrap_or(0))
    }

    /// The share of the last weight up to the step `at`, in pods: of the new version, and of old ones.
    fn target(&self, view: &RolloutView<'_>, at: usize) -> (u32, u32) {
        let passed = self.steps.iter().take(at.saturating_add(1)).rev();
        let weight =
            passed.filter_map(|s| if let CanaryStep::Weight(w) = s { Some(*w) } else { None }).next();
        let weight = if at < self.steps.len() { weight.unwrap_or(0).min(100) } else { 100 };
        let new = IntOrPercent::Percent(weight).round_up(view.replicas);
        let rest = IntOrPercent::Percent(100 - weight).round_up(view.replicas);
        let fits = new.saturating_add(rest) <= view.ceiling();
        (new, if fits { rest } else { view.replicas - new })
    }

    /// The status while waiting at a step: no deadline runs.
    fn waiting(&self, view: &RolloutView<'_>, at: usize, what: &str) -> RolloutStep {
        let mut step = self.failure.judge_crashes(view);
        if step.phase == Phase::Progressing {
            step.reason = "CanaryWaiting".into();
            step.message = format!("step {} of {}: {what}", at + 1, self.steps.len());
        }
        step
    }

    /// What the step `at`, reached at `since`, has to say: `None` when it is passed.
    fn at(&self, view: &RolloutView<'_>, at: usize, since: Timestamp, now: Timestamp) -> Option<RolloutStep> {
        if matches!(self.steps.get(at), Some(s) if !matches!(s, CanaryStep::Weight(_)) && at < self.promoted(view))
        {
            return None;
        }
        let (target, rest) = self.target(view, at);
        match self.steps.get(at)? {
            CanaryStep::Weight(_) => {
                let old = view.old.iter().fold(0u32, |sum, old| sum.saturating_add(old.size));
                let reached = view.new.size == target && view.new.settled() >= target && old <= rest;
                (!reached).then(|| self.judge_from(view, since, now))
            }
            CanaryStep::Pause(wait) if now >= since + *wait => None,
            CanaryStep::Pause(wait) => {
                let until = since + *wait;
                Some(self.waiting(view, at, &format!("pause until {until}")).wake_at(until))
            }
            CanaryStep::Hold => {
                let what = format!("annotate {PROMOTE}={}:{} to go on", view.new.revision, at + 1);
                let mut step = self.waiting(view, at, &what);
                if step.phase == Phase::Progressing {
                    step.phase = Phase::Paused;
                    step.reason = "CanaryPaused".into();
                }
                Some(step)
            }
            CanaryStep::Analysis(analysis) => match analysis.verdict(view, now) {
                Verdict::Pass => None,
                Verdict::Fail(why) => Some(self.failure.failed(view, "AnalysisFailed", why)),
                pending => {
                    let waiting = self.waiting(view, at, "analysis");
                    Some(pending.ask_again(now).into_iter().fold(waiting, RolloutStep::wake_at))
                }
            },
        }
    }

    /// Judges with a progress deadline that runs from when the step was reached.
    fn judge_from(&self, view: &RolloutView<'_>, since: Timestamp, now: Timestamp) -> RolloutStep {
        let mut view = view.clone();
        view.progressed_at = view.progressed_at.max(since);
        self.failure.judge(&view, now)
    }
}

impl Rollout for Canary {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        if view.paused {
            return paused(view);
        }
        if !view.has_old_pods() || view.undone || view.new.completed {
            return self.failure.judge(view, now).sized(&roll(view, view.replicas, 0));
        }
        let watched = self.watch.as_ref().filter(|_| view.new.available > 0);
        let verdict = watched.map(|analysis| analysis.verdict(view, now));
        let again = verdict.as_ref().and_then(|verdict| verdict.ask_again(now));
        if let Some(Verdict::Fail(why)) = verdict {
            return keep_traffic(view, self.failure.failed(view, "AnalysisFailed", why));
        }
        let (mut at, mut since) = remembered(view.memory).unwrap_or((0, now));
        let answer = loop {
            match self.at(view, at, since, now) {
                Some(step) => break step,
                None if at < self.steps.len() => (at, since) = (at + 1, now),
                None => break self.judge_from(view, since, now),
            }
        };
        let (target, rest) = self.target(view, at);
        let again = again.filter(|_| answer.phase != Phase::Failed);
        let answer = again.into_iter().fold(answer, RolloutStep::wake_at);
        let frozen = answer.reason == "AnalysisFailed";
        let answer = if frozen { answer } else { answer.sized(&roll(view, target, rest)) };
        answer.remember(format!("step={at} since={}", since.as_micros()))
    }
}

/// The step that was reached, and when.
fn remembered(memory: &str) -> Option<(usize, Timestamp)> {
    let (step, since) = memory.split_once(' ')?;
    let step = step.strip_prefix("step=")?.parse().ok()?;
    let since = since.strip_prefix("since=")?.parse().ok()?;
    Some((step, Timestamp::from_micros(since)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{ReplicaSetView, analysis_fn};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(seconds)
    }

    /// Takes the rollout on, as though all pods were available at once, until its sizes don't change.
    fn settle(rollout: &Canary, view: &mut RolloutView<'_>, now: Timestamp) -> RolloutStep {
        loop {
            let step = rollout.step(view, now);
            let sizes = (step.size_of(&view.new), step.size_of(&view.old[0]));
            let same =
                sizes == (view.new.size, view.old[0].size) && step.memory.as_deref() == Some(view.memory);
            view.new = view.new.clone().running(sizes.0);
            view.old[0] = view.old[0].clone().running(sizes.1);
            view.memory = Box::leak(step.memory.clone().unwrap_or_default().into_boxed_str());
            if same || step.phase == Phase::Complete {
                return step;
            }
        }
    }

    fn view() -> RolloutView<'static> {
        let mut view = RolloutView::new("shop/web", ReplicaSetView::new("web-2", 7));
        view.replicas = 10;
        view.old.push(ReplicaSetView::new("web-1", 6).running(10));
        view.old[0].completed = true;
        view.progress_deadline = Some(Duration::from_secs(60));
        view
    }

    #[test]
    fn walks_its_steps() {
        let canary = Canary::new().weight(20).pause(Duration::from_secs(100)).weight(50).hold();
        let mut view = view();
        let step = settle(&canary, &mut view, at(0));
        assert_eq!((view.new.size, view.old[0].size), (2, 8));
        assert_eq!(
            (step.phase, step.wake_at),
            (Phase::Progressing, Some(at(100))),
            "no deadline in a pause: {step:?}"
        );
        let step = settle(&canary, &mut view, at(100));
        assert_eq!((view.new.size, view.old[0].size, step.phase), (5, 5, Phase::Paused));
        assert_eq!(step.message, "step 4 of 4: annotate orchestra.dev/promote=7:4 to go on");
        view.annotations.insert(PROMOTE.to_owned(), "6".to_owned());
        assert_eq!(settle(&canary, &mut view, at(900)).phase, Phase::Paused, "that was for another revision");
        view.annotations.insert(PROMOTE.to_owned(), "7:4".to_owned());
        settle(&canary, &mut view, at(900));
        assert_eq!((view.new.size, view.old[0].size), (10, 0));
        assert_eq!(canary.step(&view, at(900)).phase, Phase::Complete);
    }

    #[test]
    fn one_replica_has_a_canary_beside_it() {
        let canary = Canary::new().weight(10).hold();
        let mut view = view();
        view.replicas = 1;
        view.old[0] = ReplicaSetView::new("web-1", 6).running(1);
        settle(&canary, &mut view, at(0));
        assert_eq!((view.new.size, view.old[0].size), (1, 1));
    }

    #[test]
    fn who_watches_is_asked_again_also_while_a_person_is_waited_for() {
        let wait = Duration::from_secs(3);
        let pending = analysis_fn("errors", move |_, _| Verdict::Pending(wait));
        let passing = analysis_fn("errors", |_, _| Verdict::Pass);
        let canary = || Canary::new().weight(20).hold();
        for (canary, again) in [(canary().watched_by(pending), 3), (canary().watched_by(passing), 10)] {
            let mut view = view();
            let step = settle(&canary, &mut view, at(0));
            assert_eq!((step.phase, step.wake_at), (Phase::Paused, Some(at(again))));
        }
    }

    #[test]
    fn fails_with_its_analysis_and_goes_back() {
        let canary =
            Canary::new().weight(10).analysis(analysis_fn("errors", |_, _| Verdict::Fail("9 %".to_owned())));
        let mut view = view();
        let step = settle(&canary, &mut view, at(0));
        assert_eq!((step.phase, step.rollback_to, &*step.message), (Phase::Failed, Some(6), "9 %"));
        assert_eq!((view.new.size, view.old[0].size), (1, 9), "it goes no further");
    }
}
