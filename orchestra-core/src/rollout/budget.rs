//! How many pods more and fewer than desired a rollout may have.

use crate::model::IntOrPercent;

/// How many pods more and fewer than desired a rollout may have, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// How many more pods than desired there may be.
    pub surge: u32,
    /// How many fewer pods than desired may be available; at most as many as are desired.
    pub unavailable: u32,
}

impl Budget {
    /// The budget for so many replicas, as Kubernetes rounds it: a share of `max_surge` up, one of
    /// `max_unavailable` down, and where both come to nothing one pod may be unavailable, or nothing would ever
    /// move.
    #[must_use]
    pub fn resolve(max_surge: IntOrPercent, max_unavailable: IntOrPercent, replicas: u32) -> Self {
        let surge = max_surge.round_up(replicas);
        let unavailable = max_unavailable.round_down(replicas);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { surge, unavailable: unavailable.min(replicas) }
    }

    /// Everything may be unavailable, and there is never a pod too many: all old pods end before new ones start.
    #[must_use]
    pub fn recreate(replicas: u32) -> Self {
        Self { surge: 0, unavailable: replicas }
    }

    /// The fewest pods that must be available.
    #[must_use]
    pub fn floor(&self, replicas: u32) -> u32 {
        replicas.saturating_sub(self.unavailable)
    }

    /// The most pods there may be.
    #[must_use]
    pub fn ceiling(&self, replicas: u32) -> u32 {
        replicas.saturating_add(self.surge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kubernetes' rule, written another way: over the rational numbers, by search instead of division.
    fn independent(replicas: u32, surge: u32, unavailable: u32) -> (u32, u32) {
        let up = (0..).find(|n| n * 100 >= surge * replicas).unwrap_or_default();
        let down = (0..=replicas).rev().find(|n| n * 100 <= unavailable * replicas).unwrap_or_default();
        if up + down == 0 { (0, 1.min(replicas)) } else { (up, down) }
    }

    #[test]
    fn percentages_are_rounded_as_kubernetes_rounds_them_for_every_small_size() {
        for replicas in 0..=50 {
            for surge in 0..=100 {
                for unavailable in 0..=100 {
                    let budget = Budget::resolve(
                        IntOrPercent::Percent(surge),
                        IntOrPercent::Percent(unavailable),
                        replicas,
                    );
                    assert_eq!(
                        (budget.surge, budget.unavailable),
                        independent(replicas, surge, unavailable),
                        "{replicas} replicas, maxSurge {surge}%, maxUnavailable {unavailable}%"
                    );
                }
            }
        }
    }

    #[test]
    fn known_values() {
        // (replicas, maxSurge, maxUnavailable, surge, unavailable), from Kubernetes' documentation and tests.
        for (replicas, max_surge, max_unavailable, surge, unavailable) in [
            (1, "25%", "25%", 1, 0),
            (2, "25%", "25%", 1, 0),
            (4, "25%", "25%", 1, 1),
            (10, "25%", "25%", 3, 2),
            (10, "0%", "0%", 0, 1),
            (10, "0%", "5%", 0, 1),
            (10, "39%", "39%", 4, 3),
            (10, "5", "0", 5, 0),
            (10, "0", "20", 0, 10),
            (0, "1", "1", 1, 0),
        ] {
            let read = |text: &str| text.parse().unwrap_or(IntOrPercent::Int(0));
            let budget = Budget::resolve(read(max_surge), read(max_unavailable), replicas);
            assert_eq!(budget, Budget { surge, unavailable }, "{replicas} {max_surge} {max_unavailable}");
        }
    }
}
