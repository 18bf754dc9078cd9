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

pub(crate) use allocation::Allocation;
pub use allocation::{BalancedAllocation, LeastAllocated, MostAllocated};
pub use best_fit::BestFit;
pub use capacity_ratio::RequestedToCapacityRatio;
pub use fragmentation::Fragmentation;
pub use image_locality::ImageLocality;
pub use node_affinity::{NodeAffinityFilter, NodeAffinityScore};
pub(crate) use node_affinity::{chooses, chosen};
pub use ports::HostPorts;
pub use resource_fit::ResourceFit;
pub(crate) use taints::untolerated;
pub use taints::{TaintFilter, TaintScore, Unschedulable};
pub use volumes::VolumeBinding;
