//! What it costs to have pods leave.

use std::cmp::Reverse;

use crate::model::Timestamp;
use crate::scheduler::view::preempted::Occupant;

/// What is lost where a pod leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Nothing, as it goes anyway.
    pub(super) goes: bool,
    pub(super) priority: i32,
    pub(super) started: Timestamp,
}

impl Loss {
    pub(super) fn of(occupant: &Occupant<'_>) -> Self {
        let Occupant { class, goes, started, .. } = occupant;
        Self { goes: *goes, priority: class.priority, started: *started }
    }

    /// Those that are missed least come first: those that go anyway, then by priority, then the youngest.
    pub(super) fn importance(&self) -> (bool, i32, Reverse<Timestamp>) {
        (!self.goes, self.priority, Reverse(self.started))
    }
}

/// What it costs to clear a node, compared part by part, in Kubernetes' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// The highest priority among those that have to go and don't anyway; `None` where nobody has to.
    highest: Option<i32>,
    /// The sum of their priorities, counted from the lowest that there is, so that each costs something.
    sum: i64,
    /// Their number.
    count: u32,
    /// Since when the most important of them runs: the longer, the worse.
    oldest: Reverse<Timestamp>,
}

impl Cost {
    /// Of losing some pods.
    pub(super) fn of(losses: impl Iterator<Item = Loss>) -> Self {
        let nobody = Self { highest: None, sum: 0, count: 0, oldest: Reverse(Timestamp::default()) };
        losses.filter(|loss| !loss.goes).fold(nobody, |mut cost, loss| {
            let priority = Some(loss.priority);
            if priority > cost.highest {
                (cost.highest, cost.oldest) = (priority, Reverse(loss.started));
            } else if priority == cost.highest {
                cost.oldest = cost.oldest.max(Reverse(loss.started));
            }
            cost.sum += i64::from(loss.priority) - i64::from(i32::MIN);
            cost.count += 1;
            cost
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_in_kubernetes_order() {
        let loss = |goes: bool, priority: i32, started: i64| Loss {
            goes,
            priority,
            started: Timestamp::from_micros(started),
        };
        let rising = [
            vec![loss(true, 9, 1)],
            vec![loss(false, i32::MIN, 1)],
            vec![loss(false, 1, 9)],
            // The time of the most important counts, and of those the longest.
            vec![loss(false, 1, 8), loss(false, i32::MIN, 1)],
            vec![loss(false, 1, 8), loss(false, 0, 1)],
            vec![loss(false, 1, 8), loss(false, 1, 9)],
            vec![loss(false, 1, 9), loss(false, 1, 7), loss(true, 5, 0)],
            vec![loss(false, 2, 9)],
        ];
        let costs: Vec<Cost> = rising.iter().map(|losses| Cost::of(losses.iter().copied())).collect();
        assert!(costs.is_sorted_by(|a, b| a < b), "{costs:?}");
    }
}
