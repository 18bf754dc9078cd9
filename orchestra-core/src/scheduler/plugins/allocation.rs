//! Scores by how full a node would be. They look at CPU and memory, as Kubernetes' do unless told otherwise.
//!
//! They are worked out in 32-bit floats, one operation after the other as written here, so that one node alone and
//! many nodes side by side get the same points to the last bit.

use std::any::TypeId;

use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::view::{fullness, inverse};
use crate::scheduler::{NodeView, PodInfo, Points, Reads, Score};

/// What the allocation scores depend on.
const READS: Reads = Reads::NODE.union(Reads::USAGE);
/// 100 points, in thousandths.
const ALL: f32 = 100_000.0;

/// What an allocation score likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    Least,
    Most,
    Balanced,
}

impl Allocation {
    /// What the score of this type likes, where it is one of these.
    pub(crate) fn of(score: TypeId) -> Option<Self> {
        let known = [
            (TypeId::of::<LeastAllocated>(), Self::Least),
            (TypeId::of::<MostAllocated>(), Self::Most),
            (TypeId::of::<BalancedAllocation>(), Self::Balanced),
        ];
        known.iter().find(|(id, _)| *id == score).map(|(_, kind)| *kind)
    }

    /// The points for a node of which these parts, 0.0 to 1.0, would be requested: in thousandths, not rounded.
    #[inline(always)]
    pub(crate) fn thousandths(self, cpu: f32, memory: f32) -> f32 {
        match self {
            Self::Least => ((1.0 - cpu) + (1.0 - memory)) * (ALL / 2.0),
            Self::Most => (cpu + memory) * (ALL / 2.0),
            Self::Balanced => ALL - (cpu - memory).abs() * (ALL / 2.0),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "scores need no more digits")]
    fn score(self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let of = |resource| {
            let (used, more) = node.usage_of(resource, pod);
            fullness(used as f32, more as f32, inverse(node.allocatable_of(resource)))
        };
        Points::rounded(self.thousandths(of(ResourceId::CPU), of(ResourceId::MEMORY)))
    }
}

/// Prefers the node with most left: spreads load. 100 points for an empty node, 0 for a full one; the mean over
/// CPU and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastAllocated;

impl Score for LeastAllocated {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        Allocation::Least.score(pod, node)
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
        Allocation::Most.score(pod, node)
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
        Allocation::Balanced.score(pod, node)
    }

    fn reads(&self) -> Reads {
        READS
    }
}
