//! The control plane: the real controllers, each with its own way to the store, so that one knows who did what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::client::Client;
use orchestra_core::controller::{
    DeploymentController, DisruptionController, EndpointsController, GarbageCollector, NamespaceController,
    NodeLifecycleController, NodeLifecycleOptions, ReplicaSetController, Rollouts, Schedulers,
    SchedulingLoop, WorkloadIndexes,
};
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::model::Scheme;
use orchestra_core::scheduler::{Pipeline, Scheduler};
use orchestra_core::store::Store;

use super::process::{Actor, Link, Process};
use super::store::FaultyStore;
use super::world::World;

/// One life of the control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    process: Arc<Process>,
    tasks: Tasks,
}

impl ControlPlane {
    /// Starts all controllers.
    pub(crate) fn start(world: &Arc<World>, scheme: &Arc<Scheme>) -> Self {
        world.milestone(&super::event::Event::ControlStarted);
        let (process, link) = (Arc::new(Process::new()), Arc::new(Link::new()));
        let base = FaultyStore::new(world, Actor::Controller("caches"), &process, &link);
        let rng = world.rng.fork();
        let client = |name: &'static str| {
            let store: Arc<dyn Store> = Arc::new(base.of(Actor::Controller(name)));
            Client::new(store, Arc::clone(scheme), Arc::clone(&world.clock), rng.fork())
        };
        let tasks = Tasks::new();
        let caches = Caches::new(Arc::new(base.clone()), tasks.clone());
        let recorder = Recorder::start(&client("events"), "control-plane", &tasks);
        EndpointsController::start(&client("endpoints"), &caches, &rng, &tasks);
        GarbageCollector::start(&client("garbage"), &rng, &tasks);
        NamespaceController::start(&client("namespace"), &caches, &rng, &tasks);
        DisruptionController::start(&client("disruption"), &caches, &rng, &tasks);
        let indexes = WorkloadIndexes::new(&caches);
        let (deployments, sets) = (client("deployment"), client("replica-set"));
        DeploymentController::start(
            Rollouts::new(),
            &indexes,
            &deployments,
            &caches,
            &recorder,
            &rng,
            &tasks,
        );
        ReplicaSetController::start(&indexes, &sets, &caches, &recorder, &rng, &tasks);
        let options = NodeLifecycleOptions::default();
        let node_lifecycle = client("node-lifecycle");
        NodeLifecycleController::start(options, &node_lifecycle, &caches, recorder.clone(), &rng, &tasks);
        let scheduler: Box<dyn Scheduler> = Box::new(Pipeline::kubernetes());
        let schedulers: Schedulers = BTreeMap::from([("default-scheduler".to_owned(), scheduler)]);
        SchedulingLoop::start(schedulers, &client("scheduling"), &caches, recorder, &tasks);
        Self { process, tasks }
    }

    /// Everything stops at once, wherever it is.
    pub(crate) fn crash(&self) {
        self.process.kill();
        self.tasks.cancel();
    }

    /// It hears nothing of the store for a while.
    pub(crate) fn freeze(&self, time: Duration) {
        self.process.freeze(time);
    }
}
