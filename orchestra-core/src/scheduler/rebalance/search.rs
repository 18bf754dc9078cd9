//! Looking for moves.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::company::Company;
use super::{Goal, Move, Objective, Rebalance, RebalancePlan, is_of_node};
use crate::model::{Pod, Uid};
use crate::scheduler::{Decider, NodeId, NodeView, Pipeline, View};

/// How many pods are tried for a move by an objective: those of the nodes that cost most.
const MAX_CANDIDATES: usize = 64;
/// How many nodes are tried for each of them: those with least left.
const MAX_DESTINATIONS: usize = 128;
/// Costs that differ by less are equal.
const LEAST_GAIN: f64 = 1e-9;

pub(super) struct Search<'a> {
    rebalance: &'a Rebalance,
    decider: &'a mut dyn Decider,
    view: &'a mut View,
    /// What hard constraints of pods are judged by.
    constraints: Pipeline,
    moved: BTreeSet<Uid>,
    moves: Vec<Move>,
}

impl<'a> Search<'a> {
    pub(super) fn new(rebalance: &'a Rebalance, decider: &'a mut dyn Decider, view: &'a mut View) -> Self {
        let (moved, moves) = (BTreeSet::new(), Vec::new());
        Self { rebalance, decider, view, constraints: Pipeline::constraints(), moved, moves }
    }

    pub(super) fn run(mut self) -> RebalancePlan {
        let goal = &self.rebalance.goal;
        let before = cost(goal, self.view);
        let emptied = match goal {
            Goal::EmptyNodes => self.empty_nodes(),
            Goal::Lower(objective) => {
                while self.moves.len() < self.rebalance.most_moves && self.lower(&**objective) {}
                Vec::new()
            }
        };
        let after = cost(goal, self.view);
        RebalancePlan { moves: self.moves, emptied, before, after }
    }

    /// Empties one node after the other, where all of its pods can go to nodes that are not empty.
    fn empty_nodes(&mut self) -> Vec<Arc<str>> {
        let mut nodes: Vec<(i64, Arc<str>, NodeId)> = self
            .view
            .nodes()
            .filter(|node| !is_empty(node))
            .map(|node| (thousandths_used(&node), node.name().into(), node.id()))
            .collect();
        nodes.sort();
        let mut emptied = Vec::new();
        for (_, name, id) in nodes {
            let (mark, moves) = (self.view.mark(), self.moves.len());
            if self.clear(id) {
                self.view.keep(mark);
                emptied.push(name);
            } else {
                self.view.roll_back(mark);
                for given_up in self.moves.drain(moves..) {
                    self.moved.remove(&given_up.pod.metadata.uid);
                }
            }
        }
        emptied
    }

    /// Moves all pods of a node elsewhere. Answers whether that worked; if not, some may have been moved.
    fn clear(&mut self, id: NodeId) -> bool {
        let Some(node) = self.view.node(id) else { return false };
        let mut pods: Vec<Arc<Pod>> = node.pods().filter(|pod| !is_of_node(pod)).cloned().collect();
        if pods.len() + self.moves.len() > self.rebalance.most_moves {
            return false;
        }
        // The largest first, while there is room; of equal ones the first by name.
        let size = |pod: &Arc<Pod>| pod.spec.requests().get("cpu").copied().unwrap_or_default().milli();
        pods.sort_by_key(|pod| (-size(pod), pod.metadata.namespace.clone(), pod.metadata.name.clone()));
        !pods.is_empty() && pods.iter().all(|pod| self.may_move(pod) && self.move_from(pod, id))
    }

    /// Moves a pod to the fullest node that can take it.
    fn move_from(&mut self, pod: &Arc<Pod>, from: NodeId) -> bool {
        let company = Company::of(self.view, &mut self.constraints, pod);
        let name = self.name(from);
        self.view.take_out(&pod.metadata.uid);
        if !company.is_kept(self.view, &mut self.constraints) {
            return false;
        }
        let places = self.destinations(pod, from, |node| !is_empty(node));
        places.into_iter().any(|to| self.settle(pod, &name, to, &company))
    }

