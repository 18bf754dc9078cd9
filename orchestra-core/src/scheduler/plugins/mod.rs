//! Kubernetes' filters and scores that look at one node at a time.

mod allocation;
mod best_fit;
mod capacity_ratio;
mod fragmentation;
mod image_locality;
mod node_affinity;
mod ports;
mod resource_fit;
mod taints;
mod volumes;

use std::any::TypeId;

pub(crate) use allocation::Allocation;
pub use allocation::{BalancedAllocation, LeastAllocated, MostAllocated};
pub use best_fit::BestFit;
pub use capacity_ratio::RequestedToCapacityRatio;
pub use fragmentation::Fragmentation;
pub use image_locality::ImageLocality;
pub(crate) use image_locality::has_images_somewhere;
pub use node_affinity::{NodeAffinityFilter, NodeAffinityScore};
pub(crate) use node_affinity::{chooses, chosen, prefers_nodes};
pub use ports::HostPorts;
pub use resource_fit::ResourceFit;
pub use taints::{TaintFilter, TaintScore, Unschedulable};
pub(crate) use taints::{keeps_away, untolerated};
pub use volumes::VolumeBinding;

/// Whether `score` is the type of one of ours whose points follow from the pod and the node object alone: from its taints, its
/// images, and for pods that [prefer](prefers_nodes) nodes from all of it.
pub(crate) fn reads_nodes_alone(score: TypeId) -> bool {
    let ours = [TypeId::of::<TaintScore>(), TypeId::of::<NodeAffinityScore>(), TypeId::of::<ImageLocality>()];
    ours.contains(&score)
}

/// Whether `plugin` is the type of one of ours whose version is always 0: they need not be asked.
pub(crate) fn has_no_versions(plugin: TypeId) -> bool {
    let ours = [
        TypeId::of::<Unschedulable>(),
        TypeId::of::<TaintFilter>(),
        TypeId::of::<TaintScore>(),
        TypeId::of::<NodeAffinityFilter>(),
        TypeId::of::<NodeAffinityScore>(),
        TypeId::of::<ResourceFit>(),
        TypeId::of::<HostPorts>(),
        TypeId::of::<LeastAllocated>(),
        TypeId::of::<BalancedAllocation>(),
    ];
    ours.contains(&plugin)
}
