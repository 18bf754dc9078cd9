//! The controllers: each brings one kind of object from what is to what shall be.

mod disruption;
mod endpoints;
mod garbage;
mod namespace;
mod node_lifecycle;
mod scheduling;

pub use disruption::DisruptionController;
pub use endpoints::{EndpointsController, TRAFFIC_LABEL};
pub use garbage::GarbageCollector;
pub use namespace::NamespaceController;
pub use scheduling::{Schedulers, SchedulingLoop};
pub use node_lifecycle::{
    NODE_LEASE_NAMESPACE, NOT_READY, NodeLifecycleController, NodeLifecycleOptions, UNREACHABLE,
};
