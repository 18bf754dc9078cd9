//! Making room: which pods of lower priority would have to leave so that a pod can be placed.

mod clearings;

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

pub(super) use clearings::Clearings;

use super::view::columns::ResourceId;
use super::view::pods::Record;
use super::{NodeId, NodeView, PodInfo, View};
use crate::model::{Pod, PreemptionPolicy, Timestamp};

/// A node, and the pods that must leave it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Room {
    /// The node.
    pub node: NodeId,
    /// Those that must leave it; among them may be pods that are on their way out already.
    pub victims: Vec<Arc<Pod>>,
}

/// Those that are missed least come first: those that go anyway, then by priority, then the youngest.
fn importance(a: &Record, b: &Record) -> Ordering {
    let first = |record: &Record| (!record.goes(), record.priority(), Reverse(record.started));
    first(a).cmp(&first(b)).then_with(|| a.pod.metadata.uid.cmp(&b.pod.metadata.uid))
}

/// What it costs to clear a node, compared part by part: whether anybody has to go who doesn't anyway, the highest
/// priority among those, the sum of their priorities, their number, and how long the most important of them runs (the
/// longer, the worse). Kubernetes' order.
type Cost = (bool, i32, i64, usize, Reverse<Timestamp>);

fn cost<'v>(victims: impl Iterator<Item = &'v Record> + Clone) -> Cost {
    let new = victims.filter(|victim| !victim.goes());
    let highest = new.clone().map(Record::priority).max().unwrap_or(i32::MIN);
    // Counted from the lowest priority there is, so that each victim costs something.
    let sum = new.clone().map(|victim| i64::from(victim.priority()) - i64::from(i32::MIN)).sum();
    let of_highest = new.clone().filter(|victim| victim.priority() == highest);
    let oldest = of_highest.map(|victim| victim.started).min().unwrap_or_default();
    let count = new.count();
    (count > 0, highest, sum, count, Reverse(oldest))
}

/// Whether each of some victims has to leave.
type Leaves = SmallVec<[bool; 8]>;

/// Who could leave a node, and the least that must for resources alone.
struct Candidate<'v> {
    victims: SmallVec<[&'v Record; 8]>,
    leaves: Leaves,
    cost: Cost,
}

/// Whether `pod` may have others leave for it, and there are any whose priority is lower.
pub(super) fn may_preempt(view: &View, pod: &PodInfo) -> bool {
    pod.spec().preemption_policy != Some(PreemptionPolicy::Never)
        && view.lowest_priority().is_some_and(|lowest| lowest < pod.priority())
}

fn candidate<'v>(view: &'v View, pod: &PodInfo, node: &NodeView<'_>) -> Option<Candidate<'v>> {
    let priority = pod.priority();
    let mut victims: SmallVec<[&Record; 8]> =
        view.records_of(node.id()).filter(|record| record.priority() < priority).collect();
    victims.sort_unstable_by(|a, b| importance(a, b));
    let mut purse = view.budgets().purse(view);
    victims.retain(|victim| victim.goes() || purse.spend(&victim.pod));
    if victims.is_empty() {
        return None;
    }
    let missing = |(resource, amount): &(ResourceId, i64)| {
        (*resource, amount - (node.allocatable_of(*resource) - node.used_of(*resource)))
    };
    let leaves = least(pod.class().requests.iter().map(missing).collect(), &victims)?;
    let leaving = victims.iter().zip(&leaves).filter(|(_, leaves)| **leaves).map(|(victim, _)| *victim);
    let cost = cost(leaving);
    Some(Candidate { victims, leaves, cost })
}

/// Which of `victims` have to leave so that nothing is missing any more; `None` where even all are not enough.
fn least(mut missing: SmallVec<[(ResourceId, i64); 4]>, victims: &[&Record]) -> Option<Leaves> {
    let change = |missing: &mut [(ResourceId, i64)], victim: &Record, sign: i64| {
        for (resource, amount) in missing {
            *amount += sign * victim.class.request(*resource);
        }
    };
    let enough = |missing: &[(ResourceId, i64)]| missing.iter().all(|(_, amount)| *amount <= 0);
    let mut leaves: Leaves = smallvec![false; victims.len()];
    for (victim, leaves) in victims.iter().zip(&mut leaves) {
        if enough(&missing) {
            break;
        }
        change(&mut missing, victim, -1);
        *leaves = true;
    }
    if !enough(&missing) {
        return None;
    }
    for (victim, leaves) in victims.iter().zip(&mut leaves).rev().filter(|(_, leaves)| **leaves) {
        change(&mut missing, victim, 1);
        *leaves = !enough(&missing);
        if *leaves {
            change(&mut missing, victim, -1);
        }
    }
    Some(leaves)
}

/// Clears a node of `victims` in `view` until `accepts` has the pod there, then lets stay whoever can.
fn clear(
    view: &mut View,
    node: NodeId,
    victims: &[Record],
    mut leaves: Leaves,
    accepts: &mut impl FnMut(&mut View, NodeId) -> bool,
) -> Option<(Cost, Room)> {
    for (victim, _) in victims.iter().zip(&leaves).filter(|(_, leaves)| **leaves) {
        view.take_out(&victim.pod.metadata.uid);
    }
    if !accepts(view, node) {
        // More than resources stands against it.
        let more: Vec<usize> = (0..victims.len()).filter(|i| !leaves[*i]).collect();
        let helped = more.into_iter().find(|i| {
            view.take_out(&victims[*i].pod.metadata.uid);
            leaves[*i] = true;
            accepts(view, node)
        });
        helped?;
        for i in (0..victims.len()).rev().filter(|i| leaves[*i]).collect::<Vec<_>>() {
            let Record { pod, class, .. } = &victims[i];
            view.put_back(pod, class, node);
            leaves[i] = !accepts(view, node);
            if leaves[i] {
                view.take_out(&pod.metadata.uid);
            }
        }
    }
    let leaving = victims.iter().zip(&leaves).filter(|(_, leaves)| **leaves).map(|(victim, _)| victim);
    let room = Room { node, victims: leaving.clone().map(|victim| Arc::clone(&victim.pod)).collect() };
    Some((cost(leaving), room))
}

#[cfg(test)]
mod tests;
