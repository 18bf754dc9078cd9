//! What the scheduling loop hears of the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::engine::{CacheChange, Caches};
use crate::model::{
    Namespace, Node, ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod, PodDisruptionBudget, PodGroup,
    Resource, StorageClass, Uid,
};

/// What changed since the loop last looked: the newest form of each object, so that it holds at most one
/// entry an object however long a decision takes.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    changes: Mutex<BTreeMap<ObjectKey, Vec<Input>>>,
    pub(super) wake: Notify,
}

#[derive(Clone, Debug)]
pub(super) enum Input {
    Node(Arc<Node>),
    NodeGone(String),
    Pod(Arc<Pod>),
    PodGone(Uid),
    Namespace(Arc<Namespace>),
    NamespaceGone(String),
    Budget(Arc<PodDisruptionBudget>),
    /// Its namespace and name.
    BudgetGone(String, String),
    Group(Arc<PodGroup>),
    /// Its namespace and name.
    GroupGone(String, String),
    Claim(Arc<PersistentVolumeClaim>),
    /// Its namespace and name.
    ClaimGone(String, String),
    Volume(Arc<PersistentVolume>),
    VolumeGone(String),
    StorageClass(Arc<StorageClass>),
    StorageClassGone(String),
}

impl Inbox {
    /// One that follows all that schedulers see, from what there is on, for as long as it is held.
    pub(super) fn following(caches: &Caches) -> Arc<Self> {
        let inbox = Arc::<Self>::default();
        inbox.follow_all(caches);
        inbox
    }

    fn follow_all(self: &Arc<Self>, caches: &Caches) {
        self.follow::<Namespace>(
            caches,
            |n| Input::Namespace(Arc::clone(n)),
            |n| Input::NamespaceGone(n.metadata.name.clone()),
        );
        self.follow::<Node>(
            caches,
            |n| Input::Node(Arc::clone(n)),
            |n| Input::NodeGone(n.metadata.name.clone()),
        );
        self.follow::<PodDisruptionBudget>(
            caches,
            |b| Input::Budget(Arc::clone(b)),
            |b| Input::BudgetGone(b.metadata.namespace.clone(), b.metadata.name.clone()),
        );
        self.follow::<PodGroup>(
            caches,
            |g| Input::Group(Arc::clone(g)),
            |g| Input::GroupGone(g.metadata.namespace.clone(), g.metadata.name.clone()),
        );
        self.follow::<StorageClass>(
            caches,
            |c| Input::StorageClass(Arc::clone(c)),
            |c| Input::StorageClassGone(c.metadata.name.clone()),
        );
        self.follow::<PersistentVolume>(
            caches,
            |v| Input::Volume(Arc::clone(v)),
            |v| Input::VolumeGone(v.metadata.name.clone()),
        );
        self.follow::<PersistentVolumeClaim>(
            caches,
            |c| Input::Claim(Arc::clone(c)),
            |c| Input::ClaimGone(c.metadata.namespace.clone(), c.metadata.name.clone()),
        );
        self.follow::<Pod>(caches, |p| Input::Pod(Arc::clone(p)), |p| Input::PodGone(p.metadata.uid.clone()));
    }

    /// Follows a kind: `made` turns an object that is there into an input, `gone` one that was.
    fn follow<T: Resource>(
        self: &Arc<Self>,
        caches: &Caches,
        made: impl Fn(&Arc<T>) -> Input + Send + Sync + 'static,
        gone: impl Fn(&T) -> Input + Send + Sync + 'static,
    ) {
        let inbox = Arc::downgrade(self);
        caches.of::<T>().on_change_while(move |change: &CacheChange<'_, T>| {
            let Some(inbox) = inbox.upgrade() else { return false };
            let mut inputs = Vec::new();
            // A pod of the same name is another pod: that the old one has gone must not be lost.
            if let Some(old) =
                change.old.filter(|old| change.new.is_none_or(|new| new.meta().uid != old.meta().uid))
            {
                inputs.push(gone(old));
            }
            let mut changes = inbox.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = changes.entry(change.key.clone()).or_default();
            if let Some(new) = change.new {
                inputs.push(made(new));
                if inputs.len() == 1 {
                    entry.retain(|input| matches!(input, Input::PodGone(_)));
                }
            }
            entry.extend(inputs);
            drop(changes);
            inbox.wake.notify_one();
            true
        });
    }

    pub(super) fn take(&self) -> Vec<Input> {
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        changes.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::controller::testing::World;

    #[tokio::test(start_paused = true)]
    async fn whoever_wants_no_more_of_a_cache_is_not_called_again() {
        let world = World::bare(1).await;
        let nodes = world.caches.of::<Node>();
        let called = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&called);
        nodes.on_change_while(move |_| count.fetch_add(1, Ordering::Relaxed) == 0);
        let inbox = Inbox::following(&world.caches);
        for name in ["a", "b", "c"] {
            let revision = world.client.create(Node::new(name)).await.unwrap().metadata.resource_version;
            nodes.wait_for(revision).await;
        }
        assert_eq!((called.load(Ordering::Relaxed), Arc::strong_count(&called)), (2, 1));
        let heard = inbox.take().into_iter().filter(|input| matches!(input, Input::Node(_)));
        assert_eq!(heard.count(), 3, "others go on");
    }
}
