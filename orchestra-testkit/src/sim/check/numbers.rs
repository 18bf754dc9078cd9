//! Kubernetes' rounding, written once more: what is checked must not check itself.

use orchestra_core::model::{Deployment, IntOrPercent, StrategyType};

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
