//! Keeping a number of equal pods.

mod causes;
mod guard;
mod pace;
mod ranking;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::workload::{Claims, WorkloadIndexes};
use crate::client::Client;
use crate::engine::{Caches, Controller, Next, ReconcileError, Reconciler, Recorder, Tasks};
use crate::model::{Deployment, EndpointSlice, ObjectKey, Pod, ReplicaSet};
use crate::rng::Rng;
use causes::Causes;
pub(super) use guard::budget_of;
use pace::Pace;
use work::Work;

/// Makes and deletes the pods of each replica set.
#[derive(Debug)]
pub struct ReplicaSetController {
    indexes: WorkloadIndexes,
    recorder: Recorder,
    paces: Mutex<BTreeMap<ObjectKey, Pace>>,
}

impl ReplicaSetController {
    /// Starts the controller in `tasks`.
    pub fn start(
        indexes: &WorkloadIndexes,
        client: &Client,
        caches: &Caches,
        recorder: &Recorder,
        rng: &Rng,
        tasks: &Tasks,
    ) {
        let reconciler = Self {
            indexes: indexes.clone(),
            recorder: recorder.component("replicaset-controller"),
            paces: Mutex::default(),
        };
        let controller = Controller::new("replica-set", client, caches, rng).on_desired::<ReplicaSet>();
        let causes = Causes { indexes: indexes.clone(), queue: controller.queue() };
        let (by_set, by_slice, by_deployment) = (causes.clone(), causes.clone(), causes.clone());
        caches.of::<Pod>().on_change(move |change| causes.pod(change));
        caches.of::<ReplicaSet>().on_change(move |change| by_set.set(change));
        caches.of::<EndpointSlice>().on_change(move |change| by_slice.slice(change));
        caches.of::<Deployment>().on_change(move |change| by_deployment.deployment(change));
        controller.start(reconciler, tasks);
    }
}

#[async_trait]
impl Reconciler for ReplicaSetController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(set) = self.indexes.replica_sets.get(key) else {
            self.paces().remove(key);
            return Ok(Next::OnChange);
        };
        let client = client.namespace(Arc::clone(&key.namespace));
        let deleting = set.metadata.is_deleting();
        if !deleting {
            let strays =
                self.indexes.rosters.read(&set.metadata.uid, |roster| roster.strays(&set.spec.selector));
            // One that has ended is its owner's to look at: taken up, it would be replaced and deleted.
            let mut orphans = self.indexes.orphan_pods.get(&*key.namespace);
            orphans.retain(|pod| !pod.is_terminal());
            if Claims::of(&set.spec.selector, strays, orphans).settle(&client, &*set).await? {
                return Ok(Next::OnChange);
            }
        }
        let mut work = Work::new(self, &set, client.clock().now());
        if !deleting {
            work.plan(&client);
        }
        work.carry_out(&client).await
    }
}

impl ReplicaSetController {
    fn paces(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Pace>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
