//! The controllers: each brings one kind of object from what is to what shall be.

mod autoscaler;
mod control_plane;
mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod namespace;
mod node_lifecycle;
mod replica_set;
mod scheduling;
mod selected;
#[cfg(test)]
mod testing;
mod volumes;
mod workload;

pub use autoscaler::{
    AutoscalerController, AutoscalerOptions, MetricQuery, MetricsBoard, MetricsSource, Scaling,
};
pub use control_plane::{ControlPlaneOptions, bootstrap, start};
pub use deployment::{
    DeploymentController, HASH_LABEL, REVISION, ROLLBACK_ON_FAILURE, ROLLED_BACK, ROLLOUT, Rollouts, UNDO_TO,
    is_rolled_out, undo,
};
pub use disruption::DisruptionController;
pub use endpoints::{EndpointsController, TRAFFIC_LABEL};
pub use garbage::GarbageCollector;
pub use namespace::NamespaceController;
pub use node_lifecycle::{
    NODE_LEASE_NAMESPACE, NOT_READY, NodeLifecycleController, NodeLifecycleOptions, UNREACHABLE,
};
pub use replica_set::ReplicaSetController;
pub use scheduling::{AskError, Schedulers, SchedulingDesk, SchedulingLoop};
pub use volumes::VolumeController;
pub use workload::WorkloadIndexes;
