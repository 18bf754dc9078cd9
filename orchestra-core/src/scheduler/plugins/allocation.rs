//! Scores by how full a node would be. They look at CPU and memory, as Kubernetes' do unless told otherwise.

use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::view::fraction;
use crate::scheduler::{NodeView, PodInfo, Points, Reads, Score};

/// What the allocation scores depend on.
const READS: Reads = Reads::NODE.union(Reads::USAGE);

/// How much of a node's CPU and memory would be requested with `pod` on it, each 0.0 to 1.0.
fn fractions(pod: &PodInfo, node: &NodeView<'_>) -> (f64, f64) {
    let of = |resource| fraction(node.used_with(resource, pod), node.allocatable_of(resource)).min(1.0);
    (of(ResourceId::CPU), of(ResourceId::MEMORY))
}

/// Prefers the node with most left: spreads load. 100 points for an empty node, 0 for a full one; the mean over
/// CPU and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastAllocated;

impl Score for LeastAllocated {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let (cpu, memory) = fractions(pod, node);
        Points::fraction(((1.0 - cpu) + (1.0 - memory)) / 2.0)
    }

    fn reads(&self) -> Reads {
        READS
    }
}

/// Prefers the node with least left: packs pods so that other nodes stay empty. The mirror of
/// [`LeastAllocated`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MostAllocated;

impl Score for MostAllocated {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let (cpu, memory) = fractions(pod, node);
        Points::fraction((cpu + memory) / 2.0)
    }

    fn reads(&self) -> Reads {
        READS
    }
}

/// Prefers the node whose CPU and memory would be equally full, so that neither is left over without the other.
/// 100 points less the standard deviation of the two fractions, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct BalancedAllocation;

impl Score for BalancedAllocation {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let (cpu, memory) = fractions(pod, node);
        Points::fraction(1.0 - (cpu - memory).abs() / 2.0)
    }

    fn reads(&self) -> Reads {
        READS
    }
}
