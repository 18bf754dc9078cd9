//! What it would cost to clear each node for one class of pods, kept while single nodes change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Candidate, Cost, Room, candidate, clear};
use crate::scheduler::view::log::Entry;
use crate::scheduler::view::pods::Record;
use crate::scheduler::{NodeId, NodeView, PodInfo, View};

/// The pods of so many nodes are read before the first of them are weighed: a few near caches have them all.
const READ_AHEAD: usize = 64;

/// A node at its place in the order in which nodes are cleared. The cost is that for resources alone: the least that
/// clearing it can cost.
type Clearing = (Cost, Arc<str>, NodeId);

/// The nodes that could be cleared for the pods of one class, in order of cost and name.
///
/// Follows the view's log: what a node costs depends on the node, on its pods, and on disruption budgets. A change of
/// what a budget can bear makes all of it new.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Clearings {
    order: BinaryHeap<Reverse<Clearing>>,
    /// What each node costs. What the order says of it beside that is out of date.
    costs: Vec<Option<Cost>>,
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
        let mut best: Option<(Cost, Arc<str>, Room)> = None;
        let mut seen: Vec<Clearing> = Vec::new();
        while let Some(Reverse(next)) = self.order.pop() {
            let (least, name, node) = &next;
            if !self.is_current(view, &next) || seen.last() == Some(&next) {
                continue;
            }
            if best.as_ref().is_some_and(|(cost, ..)| cost <= least) {
                seen.push(next);
                break;
            }
            let found = view.node(*node).and_then(|node| candidate(view, pod, &node));
            let found = found.map(|c| (c.victims.into_iter().cloned().collect::<Vec<Record>>(), c.leaves));
            let cleared = found.and_then(|(victims, leaves)| {
                view.what_if(|view| clear(view, *node, &victims, leaves, &mut accepts))
            });
            if let Some((cost, room)) = cleared
                && best.as_ref().is_none_or(|(least, first, _)| (&cost, name) < (least, first))
            {
                best = Some((cost, Arc::clone(name), room));
            }
            seen.push(next);
        }
        self.order.extend(seen.into_iter().map(Reverse));
        best.map(|(_, _, room)| room)
    }

    fn is_current(&self, view: &View, (cost, name, node): &Clearing) -> bool {
        let known = self.costs.get(node.index()).copied().flatten();
        // The number may be another node's by now.
        known.as_ref() == Some(cost) && view.slots().slot(*node).name == *name
    }

    fn catch_up(&mut self, view: &View, pod: &PodInfo, may_help: &impl Fn(&NodeView<'_>) -> bool) {
        let now = (view.version(), view.budgets_version());
        let position = self.seen.filter(|(_, budgets)| *budgets == now.1).map(|(position, _)| position);
        let changes = position.and_then(|position| view.log().since(position));
        // Not too much that is out of date is kept.
        let few = self.order.len() <= 2 * view.len() + 64;
        if let Some(changes) = changes.filter(|changes| few && changes.len() <= view.len().max(64)) {
            let touched = changes.filter_map(|change| match change {
                Entry::Node(node, _) | Entry::Pod(node, ..) | Entry::Room(node) => Some(*node),
                Entry::Namespace => None,
            });
            let mut touched: Vec<NodeId> = touched.collect();
            touched.sort_unstable();
            touched.dedup();
            for node in touched {
                self.update(view, pod, node, may_help);
            }
        } else {
            let costs = |node: NodeView<'_>| {
                let Candidate { cost, .. } = may_help(&node).then(|| candidate(view, pod, &node))??;
                Some((cost, Arc::clone(&view.slots().slot(node.id()).name), node.id()))
            };
            let nodes: Vec<NodeView<'_>> = view.nodes().collect();
            let mut all: Vec<Reverse<Clearing>> = Vec::with_capacity(nodes.len());
            for some in nodes.chunks(READ_AHEAD) {
                view.read_ahead_pods(some);
                all.extend(some.iter().copied().filter_map(costs).map(Reverse));
            }
            self.costs.clear();
            self.costs.resize(view.slots().len(), None);
            for Reverse((cost, _, node)) in &all {
                self.costs[node.index()] = Some(*cost);
            }
            self.order = all.into();
        }
        self.seen = Some(now);
    }

    /// Looks at one node again.
    fn update(&mut self, view: &View, pod: &PodInfo, id: NodeId, may_help: &impl Fn(&NodeView<'_>) -> bool) {
        if self.costs.len() <= id.index() {
            self.costs.resize(id.index() + 1, None);
        }
        let node = view.node(id).filter(may_help);
        let new = node.and_then(|node| candidate(view, pod, &node)).map(|found| found.cost);
        let old = std::mem::replace(&mut self.costs[id.index()], new);
        if let Some(cost) = new.filter(|new| Some(*new) != old) {
            self.order.push(Reverse((cost, Arc::clone(&view.slots().slot(id).name), id)));
        }
    }
}
