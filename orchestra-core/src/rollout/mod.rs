//! How the pods of one version are replaced by those of the next.
//!
//! A [`Rollout`] is asked again and again: here is what there is, what shall be next? It answers with sizes for
//! the replica sets, a status, and at most a wish to go back to an older revision. It writes nothing and knows no
//! clock. Which of these do I want?
//!
//! | | how | needs |
//! |---|---|---|
//! | [`RollingUpdate`] | a few pods at a time, within `maxSurge` and `maxUnavailable` | versions that get on with each other |
//! | [`Recreate`] | all old pods end before new ones start | an outage; the only one where versions never meet |
//! | [`BlueGreen`] | the new version at full size without traffic, then a switch at once | twice the room |
//! | [`Canary`] | a share of the pods, step by step, with pauses and [`Analysis`] | somebody or something that judges |
//!
//! Going back to an older revision is the same code, run towards that revision.

mod analysis;
mod blue_green;
mod budget;
mod canary;
mod failure;
mod progress;
mod recreate;
mod rolling_update;
mod sizes;
mod step;
mod view;

use std::fmt::Debug;

pub use analysis::{Analysis, AnalysisFn, Verdict, analysis_fn};
pub use blue_green::BlueGreen;
pub use budget::Budget;
pub use canary::{Canary, CanaryStep, PROMOTE};
pub use failure::{FAIL_AFTER_RESTARTS, FailurePolicy};
pub use progress::Counts;
pub use recreate::Recreate;
pub use rolling_update::RollingUpdate;
pub use sizes::Sizes;
pub use step::{Phase, RolloutStep};
pub use view::{ReplicaSetView, RolloutView, SETTLE};

use crate::model::Timestamp;

/// Decides the next step from the pods there are to the pods there shall be.
///
/// # Contract
/// - **Pure.** The same view and time give the same step. What must be remembered from one step to the next goes
///   through [`RolloutStep::remember`] and comes back as [`RolloutView::memory`].
/// - **Level-triggered.** It is called whenever something changed and at [`RolloutStep::wake_at`], maybe more
///   often, maybe with steps left out. A step is a wish about the whole, not a difference to the last one.
/// - **Total.** It answers every view, also with no pods, no room, the largest numbers there are (add with
///   `saturating_add`), or sizes that it would never have chosen; and asks for no more pods than the ceiling or than
///   there are.
/// - **Ends.** With pods that become available it reaches [`Phase::Complete`]; with pods that never do it says
///   [`Phase::Failed`] after the view's progress deadline.
///
/// It need not defend availability: the replica set controller deletes an available pod only while as many as
/// [`Budget::unavailable`] wants are left, whatever the rollout says, and counts pods of other versions only once they
/// are [settled](ReplicaSetView::settled). One that plans with [`Sizes`] never gets there.
///
/// Tested by `orchestra_testkit::rollout_contract`.
///
/// # Example
/// One pod at a time, whatever more the budget allows:
///
/// ```
/// use orchestra_core::model::Timestamp;
/// use orchestra_core::rollout::{Rollout, RolloutStep, RolloutView, Sizes};
///
/// #[derive(Debug)]
/// struct OneByOne;
///
/// impl Rollout for OneByOne {
///     fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
///         let next = view.new.available.saturating_add(1).min(view.replicas);
///         let mut sizes = Sizes::of(view);
///         sizes.shrink_new(view.replicas);
///         sizes.grow_new(next);
///         sizes.shrink_old(view.replicas - next);
///         RolloutStep::judged(view, now).sized(&sizes)
///     }
/// }
/// ```
pub trait Rollout: Debug + Send + Sync + 'static {
    /// The next step.
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep;
}

const _: fn(&dyn Rollout) = |_| {};
