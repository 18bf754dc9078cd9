//! How many replicas something needs, by what is measured.
//!
//! An [`Autoscaler`] is shown the pods, what was measured, and what it decided before; it answers with a number, and
//! with what it wants to remember. [`HorizontalAutoscaler`] is the one that ships: Kubernetes' arithmetic, with the
//! differences that decision 0603 tells. The largest: pods beyond the number that is desired (a rollout's surge) are not counted at
//! all, so that a rollout never looks like load.

mod behavior;
mod decision;
mod history;
mod horizontal;
mod measure;
mod ratio;
mod view;

use std::fmt::Debug;

pub use decision::{ScaleDecision, ScaleStatus};
pub use history::{ScaleEvent, ScaleHistory};
pub use horizontal::HorizontalAutoscaler;
pub use view::{PodSample, Reading, Sample, ScaleView};

use crate::model::Timestamp;

/// Decides how many replicas there shall be.
///
/// # Contract
/// - **Pure.** The same view and time give the same decision. What must be remembered goes through
///   [`ScaleDecision::history`] and comes back as [`ScaleView::history`].
/// - **Bounded.** The number is from `minReplicas` to `maxReplicas`, unless the target was scaled to zero by hand,
///   which switches autoscaling off ([`ScaleView::is_switched_off`]): then it is 0.
/// - **Careful.** One that goes by measurements changes nothing by what is not known: where some are missing it may
///   stay, or scale up by those it has, but never down.
/// - It is called once a period, and whenever something changed: a decision must not depend on how often.
///
/// Tested by `orchestra_testkit::autoscale_contract`. Shipped: [`HorizontalAutoscaler`].
///
/// # Example
/// Three replicas by day, one by night. It doesn't go by measurements, so there is nothing it could miss:
///
/// ```
/// use orchestra_core::autoscale::{Autoscaler, ScaleDecision, ScaleView};
/// use orchestra_core::model::Timestamp;
///
/// #[derive(Debug)]
/// struct OfficeHours;
///
/// impl Autoscaler for OfficeHours {
///     fn replicas(&self, view: &ScaleView<'_>, now: Timestamp) -> ScaleDecision {
///         if view.is_switched_off() {
///             return ScaleDecision::unknown(view, "ScalingDisabled", "the target is scaled to zero");
///         }
///         let hour = now.as_micros() / 3_600_000_000 % 24;
///         let replicas = if (8..18).contains(&hour) { 3 } else { 1 };
///         ScaleDecision::to(view, replicas, "OfficeHours", format!("hour {hour}"))
///     }
/// }
/// ```
pub trait Autoscaler: Debug + Send + Sync + 'static {
    /// How many replicas there shall be.
    fn replicas(&self, view: &ScaleView<'_>, now: Timestamp) -> ScaleDecision;
}

const _: fn(&dyn Autoscaler) = |_| {};
