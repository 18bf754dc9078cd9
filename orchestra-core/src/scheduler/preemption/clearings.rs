//! What it would cost to clear each node for one class of pods, kept while single nodes change.

use std::cmp::Ordering;
use std::ops::Range;

use super::cost::Cost;
use super::order::Order;
use super::{Candidate, Room, Victim, candidate, clear, least_cost};
use crate::scheduler::view::log::Entry;
use crate::scheduler::{NodeId, NodeView, PodInfo, View};

/// The lists of pods of so many nodes are read before the first of them are weighed: a few near caches have them all.
const READ_AHEAD: usize = 64;

/// The nodes that could be cleared for the pods of one class, in order of cost and name. The cost is that for resources
/// alone: the least that clearing can cost.
///
/// Follows the view's log: what a node costs depends on the node, on its pods, and on disruption budgets. A change of
/// what a budget can bear makes all of it new.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Clearings {
    order: Order,
    /// How far the log was followed, and the version of the budgets; `None` before the first time.
    seen: Option<(u64, u64)>,
}

impl Clearings {
    /// The node that is cleared for `pod` at the least cost, such that `accepts` then has the pod there.
    ///
    /// `may_help` tells which nodes are worth it, by the node object alone. Every pod that leaves has a lower priority
    /// than `pod`; no disruption budget is overdrawn; and none of the pods that leave could stay. Equal costs are decided
    /// by the node's name.
    pub(in crate::scheduler) fn cheapest(
        &mut self,
        view: &mut View,
        pod: &PodInfo,
        may_help: impl Fn(&NodeView<'_>) -> bool,
        mut accepts: impl FnMut(&mut View, NodeId) -> bool,
    ) -> Option<Room> {
        self.catch_up(view, pod, &may_help);
        let mut best: Option<(Cost, Room)> = None;
        let mut tried: Vec<(usize, Cost)> = Vec::new();
        while let Some((number, least)) = self.order.first() {
            if best.as_ref().is_some_and(|(cost, _)| *cost <= least) {
                break;
            }
            let node = NodeId::from_index(number);
            let found = view.node(node).and_then(|node| candidate(view, pod, &node));
            let victims = |Candidate { victims, leaves, .. }: Candidate<'_>| {
                (victims.iter().map(|victim| Victim::new(view, victim)).collect::<Vec<_>>(), leaves)
            };
            let cleared = found.map(victims).and_then(|(victims, leaves)| {
                view.what_if(|view| clear(view, node, &victims, leaves, &mut accepts))
            });
            if let Some((cost, room)) = cleared {
                let is_better = |(least, other): &(Cost, Room)| {
                    cost.cmp(least).then_with(|| view.slots().by_name(node, other.node)).is_lt()
                };
                if best.as_ref().is_none_or(is_better) {
                    best = Some((cost, room));
                }
                // Nobody who follows costs less than this one does at least.
                if best.as_ref().is_some_and(|(cost, _)| *cost <= least) {
                    break;
                }
            }
            tried.push((number, least));
            self.order.set(number, None, &names(view));
        }
        for (number, least) in tried {
            self.order.set(number, Some(least), &names(view));
        }
        best.map(|(_, room)| room)
    }

    fn catch_up(&mut self, view: &View, pod: &PodInfo, may_help: &impl Fn(&NodeView<'_>) -> bool) {
        let now = (view.version(), view.budgets_version());
        let position = self.seen.filter(|(_, budgets)| *budgets == now.1).map(|(position, _)| position);
        let changes = position.and_then(|position| view.log().since(position));
        let cost = |id: NodeId| view.node(id).filter(may_help).and_then(|node| least_cost(view, pod, &node));
        if let Some(changes) = changes.filter(|changes| changes.len() <= view.len().max(64)) {
            let touched = changes.filter_map(|change| match change {
                Entry::Node(node, _) | Entry::Pod(node, ..) | Entry::Room(node) => Some(*node),
                Entry::Namespace => None,
            });
            let mut touched: Vec<NodeId> = touched.collect();
            touched.sort_unstable();
            touched.dedup();
            for node in touched {
                self.order.set(node.index(), cost(node), &names(view));
            }
        } else {
            let mut costs: Vec<Option<Cost>> = Vec::with_capacity(view.slots().len().next_power_of_two());
            let end = view.slots().len();
            let ids = |numbers: Range<usize>| numbers.map(NodeId::from_index);
            for start in (0..end).step_by(READ_AHEAD) {
                let some = start..end.min(start + READ_AHEAD);
                view.read_ahead_pods(ids(some.clone()));
                costs.extend(ids(some).map(cost));
            }
            self.order = Order::new(costs, &names(view));
        }
        self.seen = Some(now);
    }
}

/// Orders nodes by name.
fn names(view: &View) -> impl Fn(usize, usize) -> Ordering {
    move |a, b| view.slots().by_name(NodeId::from_index(a), NodeId::from_index(b))
}
