//! Kubernetes' rounding, written once more: what is checked must not check itself.

use std::time::Duration;

use orchestra_core::model::{Deployment, IntOrPercent, Pod, StrategyType};
use orchestra_core::rollout::SETTLE;

/// A share of `total`, rounded up.
pub(super) fn up(share: IntOrPercent, total: u32) -> u32 {
    match share {
        IntOrPercent::Int(n) => n,
        IntOrPercent::Percent(p) => (0..).find(|n| n * 100 >= p * total).unwrap_or(total),
    }
}

/// A share of `total`, rounded down.
pub(super) fn down(share: IntOrPercent, total: u32) -> u32 {
    match share {
        IntOrPercent::Int(n) => n,
        IntOrPercent::Percent(p) => (0..=total).rev().find(|n| n * 100 <= p * total).unwrap_or(0),
    }
}

/// The fewest pods of a deployment that must stay available.
pub(super) fn floor(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.replicas;
    if deployment.spec.strategy.type_ == StrategyType::Recreate {
        return 0;
    }
    let rolling = deployment.spec.strategy.rolling();
    let unavailable = down(rolling.max_unavailable, replicas);
    // Where both numbers come to nothing, one pod may be unavailable, or nothing would ever move.
    let unavailable = if unavailable == 0 && up(rolling.max_surge, replicas) == 0 { 1 } else { unavailable };
    replicas.saturating_sub(unavailable)
}

/// How long a pod must have been ready until pods of other versions may be given up for it.
pub(super) fn settles_after(deployment: &Deployment, pod: &Pod) -> Duration {
    match deployment.spec.min_ready_seconds {
        0 if pod.spec.containers.iter().any(|c| c.readiness_probe.is_none()) => SETTLE,
        seconds => Duration::from_secs(seconds.into()),
    }
}
