//! A few pods at a time.

use super::{FailurePolicy, Phase, Rollout, RolloutStep, RolloutView, Sizes};
use crate::model::Timestamp;

/// Replaces a few pods at a time, as Kubernetes' `RollingUpdate` does.
///
/// At every moment at most `replicas + maxSurge` pods exist that are not ending, and old pods are given up only
/// while at least `replicas - maxUnavailable` pods stay available, over however many versions: a new revision in the
/// middle of a rollout changes nothing about that. Pods that are unavailable go first. A version whose pods don't
/// become available therefore stops by itself, with the old pods still there.
///
/// A program without a readiness probe counts as ready while it lives, however shortly. So that a version that crashes
/// soon after its start can't take the place of one that works, old pods are given up only for new ones that were ready
/// for `minReadySeconds`, or, where that is 0 and a container has no readiness probe, for [`SETTLE`](super::SETTLE): a
/// version whose programs end sooner costs no pod beyond `maxUnavailable`. One whose programs end later, or pass their
/// probe first, is found out too late. `minReadySeconds: 1` goes on sooner than [`SETTLE`](super::SETTLE); a readiness
/// probe, as soon as it passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RollingUpdate {
    failure: FailurePolicy,
}

impl RollingUpdate {
    /// Fails at the progress deadline; undone only where the deployment asks for it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Undoes every rollout that failed, also where the deployment does not ask for it.
    #[must_use]
    pub fn with_undo_on_failure(mut self) -> Self {
        self.failure = self.failure.undo(true);
        self
    }

    /// Fails also when a container of the new version has been restarted so many times.
    #[must_use]
    pub fn with_failure_after_restarts(mut self, restarts: u32) -> Self {
        self.failure = self.failure.after_restarts(restarts);
        self
    }
}

impl Rollout for RollingUpdate {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        if view.paused {
            return paused(view);
        }
        self.failure.judge(view, now).sized(&roll(view, view.replicas, 0))
    }
}

/// The next sizes on the way to `target` pods of the new version, and `rest` old ones.
pub(super) fn roll<'v>(view: &'v RolloutView<'v>, target: u32, rest: u32) -> Sizes<'v> {
    let mut sizes = Sizes::of(view);
    if sizes.follow_scale() {
        return sizes;
    }
    sizes.shrink_new(target);
    sizes.grow_new(target);
    if rest > 0 {
        sizes.grow_old(rest);
    }
    sizes.shrink_old(rest);
    sizes
}

/// A paused rollout: only changes of the number of desired pods are followed.
pub(super) fn paused(view: &RolloutView<'_>) -> RolloutStep {
    let mut sizes = Sizes::of(view);
    if !sizes.follow_scale() {
        if !view.has_old_pods() && (view.new.exists || view.old.is_empty()) {
            sizes.shrink_new(view.replicas);
            sizes.grow_new(view.replicas);
        } else if view.new.size == 0 {
            sizes.grow_old(view.replicas);
        }
    }
    let message = format!("{} is paused; set spec.paused to false to go on", view.name);
    keep_traffic(view, RolloutStep::new(Phase::Paused, "DeploymentPaused", message).sized(&sizes))
}

/// Leaves out of traffic what is out of traffic.
pub(super) fn keep_traffic(view: &RolloutView<'_>, step: RolloutStep) -> RolloutStep {
    let held = view.old.iter().chain([&view.new]).filter(|set| set.held_back);
    held.fold(step, RolloutStep::hold_back)
}
