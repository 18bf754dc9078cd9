//! The pods that objects select by labels, followed change by change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use crate::engine::{Cache, CacheChange, Caches, Queue};
use crate::model::{ObjectKey, Pod, Resource};

/// How long an object with many pods waits for more changes of them, for each hundred it has, and from how many hundreds
/// on. All pods are looked at together, so that what one of them costs does not grow with their number.
const WAIT_PER_HUNDRED: Duration = Duration::from_millis(1);
const WAITS_FROM: usize = 2;

/// An object that selects pods of its own namespace.
pub(super) trait Selects: Resource {
    /// Whether it has `pod`, a pod of its namespace.
    fn has(&self, pod: &Pod) -> bool;

    /// Whether it selects by the same rule as `other`.
    fn selects_like(&self, other: &Self) -> bool;
}

type BySelector = BTreeMap<ObjectKey, BTreeMap<ObjectKey, Arc<Pod>>>;

/// The pods that each object of the kind `S` selects.
///
/// Whoever looks at one object's pods looks at no others, however many there are. It is up to date with either cache before
/// that cache's listeners are called. A clone is another handle to the same.
pub(super) struct Selected<S> {
    selected: Arc<Mutex<BySelector>>,
    selectors: Arc<Cache<S>>,
    pods: Arc<Cache<Pod>>,
}

impl<S> Clone for Selected<S> {
    fn clone(&self) -> Self {
        let Self { selected, selectors, pods } = self;
        Self { selected: Arc::clone(selected), selectors: Arc::clone(selectors), pods: Arc::clone(pods) }
    }
}

impl<S: Selects> Selected<S> {
    pub(super) fn new(caches: &Caches) -> Self {
        let selected = Self { selected: Arc::default(), selectors: caches.of(), pods: caches.of() };
        let (by_selector, by_pod) = (selected.clone(), selected.clone());
        selected.selectors.keep(move |change| by_selector.selector(change));
        selected.pods.keep(move |change| by_pod.pod(change));
        selected
    }

    // The caches are read under the lock: so whichever of their two tasks comes second sees what the first saw, or later.
    fn lock(&self) -> MutexGuard<'_, BySelector> {
        self.selected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn selector(&self, change: &CacheChange<'_, S>) {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old.selects_like(new)
        {
            return;
        }
        let mut selected = self.lock();
        match change.new {
            None => drop(selected.remove(change.key)),
            Some(selector) => {
                let pods = self.pods.in_namespace(&change.key.namespace).into_iter();
                let pods = pods.filter(|pod| selector.has(pod)).map(|pod| (ObjectKey::of(&*pod), pod));
                selected.insert(change.key.clone(), pods.collect());
            }
        }
    }

    fn pod(&self, change: &CacheChange<'_, Pod>) {
        let mut selected = self.lock();
        for selector in self.selectors.in_namespace(&change.key.namespace) {
            let key = ObjectKey::of(&*selector);
            if let Some(pod) = change.new.filter(|pod| selector.has(pod)) {
                selected.entry(key).or_default().insert(change.key.clone(), Arc::clone(pod));
            } else if let Some(pods) = selected.get_mut(&key) {
                pods.remove(change.key);
            }
        }
    }

    /// The pods that the object at `key` selects, ordered by name.
    pub(super) fn pods(&self, key: &ObjectKey) -> Vec<Arc<Pod>> {
        self.lock().get(key).map(|pods| pods.values().cloned().collect()).unwrap_or_default()
    }

    /// Has each object looked at that selects a pod, or did, when the pod comes, goes, or changes in a way that `matters`.
    pub(super) fn look_on_change(&self, queue: Arc<Queue<ObjectKey>>, matters: fn(&Pod, &Pod) -> bool) {
        let selected = self.clone();
        self.pods.on_change(move |change| {
            if let (Some(old), Some(new)) = (change.old, change.new)
                && !matters(old, new)
            {
                return;
            }
            let pods: SmallVec<[&Pod; 2]> =
                [change.old, change.new].into_iter().flatten().map(|pod| &**pod).collect();
            selected.look_for(&queue, &change.key.namespace, &pods);
        });
    }

    /// Has each object looked at that selects one of these pods, which are of its namespace.
    pub(super) fn look_for(&self, queue: &Queue<ObjectKey>, namespace: &str, pods: &[&Pod]) {
        for selector in self.selectors.in_namespace(namespace) {
            if pods.iter().any(|pod| selector.has(pod)) {
                self.look(queue, ObjectKey::of(&*selector));
            }
        }
    }

    /// Has the object at `key` looked at: at once, or with other changes of its pods where it has many.
    pub(super) fn look(&self, queue: &Queue<ObjectKey>, key: ObjectKey) {
        let hundreds = self.lock().get(&key).map_or(0, BTreeMap::len).div_ceil(100);
        if hundreds < WAITS_FROM {
            queue.add(key);
        } else {
            queue
                .add_after(key, WAIT_PER_HUNDRED.saturating_mul(u32::try_from(hundreds).unwrap_or(u32::MAX)));
        }
    }
}

impl<S> fmt::Debug for Selected<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Selected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::DeleteOptions;
    use crate::controller::testing::World;
    use crate::model::{Labels, Service};

    /// Some labels of four, or a selector with them.
    fn labels(which: u64) -> Labels {
        let pairs = [("app", "web"), ("app", "shop"), ("tier", "front"), ("tier", "back")];
        let chosen = pairs.iter().enumerate().filter(|(bit, _)| which & (1 << bit) != 0);
        chosen.fold(Labels::default(), |labels, (_, (key, value))| labels.with(*key, *value))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_followed_equals_what_a_look_at_all_pods_finds() {
        let world = World::bare(1).await;
        world.client.create(crate::model::Namespace::new("other")).await.unwrap();
        let (services, pods) = (world.caches.of::<Service>(), world.caches.of::<Pod>());
        let selected = Selected::<Service>::new(&world.caches);
        let rng = crate::rng::Rng::seeded(7);
        let mut most = 0;
        for step in 0..400 {
            let client = world.client.namespace(if rng.chance(0.7) { "default" } else { "other" });
            let (name, which) = (format!("it-{}", rng.below(6)), labels(rng.below(16)));
            let options = DeleteOptions::default().grace_period(0);
            if rng.chance(0.6) {
                if rng.chance(0.2) {
                    client.delete::<Pod>(&name, &options).await.ok();
                } else {
                    let mut pod = Pod::new(&name).image("web:1");
                    pod.metadata.labels = which;
                    client.apply(pod).await.unwrap();
                }
            } else if rng.chance(0.2) {
                client.delete::<Service>(&name, &options).await.ok();
            } else {
                let mut service = Service::new(&name).port(80);
                service.spec.selector = which;
                client.apply(service).await.unwrap();
            }
            if step % 3 == 0 {
                continue;
            }
            world.caches.barrier().await.unwrap();
            for service in services.list() {
                let found = selected.pods(&ObjectKey::of(&*service));
                let all = pods.in_namespace(&service.metadata.namespace);
                let expected: Vec<_> = all.into_iter().filter(|pod| service.has(pod)).collect();
                assert_eq!(found, expected, "step {step}: {service:?}");
                most = most.max(found.len());
            }
            assert_eq!(selected.lock().len(), services.len(), "step {step}: nothing is kept of what is gone");
        }
        assert!(most > 2, "at most {most} pods were selected at once");
    }
}
