//! How many available pods a replica set may delete.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Transaction;
use crate::controller::deployment::{RECREATE, ROLLOUT};
use crate::controller::workload::{Readiness, WorkloadIndexes, is_held_back, settles_after};
use crate::model::{Deployment, ObjectKey, Pod, ReplicaSet, StrategyType, Timestamp};
use crate::rollout::Budget;

/// The budget that a deployment's strategy gives its rollouts.
pub(in crate::controller) fn budget_of(deployment: &Deployment) -> Budget {
    let replicas = deployment.spec.replicas;
    // Whoever asks for the rollout by name allows what it does, whatever the strategy says.
    let by_name = deployment.metadata.annotations.value(ROLLOUT) == Some(RECREATE);
    if by_name || deployment.spec.strategy.type_ == StrategyType::Recreate {
        return Budget::recreate(replicas);
    }
    let rolling = deployment.spec.strategy.rolling();
    Budget::resolve(rolling.max_surge, rolling.max_unavailable, replicas)
}

/// The promise that a deployment's pods stay available, kept at the moment when pods are deleted.
///
/// A rollout chooses sizes by what it sees; until the pods of a smaller size go, others may have failed. So deleting
/// an available pod is bound to the pods that are to stay: the commit happens only if they are still as they were
/// seen. Pods of the same version stand in for it once they are available, those of another once they are settled, too.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    deployment: Arc<Deployment>,
    floor: usize,
    /// The pods that count, of all versions, those that have been ready longest first.
    serving: Vec<Arc<Pod>>,
    /// When time alone next makes a pod count.
    pub(super) next: Option<Timestamp>,
}

impl Guard {
    /// The guard of `set`; `None` where no deployment manages it.
    pub(super) fn of(
        set: &ReplicaSet,
        indexes: &WorkloadIndexes,
        min_ready: Duration,
        now: Timestamp,
    ) -> Option<Self> {
        let deployment = indexes.deployment_of(set)?;
        let floor = budget_of(&deployment).floor(deployment.spec.replicas);
        let (mut serving, mut next) = (Vec::new(), None);
        for other in indexes.sets_of.get(&deployment.metadata.uid) {
            let same = other.metadata.uid == set.metadata.uid;
            let ready_for = if same { min_ready } else { settles_after(&other) };
            indexes.rosters.read(&other.metadata.uid, |roster| {
                let available =
                    roster.alive(ready_for, now).filter(|(_, stands)| *stands == Readiness::Available);
                serving.extend(available.map(|(pod, _)| pod).filter(|pod| !is_held_back(pod)).cloned());
                next = [next, roster.standing(ready_for, now).next].into_iter().flatten().min();
            });
        }
        serving.sort_by_cached_key(|pod: &Arc<Pod>| (pod.ready_since(), pod.metadata.name.clone()));
        Some(Self { deployment, floor: usize::try_from(floor).unwrap_or(usize::MAX), serving, next })
    }

    /// How many of the pods that count may go now.
    pub(super) fn spare(&self) -> usize {
        self.serving.len().saturating_sub(self.floor)
    }

    /// Binds a deletion of `victims` to what must stay.
    pub(super) fn bind<'c>(
        &self,
        mut transaction: Transaction<'c>,
        victims: &[ObjectKey],
    ) -> Transaction<'c> {
        let victims: std::collections::BTreeSet<&ObjectKey> = victims.iter().collect();
        let deployment = &*self.deployment;
        // As many may have become desired meanwhile that none may go.
        transaction =
            transaction.require_revision(ObjectKey::of(deployment), deployment.metadata.resource_version);
        let keys = self.serving.iter().map(|pod| (ObjectKey::of(&**pod), pod.metadata.resource_version));
        for (key, revision) in keys.filter(|(key, _)| !victims.contains(key)).take(self.floor) {
            transaction = transaction.require_revision(key, revision);
        }
        transaction
    }
}
