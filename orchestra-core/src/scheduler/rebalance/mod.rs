//! Moving pods so that the cluster is used better.

mod company;
mod search;

use std::fmt;
use std::sync::Arc;

use super::what_if::One;
use super::{Decider, NodeView, Scheduler, View};
use crate::model::Pod;

/// How many moves are proposed at most, unless said otherwise.
pub const DEFAULT_MOVES: usize = 16;

/// An annotation with the value `false` on pods that must not be moved: the cluster autoscaler's.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// What a cluster costs: the sum over its nodes, the less the better. Of a node nothing may count but what is on it, so that
/// a move changes the costs of two nodes alone. A closure will do.
pub trait Objective: Send + Sync + 'static {
    /// What this node costs as it is.
    fn cost(&self, node: &NodeView<'_>) -> f64;
}

impl<F: Fn(&NodeView<'_>) -> f64 + Send + Sync + 'static> Objective for F {
    fn cost(&self, node: &NodeView<'_>) -> f64 {
        self(node)
    }
}

const _: fn(&dyn Objective) = |_| {};

/// What moves are for.
enum Goal {
    EmptyNodes,
    Lower(Box<dyn Objective>),
}

/// Proposes moves of pods, a bounded number of them.
///
/// The moves are to be made in their order, each when the pod that takes the moved one's place is available. Then at no step
/// - is a disruption budget broken: each pod that moves may be evicted by the budgets as they are known,
/// - is a hard constraint broken: the pod can go where it goes by all filters of its scheduler, and every other pod whose
///   required affinity or hard spread holds keeps it, also between the two halves of a move,
/// - has a node too little room.
///
/// A pod is moved once at most, and only one that a controller makes anew: none of a DaemonSet's, none on its way out, and none
/// with the annotation `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`. [`movable`](Self::movable) says it otherwise.
///
/// It tries the moves out in the view, as a [`WhatIf`](super::WhatIf) does, and takes them back. The work is bounded: a
/// few dozen pods are tried for each move.
///
/// ```
/// # use std::sync::Arc;
/// # use orchestra_core::model::{Container, Node, OwnerReference, Pod, PodSpec, Uid};
/// # use orchestra_core::scheduler::{Pipeline, Rebalance, View};
/// let mut view = View::new();
/// for name in ["a", "b"] {
///     view.node_changed(&Arc::new(Node::new(name).capacity("cpu", "4").capacity("pods", "10")));
///     let spec = PodSpec::new(Container::new("main", "web").request("cpu", "1"));
///     let mut pod = Pod::new(format!("on-{name}")).spec(spec).node(name);
///     pod.metadata.uid = Uid::from(name);
///     view.pod_changed(&Arc::new(pod));
/// }
/// let plan = Rebalance::emptying_nodes().movable(|_pod| true).plan(&mut Pipeline::kubernetes(), &mut view);
/// assert_eq!(plan.to_string(), "1 move, cost 2 -> 1: /on-a a -> b");
/// assert_eq!(plan.emptied().collect::<Vec<_>>(), ["a"]);
///
/// // Any other measure of a node, such as the fragmentation of its GPUs, is a closure.
/// let crowded = |node: &orchestra_core::scheduler::NodeView<'_>| (node.pods().len() as f64).powi(2);
/// assert!(Rebalance::lowering(crowded).plan(&mut Pipeline::kubernetes(), &mut view).moves().is_empty());
/// ```
#[must_use]
pub struct Rebalance {
    goal: Goal,
    most_moves: usize,
    movable: Box<dyn Fn(&Pod) -> bool + Send + Sync>,
}

impl Rebalance {
    /// For as many nodes as can be without pods, but for those of DaemonSets: the emptiest first.
    pub fn emptying_nodes() -> Self {
        Self::towards(Goal::EmptyNodes)
    }

    /// For less of what `objective` says that a node costs: the move that saves most first.
    pub fn lowering(objective: impl Objective) -> Self {
        Self::towards(Goal::Lower(Box::new(objective)))
    }

    fn towards(goal: Goal) -> Self {
        Self { goal, most_moves: DEFAULT_MOVES, movable: Box::new(is_movable) }
    }

    /// No more moves than this.
    pub fn most_moves(mut self, moves: usize) -> Self {
        self.most_moves = moves;
        self
    }

    /// Only pods of which this is true, whoever made them. Those on their way out are never moved.
    pub fn movable(mut self, movable: impl Fn(&Pod) -> bool + Send + Sync + 'static) -> Self {
        self.movable = Box::new(movable);
        self
    }

    /// The moves, for pods that `scheduler` places. The view is afterwards as before.
    pub fn plan(&self, scheduler: &mut dyn Scheduler, view: &mut View) -> RebalancePlan {
        self.plan_by(&mut One(scheduler), view)
    }

    pub(crate) fn plan_by(&self, decider: &mut dyn Decider, view: &mut View) -> RebalancePlan {
        view.what_if(|view| search::Search::new(self, decider, view).run())
    }
}

impl fmt::Debug for Rebalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebalance").field("most_moves", &self.most_moves).finish_non_exhaustive()
    }
}

/// Whether a controller makes the pod anew elsewhere, and nobody minds.
fn is_movable(pod: &Pod) -> bool {
    pod.metadata.controller().is_some_and(|owner| owner.kind != "DaemonSet")
        && pod.metadata.annotations.value(SAFE_TO_EVICT) != Some("false")
}

/// Whether the pod belongs to its node, and does not keep it from being empty.
fn is_of_node(pod: &Pod) -> bool {
    pod.metadata.controller().is_some_and(|owner| owner.kind == "DaemonSet")
}

/// One pod that would be moved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Move {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The node that it is on.
    pub from: Arc<str>,
    /// The node that can take it.
    pub to: Arc<str>,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = &self.pod.metadata;
        write!(f, "{}/{} {} -> {}", meta.namespace, meta.name, self.from, self.to)
    }
}

/// Moves, in their order.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RebalancePlan {
    moves: Vec<Move>,
    emptied: Vec<Arc<str>>,
    before: f64,
    after: f64,
}

impl RebalancePlan {
    /// The moves.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// The nodes that are empty afterwards and were not before, where that is the goal.
    pub fn emptied(&self) -> impl Iterator<Item = &str> {
        self.emptied.iter().map(|node| &**node)
    }

    /// What the cluster costs now: by the objective, or the number of nodes that are not empty.
    #[must_use]
    pub fn cost_before(&self) -> f64 {
        self.before
    }

    /// What it will cost.
    #[must_use]
    pub fn cost_after(&self) -> f64 {
        self.after
    }
}

impl fmt::Display for RebalancePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moves = self.moves.len();
        write!(
            f,
            "{moves} move{}, cost {} -> {}",
            if moves == 1 { "" } else { "s" },
            self.before,
            self.after
        )?;
        for (i, step) in self.moves.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