    /// The nodes that can take a pod which is not in the view, the fullest first.
    fn destinations(
        &mut self,
        pod: &Arc<Pod>,
        from: NodeId,
        which: impl Fn(&NodeView<'_>) -> bool,
    ) -> Vec<NodeId> {
        let info = self.view.pod_info(pod);
        let reports = self.decider.report(self.view, &info);
        let view = &*self.view;
        let feasible = reports.iter().filter(|report| report.is_feasible());
        let nodes = feasible.filter_map(|report| view.node_named(&report.node));
        let mut nodes: Vec<NodeView<'_>> = nodes.filter(|node| node.id() != from && which(node)).collect();
        nodes.sort_by_cached_key(|node| (-thousandths_used(node), node.name().to_owned()));
        // Whatever a scheduler says of it, there must be room.
        nodes
            .into_iter()
            .filter(|node| node.fits(&info))
            .take(MAX_DESTINATIONS)
            .map(|node| node.id())
            .collect()
    }

    /// Puts a pod that is not in the view on a node, where everybody else can bear that.
    fn settle(&mut self, pod: &Arc<Pod>, from: &Arc<str>, to: NodeId, company: &Company) -> bool {
        let info = self.view.pod_info(pod);
        let mark = self.view.mark();
        let name = self.view.assume(&info, to);
        if !company.is_kept(self.view, &mut self.constraints) {
            self.view.roll_back(mark);
            return false;
        }
        self.view.keep(mark);
        self.moved.insert(pod.metadata.uid.clone());
        self.moves.push(Move { pod: Arc::clone(pod), from: Arc::clone(from), to: name });
        true
    }

    /// Makes the move that saves most. Answers whether there is one.
    fn lower(&mut self, objective: &dyn Objective) -> bool {
        let mut tried: Vec<(f64, Arc<Pod>, NodeId, NodeId)> = Vec::new();
        for (pod, from) in self.candidates(objective) {
            let best = self.best_move(objective, &pod, from);
            tried.extend(best.map(|(gain, to)| (gain, pod, from, to)));
        }
        tried.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.metadata.uid.cmp(&b.1.metadata.uid)));
        tried.into_iter().any(|(_, pod, from, to)| {
            let (mark, name) = (self.view.mark(), self.name(from));
            let company = Company::of(self.view, &mut self.constraints, &pod);
            self.view.take_out(&pod.metadata.uid);
            let moved =
                company.is_kept(self.view, &mut self.constraints) && self.settle(&pod, &name, to, &company);
            if moved {
                self.view.keep(mark);
            } else {
                self.view.roll_back(mark);
            }
            moved
        })
    }

    /// Pods that may be moved, from the nodes that cost most.
    fn candidates(&self, objective: &dyn Objective) -> Vec<(Arc<Pod>, NodeId)> {
        let mut nodes: Vec<_> = self.view.nodes().map(|node| (objective.cost(&node), node)).collect();
        nodes.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.name().cmp(b.1.name())));
        let pods = nodes.iter().flat_map(|(_, node)| {
            let mut pods: Vec<_> = node.pods().map(|pod| (Arc::clone(pod), node.id())).collect();
            pods.sort_by(|(a, _), (b, _)| a.metadata.uid.cmp(&b.metadata.uid));
            pods
        });
        pods.filter(|(pod, _)| self.may_move(pod)).take(MAX_CANDIDATES).collect()
    }

    /// Where moving the pod saves most, and how much.
    fn best_move(
        &mut self,
        objective: &dyn Objective,
        pod: &Arc<Pod>,
        from: NodeId,
    ) -> Option<(f64, NodeId)> {
        let cost = |view: &View, id: NodeId| view.node(id).map_or(0.0, |node| objective.cost(&node));
        let with = cost(self.view, from);
        let mark = self.view.mark();
        self.view.take_out(&pod.metadata.uid);
        let saved = with - cost(self.view, from);
        let info = self.view.pod_info(pod);
        let mut best: Option<(f64, NodeId)> = None;
        for to in self.destinations(pod, from, |_| true) {
            let without = cost(self.view, to);
            let more = self.view.what_if(|view| {
                view.assume(&info, to);
                cost(view, to)
            });
            let gain = saved - (more - without);
            if gain > best.map_or(LEAST_GAIN, |(gain, _)| gain + LEAST_GAIN) {
                best = Some((gain, to));
            }
        }
        self.view.roll_back(mark);
        best
    }

    /// Whether a pod may be moved at all, and its budgets can bear it.
    fn may_move(&self, pod: &Pod) -> bool {
        let uid = &pod.metadata.uid;
        !pod.is_terminating()
            && !self.moved.contains(uid)
            && !self.view.is_preempted(uid)
            && !self.view.is_assumed(uid)
            && (self.rebalance.movable)(pod)
            && self.view.budgets().purse(self.view).spend(pod)
    }

    fn name(&self, id: NodeId) -> Arc<str> {
        Arc::clone(&self.view.slots().slot(id).name)
    }
}

/// What the cluster costs.
fn cost(goal: &Goal, view: &View) -> f64 {
    match goal {
        Goal::EmptyNodes => view.nodes().map(|node| if is_empty(&node) { 0.0 } else { 1.0 }).sum(),
        Goal::Lower(objective) => view.nodes().map(|node| objective.cost(&node)).sum(),
    }
}

/// Whether no pod is on the node but those that belong to it.
fn is_empty(node: &NodeView<'_>) -> bool {
    node.pods().all(|pod| is_of_node(pod))
}

/// How much of CPU and memory is requested, each in thousandths of what there is, together.
fn thousandths_used(node: &NodeView<'_>) -> i64 {
    let used = |resource: &str| node.used(resource).saturating_mul(1000) / node.allocatable(resource).max(1);
    used("cpu") + used("memory")
}
