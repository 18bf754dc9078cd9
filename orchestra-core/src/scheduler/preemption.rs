//! Making room: which pods of lower priority would have to leave so that a pod can be placed.

mod clearings;

use std::cmp::Reverse;
use std::sync::Arc;

pub(super) use clearings::Clearings;

use super::view::class::PodClass;
use super::view::columns::ResourceId;
use super::{NodeId, NodeView, PodInfo, View};
use crate::model::{Pod, PreemptionPolicy, Timestamp, Uid};

/// A node, and the pods that must leave it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Room {
    /// The node.
    pub node: NodeId,
    /// Those that must leave it; among them may be pods that are on their way out already.
    pub victims: Vec<Arc<Pod>>,
}

/// A pod that could leave.
#[derive(Clone, Debug)]
struct Victim {
    pod: Arc<Pod>,
    class: Arc<PodClass>,
    /// It goes anyway.
    goes: bool,
    started: Timestamp,
}

impl Victim {
    /// Those that are missed least come first: those that go anyway, then by priority, then the youngest.
    fn importance(&self) -> (bool, i32, Reverse<Timestamp>, Uid) {
        (!self.goes, self.pod.spec.importance(), Reverse(self.started), self.pod.metadata.uid.clone())
    }
}

/// What it costs to clear a node, compared part by part: whether anybody has to go who doesn't anyway, the highest
/// priority among those, the sum of their priorities, their number, and how long the most important of them runs (the
/// longer, the worse). Kubernetes' order.
type Cost = (bool, i32, i64, usize, Reverse<Timestamp>);

fn cost(victims: &[Victim]) -> Cost {
    let new = || victims.iter().filter(|victim| !victim.goes);
    let highest = new().map(|victim| victim.pod.spec.importance()).max().unwrap_or(i32::MIN);
    // Counted from the lowest priority there is, so that each victim costs something.
    let sum = new().map(|victim| i64::from(victim.pod.spec.importance()) - i64::from(i32::MIN)).sum();
    let of_highest = new().filter(|victim| victim.pod.spec.importance() == highest);
    let oldest = of_highest.map(|victim| victim.started).min().unwrap_or_default();
    (new().next().is_some(), highest, sum, new().count(), Reverse(oldest))
}

/// Who could leave a node, and the least that must for resources alone.
struct Candidate {
    victims: Vec<Victim>,
    /// For each victim, whether it has to leave.
    leaves: Vec<bool>,
    cost: Cost,
}

/// Whether `pod` may have others leave for it, and there are any whose priority is lower.
pub(super) fn may_preempt(view: &View, pod: &PodInfo) -> bool {
    pod.spec().preemption_policy != Some(PreemptionPolicy::Never)
        && view.lowest_priority().is_some_and(|lowest| lowest < pod.priority())
}

fn candidate(view: &View, pod: &PodInfo, node: &NodeView<'_>) -> Option<Candidate> {
    let mut victims: Vec<Victim> = view
        .residents_of(node.id())
        .filter(|(other, _)| other.spec.importance() < pod.priority())
        .map(|(other, class)| Victim {
            pod: Arc::clone(other),
            class: Arc::clone(class),
            goes: other.is_terminating() || view.is_preempted(&other.metadata.uid),
            started: other.status.start_time.or(other.metadata.creation_timestamp).unwrap_or_default(),
        })
        .collect();
    victims.sort_by_cached_key(Victim::importance);
    let mut purse = view.budgets().purse(view);
    victims.retain(|victim| victim.goes || purse.spend(&victim.pod));
    if victims.is_empty() {
        return None;
    }
    let missing = |(resource, amount): &(ResourceId, i64)| {
        (*resource, amount - (node.allocatable_of(*resource) - node.used_of(*resource)))
    };
    let missing: Vec<(ResourceId, i64)> = pod.class().requests.iter().map(missing).collect();
    let leaves = least(&missing, &victims)?;
    let leaving: Vec<Victim> =
        victims.iter().zip(&leaves).filter(|(_, leaves)| **leaves).map(|(v, _)| v.clone()).collect();
    Some(Candidate { victims, leaves, cost: cost(&leaving) })
}

/// Which of `victims` have to leave so that nothing is missing any more; `None` where even all are not enough.
fn least(missing: &[(ResourceId, i64)], victims: &[Victim]) -> Option<Vec<bool>> {
    let mut missing: Vec<(ResourceId, i64)> = missing.to_vec();
    let change = |missing: &mut Vec<(ResourceId, i64)>, victim: &Victim, sign: i64| {
        for (resource, amount) in missing {
            *amount += sign * victim.class.request(*resource);
        }
    };
    let enough = |missing: &[(ResourceId, i64)]| missing.iter().all(|(_, amount)| *amount <= 0);
    let mut leaves = vec![false; victims.len()];
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

/// Clears the candidate in `view` until `accepts` has the pod there, then lets stay whoever can.
fn clear(
    view: &mut View,
    node: NodeId,
    candidate: Candidate,
    accepts: &mut impl FnMut(&mut View, NodeId) -> bool,
) -> Option<(Cost, Room)> {
    let Candidate { victims, mut leaves, .. } = candidate;
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
            let Victim { pod, class, .. } = &victims[i];
            view.put_back(pod, class, node);
            leaves[i] = !accepts(view, node);
            if leaves[i] {
                view.take_out(&pod.metadata.uid);
            }
        }
    }
    let leaving: Vec<Victim> =
        victims.into_iter().zip(leaves).filter(|(_, leaves)| *leaves).map(|(victim, _)| victim).collect();
    let room = Room { node, victims: leaving.iter().map(|victim| Arc::clone(&victim.pod)).collect() };
    Some((cost(&leaving), room))
}

#[cfg(test)]
mod tests;
