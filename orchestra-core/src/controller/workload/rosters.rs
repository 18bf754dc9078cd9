//! The rosters of all owners, kept by the caches of pods, services and endpoint slices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::roster::Roster;
use super::standing::Standing;
use super::{ListedPods, changed_pods};
use crate::controller::endpoints::selects;
use crate::engine::{Cache, CacheChange, Caches};
use crate::model::{EndpointSlice, ObjectKey, Pod, Service, Timestamp, Uid};

/// The pods of each owner by its uid, and how they stand.
///
/// A roster is up to date with the cache of pods before that cache's listeners are called, and with services and slices
/// before theirs are.
#[derive(Debug)]
pub(in crate::controller) struct Rosters {
    by_owner: Mutex<BTreeMap<Uid, Roster>>,
    pods: Arc<Cache<Pod>>,
    services: Arc<Cache<Service>>,
    listed: ListedPods,
}

impl Rosters {
    pub(super) fn new(caches: &Caches, listed: ListedPods) -> Arc<Self> {
        let (pods, services) = (caches.of::<Pod>(), caches.of::<Service>());
        let rosters = Arc::new(Self {
            by_owner: Mutex::default(),
            pods: Arc::clone(&pods),
            services: Arc::clone(&services),
            listed,
        });
        let (by_pod, by_service, by_slice) =
            (Arc::clone(&rosters), Arc::clone(&rosters), Arc::clone(&rosters));
        pods.keep(move |change| by_pod.pod(change));
        services.keep(move |change| by_service.service(change));
        caches
            .of::<EndpointSlice>()
            .keep(move |change| changed_pods(change, |key| by_slice.look_again(&key)));
        rosters
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Roster>> {
        self.by_owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the roster of `owner`; an empty one where it has no pods.
    pub(in crate::controller) fn read<R>(&self, owner: &Uid, read: impl FnOnce(&Roster) -> R) -> R {
        match self.lock().get(owner) {
            Some(roster) => read(roster),
            None => read(&Roster::default()),
        }
    }

    /// How the pods of `owner` stand.
    pub(in crate::controller) fn standing(
        &self,
        owner: &Uid,
        min_ready: Duration,
        now: Timestamp,
    ) -> Standing {
        self.read(owner, |roster| roster.standing(min_ready, now))
    }

    /// The pods of `owner`, ordered by name.
    pub(in crate::controller) fn pods(&self, owner: &Uid) -> Vec<Arc<Pod>> {
        self.read(owner, |roster| roster.pods().cloned().collect())
    }

    fn pod(&self, change: &CacheChange<'_, Pod>) {
        let owner = |pod: &Arc<Pod>| pod.metadata.controller().map(|owner| owner.uid.clone());
        let (before, after) = (change.old.and_then(owner), change.new.and_then(owner));
        let mut rosters = self.lock();
        if let Some(before) = before.filter(|before| after.as_ref() != Some(before))
            && let Some(roster) = rosters.get_mut(&before)
        {
            roster.remove(change.key);
            if roster.is_empty() {
                rosters.remove(&before);
            }
        }
        if let (Some(after), Some(pod)) = (after, change.new) {
            rosters.entry(after).or_default().put(change.key, pod, || self.is_listed(pod));
        }
    }

    fn service(&self, change: &CacheChange<'_, Service>) {
        let choice = |service: &Arc<Service>| {
            (service.spec.selector.clone(), service.metadata.is_deleting(), service.metadata.uid.clone())
        };
        if change.old.map(choice) == change.new.map(choice) {
            return;
        }
        for pod in self.pods.in_namespace(&change.key.namespace) {
            if [change.old, change.new].into_iter().flatten().any(|service| selects(service, &pod)) {
                self.look_again(&ObjectKey::of(&*pod));
            }
        }
    }

    fn look_again(&self, key: &ObjectKey) {
        let Some(pod) = self.pods.get(key) else { return };
        let Some(owner) = pod.metadata.controller() else { return };
        if let Some(roster) = self.lock().get_mut(&owner.uid) {
            roster.look_again(key, |pod| self.is_listed(pod));
        }
    }

    /// Whether every service that selects the pod lists it.
    fn is_listed(&self, pod: &Pod) -> bool {
        let services = self.services.in_namespace(&pod.metadata.namespace);
        services
            .iter()
            .filter(|service| !service.metadata.is_deleting() && selects(service, pod))
            .all(|service| self.listed.count(&(pod.metadata.uid.clone(), service.metadata.name.clone())) > 0)
    }
}
