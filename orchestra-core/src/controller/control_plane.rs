//! All controllers of a cluster, started together.

use super::{
    AutoscalerController, DeploymentController, DisruptionController, EndpointsController, GarbageCollector,
    NODE_LEASE_NAMESPACE, NamespaceController, NodeLifecycleController, NodeLifecycleOptions,
    ReplicaSetController, Rollouts, Scaling, Schedulers, SchedulingDesk, SchedulingLoop, VolumeController,
    WorkloadIndexes,
};
use crate::client::{Client, ClientError, DEFAULT_NAMESPACE};
use crate::engine::{Caches, Recorder, Tasks};
use crate::model::Namespace;
use crate::rng::Rng;

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 3] = [DEFAULT_NAMESPACE, "kube-system", NODE_LEASE_NAMESPACE];

/// What a control plane decides with.
#[derive(Debug)]
pub struct ControlPlaneOptions {
    /// The schedulers, by the name that pods ask for.
    pub schedulers: Schedulers,
    /// The rollouts, by the name that Deployments ask for.
    pub rollouts: Rollouts,
    /// What autoscalers decide with, and by.
    pub scaling: Scaling,
    /// How silent nodes are judged.
    pub node_lifecycle: NodeLifecycleOptions,
}

/// Creates the namespaces and the storage class that every cluster has, where they are not there.
///
/// # Errors
/// A failure of the store.
pub async fn bootstrap(client: &Client) -> Result<(), ClientError> {
    for name in NAMESPACES {
        match client.create(Namespace::new(name)).await {
            Err(ClientError::AlreadyExists(_)) => {}
            result => drop(result?),
        }
    }
    super::volumes::bootstrap(client).await
}

/// Starts all controllers and the scheduling loop in `tasks`. Answers where to ask the schedulers.
pub fn start(
    options: ControlPlaneOptions,
    client: &Client,
    caches: &Caches,
    recorder: &Recorder,
    rng: &Rng,
    tasks: &Tasks,
) -> SchedulingDesk {
    let indexes = WorkloadIndexes::new(caches);
    GarbageCollector::start(client, rng, tasks);
    NamespaceController::start(client, caches, rng, tasks);
    EndpointsController::start(client, caches, rng, tasks);
    DisruptionController::start(client, caches, rng, tasks);
    let volumes = recorder.component("volume-controller");
    VolumeController::start(client, caches, volumes, rng, tasks);
    let lifecycle = recorder.component("node-controller");
    NodeLifecycleController::start(options.node_lifecycle, client, caches, lifecycle, rng, tasks);
    ReplicaSetController::start(&indexes, client, caches, recorder, rng, tasks);
    DeploymentController::start(options.rollouts, &indexes, client, caches, recorder, rng, tasks);
    AutoscalerController::start(options.scaling, &indexes, client, caches, recorder, rng, tasks);
    SchedulingLoop::start(options.schedulers, client, caches, recorder.component("scheduler"), tasks)
}
