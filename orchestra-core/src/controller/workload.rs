//! What the controllers of workloads know in common: who owns what, and how pods stand.

mod roster;
mod rosters;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::client::{Client, ClientError};
use crate::engine::{Cache, CacheChange, Caches, Index};
use crate::model::{
    Deployment, EndpointSlice, LabelSelector, ObjectKey, ObjectMeta, OwnerReference, Pod, ReplicaSet,
    Resource, Uid,
};
use rosters::Rosters;
pub(super) use standing::{Readiness, Standing, is_held_back, restarts, settles_after};

/// Slices by the uid of a pod that they list as ready, and the service that they list it for.
type ListedPods = Index<EndpointSlice, (Uid, String)>;

/// The indexes that the controllers of workloads share. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct WorkloadIndexes {
    pub(super) deployments: Arc<Cache<Deployment>>,
    pub(super) replica_sets: Arc<Cache<ReplicaSet>>,
    /// Replica sets by the uid of the owner that manages them.
    pub(super) sets_of: Index<ReplicaSet, Uid>,
    /// Replica sets that nobody manages, by namespace.
    pub(super) orphan_sets: Index<ReplicaSet, String>,
    pub(super) pods: Arc<Cache<Pod>>,
    /// The pods of each owner, and how they stand.
    pub(super) rosters: Arc<Rosters>,
    /// Pods that nobody manages, by namespace.
    pub(super) orphan_pods: Index<Pod, String>,
}

fn controller_uid(meta: &ObjectMeta) -> Vec<Uid> {
    meta.controller().map(|owner| owner.uid.clone()).into_iter().collect()
}

fn orphan_namespace(meta: &ObjectMeta) -> Vec<String> {
    if meta.controller().is_none() { vec![meta.namespace.clone()] } else { Vec::new() }
}

impl WorkloadIndexes {
    /// Indexes over `caches`. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(caches: &Caches) -> Self {
        let (replica_sets, pods) = (caches.of::<ReplicaSet>(), caches.of::<Pod>());
        let listed = caches.of::<EndpointSlice>().index(|slice| {
            let service = slice.service_name().unwrap_or_default();
            ready_pods(slice).map(|uid| (uid.clone(), service.to_owned())).collect()
        });
        Self {
            deployments: caches.of(),
            sets_of: replica_sets.index(|set| controller_uid(&set.metadata)),
            orphan_sets: replica_sets.index(|set| orphan_namespace(&set.metadata)),
            replica_sets,
            rosters: Rosters::new(caches, listed),
            orphan_pods: pods.index(|pod| orphan_namespace(&pod.metadata)),
            pods,
        }
    }

    /// The deployment that manages `set`.
    pub(super) fn deployment_of(&self, set: &ReplicaSet) -> Option<Arc<Deployment>> {
        owner_of(&set.metadata, &self.deployments)
    }

    /// The replica set that manages `pod`.
    pub(super) fn replica_set_of(&self, pod: &Pod) -> Option<Arc<ReplicaSet>> {
        owner_of(&pod.metadata, &self.replica_sets)
    }
}

/// The `T` that manages an object, where it is still that one and not another of the same name.
pub(super) fn owner_of<T: Resource>(part: &ObjectMeta, cache: &Cache<T>) -> Option<Arc<T>> {
    let owner = part.controller().filter(|owner| owner.kind == T::INFO.kind)?;
    let found = cache.get(&ObjectKey::new::<T>(part.namespace.as_str(), owner.name.as_str()))?;
    (found.meta().uid == owner.uid).then_some(found)
}

/// The pods that a slice lists as ready for new requests.
fn ready_pods(slice: &EndpointSlice) -> impl Iterator<Item = &Uid> {
    let ready = slice.endpoints.iter().filter(|e| e.conditions.is_ready() && !e.conditions.is_terminating());
    ready.filter_map(|e| e.target_ref.as_ref()).map(|target| &target.uid)
}

/// The pods that a change of a slice adds to the ready ones, or takes from them.
pub(super) fn changed_pods(change: &CacheChange<'_, EndpointSlice>, mut found: impl FnMut(ObjectKey)) {
    let ready = |slice: Option<&Arc<EndpointSlice>>| -> std::collections::BTreeSet<Uid> {
        slice.map(|slice| ready_pods(slice).cloned().collect()).unwrap_or_default()
    };
    let (old, new) = (ready(change.old), ready(change.new));
    for slice in [change.old, change.new].into_iter().flatten() {
        for target in slice.endpoints.iter().filter_map(|e| e.target_ref.as_ref()) {
            if old.contains(&target.uid) != new.contains(&target.uid) {
                found(ObjectKey::new::<Pod>(change.key.namespace.as_ref(), target.name.as_str()));
            }
        }
    }
}

/// Which objects an owner manages, and which it is to take up or to let go.
#[derive(Debug)]
pub(super) struct Claims<T> {
    pub(super) owned: Vec<Arc<T>>,
    adopt: Vec<Arc<T>>,
    release: Vec<Arc<T>>,
}

impl<T: Resource> Claims<T> {
    /// What bears the owner's uid is its own while its labels match; what nobody manages and matches is taken up.
    /// What another manages is never touched, whatever its labels.
    pub(super) fn of(selector: &LabelSelector, owned: Vec<Arc<T>>, orphans: Vec<Arc<T>>) -> Self {
        let matches = |object: &Arc<T>| !selector.is_empty() && selector.matches(&object.meta().labels);
        let (owned, mut release): (Vec<_>, Vec<_>) = owned.into_iter().partition(matches);
        release.retain(|object| !object.meta().is_deleting());
        let mut adopt = orphans;
        adopt.retain(|object| matches(object) && !object.meta().is_deleting());
        Self { owned, adopt, release }
    }

    /// Takes up and lets go. Answers whether there was anything to do: then what is owned is seen anew.
    pub(super) async fn settle<O: Resource>(&self, client: &Client, owner: &O) -> Result<bool, ClientError> {
        if self.adopt.is_empty() && self.release.is_empty() {
            return Ok(false);
        }
        let uid = owner.meta().uid.clone();
        let (key, revision) = (ObjectKey::of(owner), owner.meta().resource_version);
        let mut transaction = client.transaction().require_uid(key.clone(), uid.clone());
        if !self.adopt.is_empty() {
            // An owner that is deleted meanwhile may just have set them free: taken up again, they would go with it.
            transaction = transaction.require_revision(key, revision);
        }
        for orphan in &self.adopt {
            let mut object = (**orphan).clone();
            object.meta_mut().owner_references.push(OwnerReference::controller_of(owner));
            transaction = transaction.update(object);
        }
        for stray in &self.release {
            let mut object = (**stray).clone();
            object.meta_mut().owner_references.retain(|owner| owner.uid != uid);
            transaction = transaction.update(object);
        }
        transaction.commit().await?;
        Ok(true)
    }
}
