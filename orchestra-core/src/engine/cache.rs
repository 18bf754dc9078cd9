//! Objects of one kind, kept up to date by a watch.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use super::Tasks;
use super::progress::Progress;
use super::queue::Backoff;
use crate::model::{AnyObject, AnyObjectExt, GroupKind, ObjectKey, Pod, Resource, Revision};
use crate::store::{Scope, Store, StoreError};

/// A change of one object, as a cache saw it.
#[derive(Debug)]
pub struct CacheChange<'a, T> {
    /// The object's key.
    pub key: &'a ObjectKey,
    /// As it was; `None`: it is new.
    pub old: Option<&'a Arc<T>>,
    /// As it is; `None`: it is gone.
    pub new: Option<&'a Arc<T>>,
}

impl<'a, T> CacheChange<'a, T> {
    /// The object as it is, or as it last was.
    #[must_use]
    pub fn latest(&self) -> Option<&'a Arc<T>> {
        self.new.or(self.old)
    }
}

type Handler<T> = Box<dyn Fn(&CacheChange<'_, T>) + Send + Sync>;

/// A handler that says whether it wants more.
type Listener<T> = Box<dyn Fn(&CacheChange<'_, T>) -> bool + Send + Sync>;

/// All objects of one kind, shared with the store: a map of `Arc`s, not of copies.
///
/// A cache runs behind the store by the time an event takes; it never goes back. What was once seen, in
/// an object or through [`wait_for`](Self::wait_for), stays seen.
pub struct Cache<T> {
    objects: RwLock<BTreeMap<ObjectKey, Arc<T>>>,
    // Held while a change is applied, so that a handler that is added sees each object exactly once.
    handlers: Mutex<Handlers<T>>,
    seen: Progress,
}

struct Handlers<T> {
    indexes: Vec<Handler<T>>,
    listeners: Vec<Listener<T>>,
}

impl<T: Resource> Cache<T> {
    fn new() -> Self {
        Self {
            objects: RwLock::default(),
            handlers: Mutex::new(Handlers { indexes: Vec::new(), listeners: Vec::new() }),
            seen: Progress::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ObjectKey, Arc<T>>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_handlers(&self) -> MutexGuard<'_, Handlers<T>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object at `key`.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.read().get(key).cloned()
    }

    /// All objects, ordered by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<T>> {
        self.read().values().cloned().collect()
    }

    /// The objects in `namespace`, ordered by name.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let from = ObjectKey::new::<T>(namespace, "");
        let objects = self.read();
        objects
            .range(from..)
            .take_while(|(k, _)| &*k.namespace == namespace)
            .map(|(_, o)| Arc::clone(o))
            .collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Calls `listener` for every change from now on, after the cache and its indexes show it, and first
    /// once for each object that is there already.
    ///
    /// It is called by the cache's one task: it must not block, and not add listeners.
    pub fn on_change(&self, listener: impl Fn(&CacheChange<'_, T>) + Send + Sync + 'static) {
        self.on_change_while(move |change| {
            listener(change);
            true
        });
    }

    /// As [`on_change`](Self::on_change), for as long as `listener` says that it wants more.
    pub(crate) fn on_change_while(
        &self,
        listener: impl Fn(&CacheChange<'_, T>) -> bool + Send + Sync + 'static,
    ) {
        let mut handlers = self.lock_handlers();
        self.replay(&|change: &CacheChange<'_, T>| {
            listener(change);
        });
        handlers.listeners.push(Box::new(listener));
    }

    /// Keeps the objects also by a key of their own: `keys_of` names those under which an object is found.
    #[must_use]
    pub fn index<K: Ord + Clone + Send + Sync + 'static>(
        &self,
        keys_of: impl Fn(&T) -> Vec<K> + Send + Sync + 'static,
    ) -> Index<T, K> {
        let index = Index { map: Arc::default() };
        let map = Arc::clone(&index.map);
        let keep = move |change: &CacheChange<'_, T>| {
            let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
            let was = change.old.map(|old| keys_of(old)).unwrap_or_default();
            let is = change.new.map(|new| keys_of(new)).unwrap_or_default();
            if let Some(new) = change.new.filter(|_| was == is) {
                for key in &was {
                    if let Some(object) = map.get_mut(key).and_then(|entry| entry.get_mut(change.key)) {
                        *object = Arc::clone(new);
                    }
                }
                return;
            }
            for key in was {
                if let Some(entry) = map.get_mut(&key) {
                    entry.remove(change.key);
                    if entry.is_empty() {
                        map.remove(&key);
                    }
                }
            }
            if let Some(new) = change.new {
                for key in is {
                    map.entry(key).or_default().insert(change.key.clone(), Arc::clone(new));
                }
            }
        };
        self.keep(keep);
        index
    }

    /// Calls `keep` as [`on_change`](Self::on_change) does, but before every listener: for what listeners read.
    pub(crate) fn keep(&self, keep: impl Fn(&CacheChange<'_, T>) + Send + Sync + 'static) {
        let mut handlers = self.lock_handlers();
        self.replay(&keep);
        handlers.indexes.push(Box::new(keep));
    }

    fn replay(&self, handler: &dyn Fn(&CacheChange<'_, T>)) {
        for (key, object) in self.read().iter() {
            handler(&CacheChange { key, old: None, new: Some(object) });
        }
    }

    /// Waits until the cache shows everything up to `revision`, the revision of a commit to this kind.
    pub async fn wait_for(&self, revision: Revision) {
        self.seen.wait_for(revision).await;
    }

    /// Waits until the cache has been filled for the first time.
    pub async fn synced(&self) {
        self.wait_for(Revision::ZERO).await;
    }

    fn apply(&self, handlers: &mut Handlers<T>, key: &ObjectKey, new: Option<&Arc<T>>) {
        let old = {
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            match new {
                Some(object) => objects.insert(key.clone(), Arc::clone(object)),
                None => objects.remove(key),
            }
        };
        if old.is_none() && new.is_none() {
            return;
        }
        let change = CacheChange { key, old: old.as_ref(), new };
        handlers.indexes.iter().for_each(|handler| handler(&change));
        handlers.listeners.retain(|listener| listener(&change));
    }

    fn publish(&self, revision: Revision) {
        self.seen.reach(revision);
    }

    /// Makes the cache equal a list: what is gone goes, what differs changes.
    fn replace(&self, objects: Vec<AnyObject>, revision: Revision) {
        let mut handlers = self.lock_handlers();
        let mut gone: BTreeSet<ObjectKey> = self.read().keys().cloned().collect();
        for object in objects {
            let key = ObjectKey::of(&*object);
            gone.remove(&key);
            let newer = |old: Arc<T>| {
                old.meta().resource_version < object.meta().resource_version
                    || old.meta().uid != object.meta().uid
            };
            if self.get(&key).is_none_or(newer)
                && let Some(object) = object.downcast::<T>()
            {
                self.apply(&mut handlers, &key, Some(&object));
            }
        }
        for key in gone {
            self.apply(&mut handlers, &key, None);
        }
        drop(handlers);
        self.publish(revision);
    }

    /// Fills the cache from `store`, then follows it, until the store closes.
    async fn follow(&self, store: &dyn Store, backoff: Backoff) {
        let scope = Scope::of::<T>();
        let mut failures = 0;
        loop {
            match self.follow_once(store, &scope).await {
                Err(StoreError::Closed) => return,
                Ok(()) | Err(StoreError::Compacted { .. }) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(kind = %T::INFO.kind, %error, failures, "a cache lost its watch; lists again");
                    tokio::time::sleep(backoff.after(failures)).await;
                }
            }
        }
    }

    async fn follow_once(&self, store: &dyn Store, scope: &Scope) -> Result<(), StoreError> {
        let listing = store.list(scope).await?;
        let mut watch = store.watch(scope, listing.revision).await?;
        self.replace(listing.objects, listing.revision);
        while let Some(event) = watch.next().await {
            let event = event?;
            let mut handlers = self.lock_handlers();
            for change in event.changes.iter() {
                let new = change.object.clone().and_then(AnyObjectExt::downcast::<T>);
                self.apply(&mut handlers, &change.key, new.as_ref());
            }
            drop(handlers);
            self.publish(event.revision);
        }
        // The store says that it closed by failing the next call.
        store.revision(scope).await.map(|_| ())
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("revision", &self.seen.get()).finish_non_exhaustive()
    }
}

/// While this is there, changes reach the cache and its handlers.
///
/// Afterwards none will, so the handlers go: what they hold, caches among it, would otherwise hold itself for ever.
struct Following<T: Resource>(Arc<Cache<T>>);

impl<T: Resource> Drop for Following<T> {
    fn drop(&mut self) {
        let mut handlers = self.0.lock_handlers();
        let gone = (std::mem::take(&mut handlers.indexes), std::mem::take(&mut handlers.listeners));
        drop(handlers);
        drop(gone);
    }
}

type IndexMap<T, K> = BTreeMap<K, BTreeMap<ObjectKey, Arc<T>>>;

/// A cache's objects by a key of their own, such as the node they are on.
pub struct Index<T, K> {
    map: Arc<RwLock<IndexMap<T, K>>>,
}

impl<T, K> Clone for Index<T, K> {
    fn clone(&self) -> Self {
        Self { map: Arc::clone(&self.map) }
    }
}

impl<T, K: Ord> Index<T, K> {
    /// The objects under `key`, ordered by namespace and name.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Vec<Arc<T>>
    where
        K: std::borrow::Borrow<Q>,
    {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.get(key).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// How many objects are under `key`.
    #[must_use]
    pub fn count<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: std::borrow::Borrow<Q>,
    {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(key).map_or(0, BTreeMap::len)
    }
}

impl<T, K> fmt::Debug for Index<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

/// The caches of one cluster: at most one a kind, started when first asked for.
#[derive(Clone)]
pub struct Caches {
    store: Arc<dyn Store>,
    tasks: Tasks,
    caches: Arc<Mutex<BTreeMap<GroupKind, Entry>>>,
    pods_on_nodes: Arc<OnceLock<Index<Pod, Arc<str>>>>,
}

#[derive(Clone)]
struct Entry {
    /// An `Arc<Cache<T>>`.
    cache: Arc<dyn Any + Send + Sync>,
    seen: Progress,
}

impl Caches {
    /// Caches over `store`, whose watches run in `tasks`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tasks: Tasks) -> Self {
        Self { store, tasks, caches: Arc::default(), pods_on_nodes: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupKind, Entry>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache of the kind `T`. To be called inside a tokio runtime.
    #[must_use]
    pub fn of<T: Resource>(&self) -> Arc<Cache<T>> {
        let mut caches = self.lock();
        let kind = GroupKind::of::<T>();
        if let Some(cache) = caches.get(&kind).and_then(|e| Arc::clone(&e.cache).downcast::<Cache<T>>().ok())
        {
            return cache;
        }
        let cache = Arc::new(Cache::<T>::new());
        let (store, follower) = (Arc::clone(&self.store), Arc::clone(&cache));
        self.tasks.spawn("cache", async move {
            let following = Following(follower);
            following.0.follow(&*store, Backoff::default()).await;
        });
        let seen = cache.seen.clone();
        let any: Arc<dyn Any + Send + Sync> = Arc::<Cache<T>>::clone(&cache);
        caches.insert(kind, Entry { cache: any, seen });
        cache
    }

    /// The pods by the node that they are bound to: one index for all who ask. To be called inside a tokio runtime.
    #[must_use]
    pub fn pods_on_nodes(&self) -> Index<Pod, Arc<str>> {
        let index = || self.of::<Pod>().index(|pod| pod.node_name.iter().cloned().collect());
        self.pods_on_nodes.get_or_init(index).clone()
    }

    /// Waits until the cache of `kind`, where there is one, shows everything up to `revision`.
    pub async fn wait_for(&self, kind: &GroupKind, revision: Revision) {
        let seen = self.lock().get(kind).map(|entry| entry.seen.clone());
        if let Some(seen) = seen {
            seen.wait_for(revision).await;
        }
    }

    /// Waits until every cache shows all that was acknowledged before this call.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn barrier(&self) -> Result<(), StoreError> {
        let kinds: Vec<GroupKind> = self.lock().keys().cloned().collect();
        for kind in kinds {
            let revision = self.store.revision(&Scope::kind(kind.clone())).await?;
            self.wait_for(&kind, revision).await;
        }
        Ok(())
    }

    /// Waits until every cache that was asked for has been filled.
    pub async fn synced(&self) {
        let kinds: Vec<GroupKind> = self.lock().keys().cloned().collect();
        for kind in kinds {
            self.wait_for(&kind, Revision::ZERO).await;
        }
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches")
            .field("kinds", &self.lock().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
