//! Kubernetes' autoscaler.

use std::cmp::Ordering;

use super::behavior::Behavior;
use super::measure::{Proposal, propose};
use super::ratio::Tolerance;
use super::{Autoscaler, ScaleDecision, ScaleStatus, ScaleView};
use crate::model::Timestamp;

/// As many replicas as make what is measured meet its target: Kubernetes' HorizontalPodAutoscaler.
///
/// - The ratio of what is and what shall be, times the pods that count, rounded up. A tenth off is near enough.
/// - Of several metrics the one that asks for the most counts. While one can't be measured it never scales down.
/// - Pods that were not measured are taken for 0 % when it would scale up, and for 100 % when it would scale down;
///   pods that are just starting for 0 % when it would scale up.
/// - A wish to scale down must last for 300 s; scaling up at most doubles, or adds four pods, in 15 s. Both can be
///   set in the spec's behavior.
/// - Other than in Kubernetes, pods beyond the desired number don't count.
#[derive(Clone, Copy, Debug, Default)]
pub struct HorizontalAutoscaler;

impl HorizontalAutoscaler {
    /// The autoscaler.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Autoscaler for HorizontalAutoscaler {
    fn replicas(&self, view: &ScaleView<'_>, now: Timestamp) -> ScaleDecision {
        let (current, spec) = (view.current, view.spec);
        if view.is_switched_off() {
            let message = "the target is scaled to zero; scale it up by hand to switch autoscaling on again";
            return ScaleDecision::unknown(view, "ScalingDisabled", message);
        }
        if current != view.clamp(current) {
            let way =
                if current > spec.max_replicas { "above spec.maxReplicas" } else { "below spec.minReplicas" };
            let message = format!("Current number of replicas {way}");
            let mut decision = ScaleDecision::to(view, view.clamp(current), "ValidMetricFound", message);
            decision.history.changed(now, current, decision.replicas);
            return decision;
        }
        let behavior = spec.behavior.as_ref();
        let tolerance = Tolerance::new(
            behavior.and_then(|b| b.scale_up.as_ref()?.tolerance),
            behavior.and_then(|b| b.scale_down.as_ref()?.tolerance),
        );
        let measured: Vec<_> = spec
            .metrics
            .iter()
            .enumerate()
            .map(|(i, metric)| propose(view, metric, view.readings.get(i), tolerance, now))
            .collect();
        let values = measured.iter().map(|m| m.as_ref().ok().map(|p| p.current.clone())).collect();
        let mut decision = match chosen(&measured, current) {
            Ok(proposal) => limit(view, proposal, now),
            Err((reason, why)) => {
                let message = format!("the number of replicas stays at {current}: {why}");
                ScaleDecision::unknown(view, reason, message)
            }
        };
        decision.current = values;
        decision
    }
}

type Measured = Result<Proposal, (&'static str, String)>;

/// The metric that asks for the most replicas. With one that can't be measured, none that asks for fewer.
fn chosen(measured: &[Measured], current: u32) -> Result<&Proposal, (&'static str, String)> {
    // The first of equals, as the reader of the spec expects.
    let most = measured.iter().rev().flatten().max_by_key(|proposal| proposal.replicas);
    let failure = measured.iter().find_map(|m| m.as_ref().err());
    match (most, failure) {
        (Some(most), None) => Ok(most),
        (Some(most), Some(_)) if most.replicas > current => Ok(most),
        (_, Some(failure)) => Err(failure.clone()),
        (None, None) => Err(("InvalidMetricSourceType", "the spec has no metrics".to_owned())),
    }
}

/// From what a metric asks for to what is done about it now.
fn limit(view: &ScaleView<'_>, proposal: &Proposal, now: Timestamp) -> ScaleDecision {
    let (current, wish) = (view.current, proposal.replicas);
    let behavior = Behavior::of(view.spec);
    let mut history = view.history.clone();
    if history.is_empty() {
        // Nothing is known of before: what is there now was wished for until now.
        history.wish(now, current);
    }
    let stabilized = behavior.stabilized(&history, current, wish, now);
    history.wish(now, wish);
    let (floor, ceiling) = (behavior.floor(&history, current, now), behavior.ceiling(&history, current, now));
    let allowed = stabilized.clamp(floor, ceiling);
    let reason = "ValidMetricFound";
    let way = match wish.cmp(&current) {
        Ordering::Less => "below target",
        Ordering::Equal => "on target",
        Ordering::Greater => "above target",
    };
    let mut decision = ScaleDecision::to(view, allowed, reason, format!("{} {way}", proposal.name));
    if !decision.limited.holds && allowed != stabilized {
        let what = if allowed < stabilized { "ScaleUpLimit" } else { "ScaleDownLimit" };
        decision.limited =
            ScaleStatus::new(true, what, "the policies of spec.behavior allow no faster change");
    }
    if stabilized != wish {
        let what = if wish < stabilized { "ScaleDownStabilized" } else { "ScaleUpStabilized" };
        let message = format!("{wish} replicas are enough now, but the window is not over: {stabilized}");
        decision.able = ScaleStatus::new(true, what, message);
    }
    if decision.replicas != current {
        history.changed(now, current, decision.replicas);
    }
    let (wishes, events) = behavior.memory();
    history.forget(now, wishes, events);
    decision.history = history;
    decision
}

#[cfg(test)]
mod tests;
