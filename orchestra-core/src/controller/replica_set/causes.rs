//! Which changes concern which replica sets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::budget_of;
use crate::controller::workload::{WorkloadIndexes, changed_pods};
use crate::engine::{CacheChange, Queue};
use crate::model::{Deployment, EndpointSlice, ObjectKey, Pod, ReplicaSet, Uid};

/// How long a large replica set waits for more changes of its pods, so that many of them are told in one status, and
/// from how many pods on it is large.
const WAIT: Duration = Duration::from_millis(10);
const LARGE: u32 = 200;

/// Which changes concern which replica sets.
#[derive(Clone, Debug)]
pub(super) struct Causes {
    pub(super) indexes: WorkloadIndexes,
    pub(super) queue: Arc<Queue<ObjectKey>>,
}

impl Causes {
    /// A pod that is new, gone, or stands in another way concerns its replica set; one that nobody manages, all that
    /// would have it.
    pub(super) fn pod(&self, change: &CacheChange<'_, Pod>) {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old.is_ready() == new.is_ready()
            && old.is_terminal() == new.is_terminal()
            && old.is_terminating() == new.is_terminating()
            && old.metadata.labels == new.metadata.labels
            && old.metadata.owner_references == new.metadata.owner_references
        {
            return;
        }
        for pod in [change.old, change.new].into_iter().flatten() {
            if let Some(set) = self.indexes.replica_set_of(pod) {
                self.soon(&set);
            } else if pod.metadata.controller().is_none() && !pod.metadata.labels.is_empty() {
                let sets = self.indexes.replica_sets.in_namespace(&pod.metadata.namespace);
                for set in sets.iter().filter(|set| set.spec.selector.matches(&pod.metadata.labels)) {
                    self.soon(set);
                }
            }
        }
    }

    /// A replica set whose numbers change may let others of its deployment give up pods.
    pub(super) fn set(&self, change: &CacheChange<'_, ReplicaSet>) {
        let Some(owner) = change.latest().and_then(|set| set.metadata.controller()) else { return };
        self.surplus_of(&owner.uid);
    }

    /// A deployment that may now have fewer pods available lets its replica sets give up what they had to keep.
    pub(super) fn deployment(&self, change: &CacheChange<'_, Deployment>) {
        let floor = |deployment: &Arc<Deployment>| budget_of(deployment).floor(deployment.spec.replicas);
        let (Some(old), Some(new)) = (change.old, change.new) else { return };
        if floor(new) < floor(old) {
            self.surplus_of(&new.metadata.uid);
        }
    }

    /// The replica sets of `owner` that have more pods than they should.
    fn surplus_of(&self, owner: &Uid) {
        for set in self.indexes.sets_of.get(owner) {
            if set.status.replicas > set.spec.replicas {
                self.soon(&set);
            }
        }
    }

    /// A pod that balancers now know, or don't know any more.
    pub(super) fn slice(&self, change: &CacheChange<'_, EndpointSlice>) {
        let mut sets = BTreeMap::new();
        changed_pods(change, |key| {
            let set = self.indexes.pods.get(&key).and_then(|pod| self.indexes.replica_set_of(&pod));
            if let Some(set) = set {
                sets.insert(ObjectKey::of(&*set), set);
            }
        });
        sets.values().for_each(|set| self.soon(set));
    }

    fn soon(&self, set: &ReplicaSet) {
        let pods = set.spec.replicas.max(set.status.replicas);
        let key = ObjectKey::of(set);
        if pods < LARGE {
            self.queue.add(key);
        } else {
            self.queue.add_after(key, WAIT);
        }
    }
}
