//! Making room: which pods of lower priority would have to leave so that a pod can be placed.

mod clearings;
mod cost;
mod equals;
mod order;

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

pub(super) use clearings::Clearings;
use cost::{Cost, Loss};
use equals::Equals;

use super::view::class::PodClass;
use super::view::columns::ResourceId;
use super::view::preempted::Occupant;
use super::{NodeId, NodeView, PodInfo, View};
use crate::model::{Pod, PreemptionPolicy};

/// A node, and the pods that must leave it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Room {
    /// The node.
    pub node: NodeId,
    /// Those that must leave it; among them may be pods that are on their way out already.
    pub victims: Vec<Arc<Pod>>,
}

/// Whether each of some victims has to leave.
type Leaves = SmallVec<[bool; 8]>;

/// What is missing of resources.
type Missing = SmallVec<[(ResourceId, i64); 4]>;

/// Who could leave a node, and the least that must for resources alone.
struct Candidate<'v> {
    victims: SmallVec<[Occupant<'v>; 8]>,
    leaves: Leaves,
    cost: Cost,
}

/// A pod that could leave, held beside a view that changes.
struct Victim {
    pod: Arc<Pod>,
    class: Arc<PodClass>,
    loss: Loss,
}

impl Victim {
    fn new(view: &View, occupant: &Occupant<'_>) -> Self {
        let record = view.record(occupant.number);
        let (pod, class) = (Arc::clone(&record.pod), Arc::clone(&record.class));
        Self { pod, class, loss: Loss::of(occupant) }
    }
}

/// Whether `pod` may have others leave for it, and there are any whose priority is lower.
pub(super) fn may_preempt(view: &View, pod: &PodInfo) -> bool {
    pod.spec().preemption_policy != Some(PreemptionPolicy::Never)
        && view.lowest_priority().is_some_and(|lowest| lowest < pod.priority())
}

/// What `node` has too little of for `pod`; less than nothing of what it has more of.
fn missing(pod: &PodInfo, node: &NodeView<'_>) -> Missing {
    let missing = |(resource, amount): &(ResourceId, i64)| {
        (*resource, amount - (node.allocatable_of(*resource) - node.used_of(*resource)))
    };
    pod.class().requests.iter().map(missing).collect()
}

/// What clearing a node for `pod` costs at least; `None` where it can't be cleared.
fn least_cost(view: &View, pod: &PodInfo, node: &NodeView<'_>) -> Option<Cost> {
    if view.budgets().is_empty()
        && let Some(equals) = Equals::who_could_leave(view, pod, node)
    {
        return equals.cost(&missing(pod, node));
    }
    candidate(view, pod, node).map(|found| found.cost)
}

fn candidate<'v>(view: &'v View, pod: &PodInfo, node: &NodeView<'_>) -> Option<Candidate<'v>> {
    let priority = pod.priority();
    let lower = view.occupants(node.id()).filter(|occupant| occupant.class.priority < priority);
    let mut victims: SmallVec<[Occupant<'_>; 8]> = lower.collect();
    let pod_of = |victim: &Occupant<'_>| &view.record(victim.number).pod;
    victims.sort_unstable_by(|a, b| {
        let by_loss = Loss::of(a).importance().cmp(&Loss::of(b).importance());
        by_loss.then_with(|| pod_of(a).metadata.uid.cmp(&pod_of(b).metadata.uid))
    });
    let mut purse = view.budgets().purse(view);
    victims.retain(|victim| victim.goes || purse.spend(pod_of(victim)));
    if victims.is_empty() {
        return None;
    }
    let leaves = least(missing(pod, node), &victims)?;
    let leaving = victims.iter().zip(&leaves).filter(|(_, leaves)| **leaves);
    let cost = Cost::of(leaving.map(|(victim, _)| Loss::of(victim)));
    Some(Candidate { victims, leaves, cost })
}

/// Which of `victims` have to leave so that nothing is missing any more; `None` where even all are not enough.
fn least(mut missing: Missing, victims: &[Occupant<'_>]) -> Option<Leaves> {
    let change = |missing: &mut [(ResourceId, i64)], victim: &Occupant<'_>, sign: i64| {
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
    victims: &[Victim],
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
            let Victim { pod, class, .. } = &victims[i];
            view.put_back(pod, class, node);
            leaves[i] = !accepts(view, node);
            if leaves[i] {
                view.take_out(&pod.metadata.uid);
            }
        }
    }
    let leaving = victims.iter().zip(&leaves).filter(|(_, leaves)| **leaves).map(|(victim, _)| victim);
    let room = Room { node, victims: leaving.clone().map(|victim| Arc::clone(&victim.pod)).collect() };
    Some((Cost::of(leaving.map(|victim| victim.loss)), room))
}

#[cfg(test)]
mod tests;
