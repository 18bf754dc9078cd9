//! A score for nodes that would have little left.

use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::{NodeView, PodInfo, Points, Reads, Score};

/// What counts as all there can be left of a resource: what the largest nodes have. 128 CPUs, 1 TiB, 8 GPUs.
const MOST: [(ResourceId, i64); 3] =
    [(ResourceId::CPU, 128_000), (ResourceId::MEMORY, 1 << 40), (ResourceId::GPU_MILLI, 8_000)];

/// Prefers the node that would have the least left of CPU, memory and GPUs, in what is left and not in parts of what the
/// node has: so small nodes fill up before large ones, and pods without GPUs go where none are.
///
/// 100 points, less the mean of what would be left of 128 CPUs, 1 TiB and 8 GPUs, in percent. More counts as that.
#[derive(Clone, Copy, Debug, Default)]
pub struct BestFit;

impl Score for BestFit {
    #[allow(clippy::cast_precision_loss, reason = "scores need no more digits")]
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let left = MOST.map(|(resource, most)| {
            let taken = node.used_of(resource) + pod.class().request(resource);
            (node.allocatable_of(resource) - taken).clamp(0, most) as f64 / most as f64
        });
        Points::fraction(1.0 - left.iter().sum::<f64>() / MOST.len() as f64)
    }

    fn reads(&self) -> Reads {
        Reads::NODE | Reads::USAGE
    }
}
