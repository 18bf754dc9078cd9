//! When a rollout counts as failed, and what follows.

use super::{Phase, RolloutStep, RolloutView};
use crate::model::Timestamp;

/// The annotation of a deployment that says after how many restarts of one new container its rollouts fail,
/// without waiting for the progress deadline.
pub const FAIL_AFTER_RESTARTS: &str = "orchestra.dev/fail-after-restarts";

/// When a rollout counts as failed, and whether it is then undone.
///
/// It fails when it made no progress for the deployment's progress deadline, and, where asked for, when a container
/// of the new version was restarted so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailurePolicy {
    undo: bool,
    restarts: Option<u32>,
}

impl FailurePolicy {
    /// Fails at the progress deadline; undone only where the deployment asks for it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether every failed rollout is undone, also where the deployment does not ask for it.
    #[must_use]
    pub fn undo(mut self, undo: bool) -> Self {
        self.undo = undo;
        self
    }

    /// Fails also when a container of the new version has been restarted `restarts` times (at least 1). The
    /// deployment's annotation [`FAIL_AFTER_RESTARTS`] goes before.
    #[must_use]
    pub fn after_restarts(mut self, restarts: u32) -> Self {
        self.restarts = Some(restarts.max(1));
        self
    }

    /// A step that changes no size, with the status that the view's numbers give it.
    #[must_use]
    pub fn judge(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        let progressing = self.judge_crashes(view);
        if progressing.phase != Phase::Progressing {
            return progressing;
        }
        match view.deadline().filter(|_| !view.done) {
            Some(deadline) if deadline > now => progressing.wake_at(deadline),
            // New pods that settle are about to take it on.
            Some(_) if view.new.settling == 0 => self.failed(
                view,
                "ProgressDeadlineExceeded",
                format!("ReplicaSet {} has timed out progressing: {}", view.new.name, standing(view)),
            ),
            _ => progressing,
        }
    }

    /// As [`judge`](Self::judge), for times in which waiting is meant and no deadline runs.
    #[must_use]
    pub fn judge_crashes(&self, view: &RolloutView<'_>) -> RolloutStep {
        if view.is_complete() {
            let message = format!("ReplicaSet {} has successfully progressed.", view.new.name);
            return RolloutStep::new(Phase::Complete, "NewReplicaSetAvailable", message);
        }
        if view.done {
            return RolloutStep::new(Phase::Progressing, "ReplicaSetUpdated", standing(view));
        }
        let limit = view.annotation(FAIL_AFTER_RESTARTS).and_then(|n| n.parse().ok()).or(self.restarts);
        let hopeless = view.new.available < view.replicas.min(view.new.size);
        if limit.is_some_and(|limit: u32| view.new.restarts >= limit.max(1)) && hopeless {
            let message = format!(
                "ReplicaSet {} crashes: a container was restarted {} times; {}",
                view.new.name,
                view.new.restarts,
                standing(view)
            );
            return self.failed(view, "CrashLoop", message);
        }
        let message = format!("ReplicaSet {} is progressing: {}", view.new.name, standing(view));
        RolloutStep::new(Phase::Progressing, "ReplicaSetUpdated", message)
    }

    /// The rollout has failed: undone where asked for, and where there is something to go back to.
    #[must_use]
    pub fn failed(
        &self,
        view: &RolloutView<'_>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> RolloutStep {
        let step = RolloutStep::new(Phase::Failed, reason, message);
        let wanted = (self.undo || view.undo_on_failure) && !view.undone;
        match view.last_good() {
            Some(good) if wanted => step.roll_back_to(good.revision),
            _ => step,
        }
    }
}

/// The numbers of a rollout, in words.
pub(super) fn standing(view: &RolloutView<'_>) -> String {
    let old = view.old.iter().fold(0u32, |sum, old| sum.saturating_add(old.pods));
    format!(
        "{} of {} new pods available, {old} old pods left",
        view.new.available.min(view.replicas),
        view.replicas
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rollout::ReplicaSetView;

    fn stuck() -> RolloutView<'static> {
        let mut view = RolloutView::new("shop/web", ReplicaSetView::new("web-c", 11));
        view.new.size = 1;
        view.new.pods = 1;
        view.replicas = 3;
        view.progress_deadline = Some(Duration::from_secs(60));
        for (name, revision) in [("web-a", 9), ("web-b", 10)] {
            let mut old = ReplicaSetView::new(name, revision).running(3);
            old.completed = true;
            view.old.push(old);
        }
        view
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn fails_at_the_deadline_and_wakes_for_it() {
        let view = stuck();
        let step = FailurePolicy::new().judge(&view, at(59));
        assert_eq!((step.phase, step.wake_at), (Phase::Progressing, Some(at(60))));
        let step = FailurePolicy::new().judge(&view, at(60));
        assert_eq!(
            (step.phase, &*step.reason, step.rollback_to),
            (Phase::Failed, "ProgressDeadlineExceeded", None)
        );
        assert_eq!(
            step.message,
            "ReplicaSet web-c has timed out progressing: 0 of 3 new pods available, 6 old pods left"
        );
    }

    #[test]
    fn goes_back_to_the_youngest_good_revision_by_number_and_only_once() {
        let mut view = stuck();
        view.undo_on_failure = true;
        assert_eq!(FailurePolicy::new().judge(&view, at(60)).rollback_to, Some(10), "10 is after 9");
        view.old[1].completed = false;
        assert_eq!(FailurePolicy::new().judge(&view, at(60)).rollback_to, Some(9), "10 was never good");
        view.undone = true;
        assert_eq!(
            FailurePolicy::new().judge(&view, at(60)).rollback_to,
            None,
            "it is the undoing that failed"
        );
        view.old.clear();
        view.undone = false;
        assert_eq!(
            FailurePolicy::new().judge(&view, at(60)).rollback_to,
            None,
            "there is nothing to go back to"
        );
    }

    #[test]
    fn crashes_fail_it_before_the_deadline_where_asked_for() {
        let mut view = stuck();
        view.new.restarts = 3;
        assert_eq!(FailurePolicy::new().judge(&view, at(1)).phase, Phase::Progressing);
        let policy = FailurePolicy::new().after_restarts(3).undo(true);
        let step = policy.judge(&view, at(1));
        assert_eq!((&*step.reason, step.rollback_to), ("CrashLoop", Some(10)));
        view.annotations.insert(FAIL_AFTER_RESTARTS.to_owned(), "4".to_owned());
        assert_eq!(policy.judge(&view, at(1)).phase, Phase::Progressing, "the annotation goes before");
        view.new.restarts = 4;
        view.new.available = 1;
        assert_eq!(policy.judge(&view, at(1)).phase, Phase::Progressing, "it restarted, but runs now");
    }

    #[test]
    fn pods_that_fail_after_it_was_complete_are_no_failed_rollout() {
        let mut view = stuck();
        view.old.clear();
        view.done = true;
        view.undo_on_failure = true;
        view.new.restarts = 99;
        let step = FailurePolicy::new().after_restarts(3).judge(&view, at(1_000_000));
        assert_eq!((step.phase, step.rollback_to, step.wake_at), (Phase::Progressing, None, None));
    }
}
