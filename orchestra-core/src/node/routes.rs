//! Which change concerns which agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::agent::Shared;
use crate::engine::{Cache, CacheChange, Caches, Index};
use crate::model::{ConfigMap, ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Uid};

/// Hands the changes of pods, and of what pods name, to the agents that they concern. Clones are the same.
///
/// Share one between all agents of a process: each keeps one index and one listener whatever their number.
#[derive(Clone)]
pub struct Routes(Arc<Inner>);

struct Inner {
    pods: Arc<Cache<Pod>>,
    by_node: Index<Pod, Arc<str>>,
    volumes: Arc<Cache<PersistentVolume>>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    agents: BTreeMap<Arc<str>, Weak<Shared>>,
    /// Which pods name a config map, secret or claim, with their nodes; and the reverse.
    interested: BTreeMap<ObjectKey, BTreeSet<(Arc<str>, Uid)>>,
    interests: BTreeMap<(Arc<str>, Uid), BTreeSet<ObjectKey>>,
}

impl Routes {
    /// Routes over the caches of a cluster. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(caches: &Caches) -> Self {
        let pods = caches.of::<Pod>();
        let by_node = caches.pods_on_nodes();
        let volumes = caches.of::<PersistentVolume>();
        let inner = Arc::new(Inner { pods, by_node, volumes, table: Mutex::default() });
        // The listeners live as long as the caches; the routes must not be kept alive by them.
        let weak = Arc::downgrade(&inner);
        inner.pods.on_change(move |change| {
            if let Some(inner) = weak.upgrade() {
                inner.pod_changed(change);
            }
        });
        let weak = Arc::downgrade(&inner);
        caches.of::<ConfigMap>().on_change(move |change| wake(&weak, change.key));
        let weak = Arc::downgrade(&inner);
        caches.of::<Secret>().on_change(move |change| wake(&weak, change.key));
        let weak = Arc::downgrade(&inner);
        caches.of::<PersistentVolumeClaim>().on_change(move |change| wake(&weak, change.key));
        let weak = Arc::downgrade(&inner);
        caches.of::<PersistentVolume>().on_change(move |change| {
            if let (Some(inner), Some(volume)) = (weak.upgrade(), change.new) {
                inner.volume_changed(volume);
            }
        });
        Self(inner)
    }

    /// The pods that are bound to `node`.
    pub(super) fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        self.0.by_node.get(node)
    }

    /// The pod at `key`, as the cache has it.
    pub(super) fn pod(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.0.pods.get(key)
    }

    /// Brings an agent in: from now on it is told of the pods on its node, and first of those that are there.
    pub(super) fn join(&self, agent: &Arc<Shared>) {
        self.0.lock().agents.insert(Arc::clone(&agent.node), Arc::downgrade(agent));
        for pod in self.pods_on(&agent.node) {
            agent.pod_changed(&pod);
            // It may have gone between the look and the telling, before this agent was told of goings.
            let now = self.pod(&ObjectKey::of(&*pod));
            if now.is_none_or(|now| now.metadata.uid != pod.metadata.uid) {
                agent.pod_gone(&pod.metadata.uid);
            }
        }
        for volume in self.0.volumes.list() {
            if volume.local_node() == Some(&*agent.node) {
                self.0.volume_changed(&volume);
            }
        }
    }

    /// Says which config maps, secrets and claims a pod names.
    pub(super) fn set_interest(&self, node: &Arc<str>, uid: &Uid, keys: BTreeSet<ObjectKey>) {
        let who = (Arc::clone(node), uid.clone());
        let mut table = self.0.lock();
        if keys.is_empty() && !table.interests.contains_key(&who) {
            return;
        }
        for key in table.interests.remove(&who).unwrap_or_default() {
            if let Some(set) = table.interested.get_mut(&key) {
                set.remove(&who);
                if set.is_empty() {
                    table.interested.remove(&key);
                }
            }
        }
        for key in &keys {
            table.interested.entry(key.clone()).or_default().insert(who.clone());
        }
        if !keys.is_empty() {
            table.interests.insert(who, keys);
        }
    }
}

fn wake(inner: &Weak<Inner>, key: &ObjectKey) {
    let Some(inner) = inner.upgrade() else { return };
    let concerned: Vec<(Arc<str>, Uid)> =
        inner.lock().interested.get(key).map(|set| set.iter().cloned().collect()).unwrap_or_default();
    for (node, uid) in concerned {
        if let Some(agent) = inner.agent(&node) {
            agent.config_changed(&uid);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn agent(&self, node: &str) -> Option<Arc<Shared>> {
        self.lock().agents.get(node)?.upgrade()
    }

    /// Has a node clear away the directory of a volume that nobody claims any more.
    fn volume_changed(&self, volume: &PersistentVolume) {
        let held = |finalizer: &str| volume.metadata.is_held_by(finalizer);
        // While a claim has it pods may use it, and the volume is held for that.
        if volume.metadata.is_deleting()
            && held(PersistentVolume::LOCAL_FINALIZER)
            && !held(PersistentVolume::FINALIZER)
            && let Some(agent) = volume.local_node().and_then(|node| self.agent(node))
        {
            agent.reclaim(volume);
        }
    }

    fn pod_changed(&self, change: &CacheChange<'_, Pod>) {
        if let Some(old) = change.old
            && change.new.is_none_or(|new| new.metadata.uid != old.metadata.uid)
            && let Some(agent) = old.node_name.as_deref().and_then(|node| self.agent(node))
        {
            agent.pod_gone(&old.metadata.uid);
        }
        if let Some(new) = change.new
            && let Some(agent) = new.node_name.as_deref().and_then(|node| self.agent(node))
        {
            agent.pod_changed(new);
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("nodes", &self.0.lock().agents.len()).finish_non_exhaustive()
    }
}
