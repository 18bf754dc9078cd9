//! A score against fragments: room that is left and of no use for the pods that come.

mod memo;
mod room;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::GPU;
use crate::scheduler::{NodeView, PodInfo, Points, Reads, Score, TypicalPods, View};
use memo::Memo;
use room::Room;

/// How many thousandths more of a fragment, about, make a node lose a quarter of all points: one GPU, or a node's all.
const SCALE: f64 = 1000.0;

/// Prefers the node whose room becomes least useless: fragmentation gradient descent, by Weng et al., "Beware of
/// Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023.
///
/// What is left on a node is a *fragment* for a typical pod that can't use it: all of it, where the pod does not fit or asks
/// for none of it; else, of GPUs, the devices that have too little left each. A node's fragmentation is the mean over
/// [`TypicalPods`], each counting for its part of all pods. The points follow from what the pod would change of it: 50 where
/// that is nothing, more where fragmentation shrinks, on an S-curve (75 or so for one GPU less).
///
/// Measured are GPUs, in thousandths of one; on nodes without any, CPU and memory, in thousandths of what the node has.
/// [`measuring`](Self::measuring) changes that. Nodes often get equal or nearly equal points, so
/// [`BestFit`](super::BestFit) belongs to it, with a small weight:
/// [`PipelineBuilder::fragmentation`](crate::scheduler::PipelineBuilder::fragmentation) has both.
pub struct Fragmentation {
    /// `None`: those that the view has learnt.
    typical: Option<TypicalPods>,
    measured: Vec<Arc<str>>,
    memo: Mutex<Memo>,
}

impl Fragmentation {
    /// For these pods.
    #[must_use]
    pub fn of(typical: TypicalPods) -> Self {
        Self { typical: Some(typical), ..Self::learning() }
    }

    /// For the pods that the view has seen most, see [`View::learn_typical_pods`]. Before it has seen some, all nodes get 50
    /// points.
    #[must_use]
    pub fn learning() -> Self {
        Self { typical: None, measured: Vec::new(), memo: Mutex::default() }
    }

    /// Measures these resources instead: `nvidia.com/gpu` device by device, in thousandths of one, all others in thousandths of what
    /// the node has of them.
    #[must_use]
    pub fn measuring<N: Into<Arc<str>>>(mut self, resources: impl IntoIterator<Item = N>) -> Self {
        self.measured = resources.into_iter().map(Into::into).collect();
        self
    }

    /// The fragmentation of a node, in thousandths, as the mean over the typical pods.
    #[must_use]
    pub fn fragments(&self, node: &NodeView<'_>) -> f64 {
        let typical = self.typical(node.view());
        self.measure(typical, &Room::of(node, typical), node)
    }

    fn typical<'a>(&'a self, view: &'a View) -> &'a TypicalPods {
        self.typical.as_ref().unwrap_or_else(|| view.typical_pods())
    }

    fn measure(&self, typical: &TypicalPods, room: &Room, node: &NodeView<'_>) -> f64 {
        if !self.measured.is_empty() {
            return self.measured.iter().map(|name| one(typical, room, node, name)).sum();
        }
        if node.gpus().len() == 0 {
            return one(typical, room, node, "cpu") + one(typical, room, node, "memory");
        }
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        memo.get(typical, room, || room.gpu_fragments(typical.shapes()))
    }
}

fn one(typical: &TypicalPods, room: &Room, node: &NodeView<'_>, resource: &str) -> f64 {
    if resource == GPU {
        return room.gpu_fragments(typical.shapes());
    }
    match typical.resources().iter().position(|(name, _)| **name == *resource) {
        Some(at) => room.fragments(typical.shapes(), at, node.allocatable(resource)),
        // No typical pod asks for it.
        None => 0.0,
    }
}

impl Score for Fragmentation {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let typical = self.typical(node.view());
        let before = Room::of(node, typical);
        let after = before.without(pod, node.view(), typical);
        let less = (self.measure(typical, &before, node) - self.measure(typical, &after, node)) / SCALE;
        // Like a logistic function, of operations that give the same everywhere.
        Points::new(50.0 * (1.0 + less / (4.0 + less * less).sqrt()))
    }

    fn reads(&self) -> Reads {
        Reads::NODE | Reads::USAGE
    }

    fn version(&self, _pod: &PodInfo, view: &View) -> u64 {
        if self.typical.is_some() { 0 } else { view.typical_pods_version() }
    }

    fn prepare(&self, view: &mut View) {
        if self.typical.is_none() {
            view.learn_typical_pods();
        }
    }
}

impl fmt::Debug for Fragmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragmentation").field("typical", &self.typical).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
