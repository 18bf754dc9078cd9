//! All old pods end before new ones start.

use super::rolling_update::paused;
use super::{FailurePolicy, Rollout, RolloutStep, RolloutView, Sizes};
use crate::model::Timestamp;

/// Ends all old pods, waits until they have ended, then starts the new ones: Kubernetes' `Recreate`.
///
/// The only rollout under which two versions never run at once; nothing is available in between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recreate {
    failure: FailurePolicy,
}

impl Recreate {
    /// Fails at the progress deadline; undone only where the deployment asks for it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says when it fails and whether it is then undone.
    #[must_use]
    pub fn with_failure(mut self, failure: FailurePolicy) -> Self {
        self.failure = failure;
        self
    }
}

impl Rollout for Recreate {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        if view.paused {
            return paused(view);
        }
        let mut step = self.failure.judge(view, now);
        for old in &view.old {
            step = step.scale(old, 0);
        }
        // Also what is only ending still runs.
        if view.old.iter().any(|old| old.pods > 0 || old.terminating > 0) {
            return step;
        }
        let mut sizes = Sizes::of(view);
        sizes.shrink_new(view.replicas);
        sizes.grow_new(view.replicas);
        step.scale(&view.new, sizes.new_size())
    }
}
