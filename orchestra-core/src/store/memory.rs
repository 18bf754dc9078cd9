//! A store that ends with its process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::state::State;
use super::{Commit, Committed, Listing, Scope, Store, StoreError, Watch, WatchEvent};
use crate::model::{AnyObject, GroupKind, ObjectKey, Revision};

/// How many changes a store remembers for its watches, unless told otherwise: a watcher that is further
/// behind lists again. At about 200 bytes a change beside the objects, some 20 MB when full.
pub const DEFAULT_HISTORY: usize = 100_000;

/// A store in memory. A clone is another handle to the same store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store that remembers [`DEFAULT_HISTORY`] changes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(DEFAULT_HISTORY)
    }

    /// An empty store that remembers so many changes for its watches.
    #[must_use]
    pub fn with_history(changes: usize) -> Self {
        Self { shared: Arc::new(Shared::new(State::new(changes))) }
    }
}

/// A state, and whoever waits for it to change.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// The last revision that touched each kind that is watched; `None` is all kinds. Dropped: closed.
    wake: BTreeMap<Option<GroupKind>, watch::Sender<Revision>>,
    closed: bool,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { inner: Mutex::new(Inner { state, wake: BTreeMap::new(), closed: false }) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed { Err(StoreError::Closed) } else { Ok(inner) }
    }

    fn with<R>(&self, read: impl FnOnce(&mut State) -> R) -> Result<R, StoreError> {
        Ok(read(&mut self.lock()?.state))
    }

    fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut inner = self.lock()?;
        let writes = commit.writes.len();
        let Some(prepared) = inner.state.prepare(commit)? else {
            return Ok(Committed { revision: inner.state.revision(), objects: vec![None; writes] });
        };
        inner.state.apply(&prepared);
        let wake = prepared.kinds().into_iter().cloned().map(Some).chain([None]);
        for kind in wake {
            if let Some(sender) = inner.wake.get(&kind) {
                sender.send_replace(prepared.event.revision);
            }
        }
        Ok(prepared.committed())
    }

    fn watch(self: &Arc<Self>, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        let mut inner = self.lock()?;
        // Says now rather than later that the history does not reach back so far.
        inner.state.next_after(scope, after)?;
        inner.wake.retain(|_, sender| sender.receiver_count() > 0);
        let sender =
            inner.wake.entry(scope.kind.clone()).or_insert_with(|| watch::Sender::new(Revision::ZERO));
        let cursor =
            Cursor { shared: Arc::clone(self), wake: sender.subscribe(), scope: scope.clone(), after };
        drop(inner);
        Ok(Watch::new(futures_util::stream::unfold(Some(cursor), |cursor| async {
            let mut cursor = cursor?;
            match cursor.next().await? {
                Ok(event) => Some((Ok(event), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    fn close(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.closed = true;
        inner.wake.clear();
    }
}

/// Where a watch is in the shared history. It holds no events of its own.
struct Cursor {
    shared: Arc<Shared>,
    wake: watch::Receiver<Revision>,
    scope: Scope,
    after: Revision,
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        loop {
            self.wake.mark_unchanged();
            match self.shared.with(|state| state.next_after(&self.scope, self.after)) {
                Err(_closed) => return None,
                Ok(Err(error)) => return Some(Err(error)),
                Ok(Ok(Some(event))) => {
                    self.after = event.revision;
                    return Some(Ok(event));
                }
                Ok(Ok(None)) => self.wake.changed().await.ok()?,
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        self.shared.with(|state| state.get(key).cloned())
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        self.shared.with(|state| state.list(scope))
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.shared.commit(commit)
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        self.shared.watch(scope, after)
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        self.shared.with(|state| state.last(scope))
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.shared.with(|state| state.compact(through))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConfigMap, Resource, Secret};
    use crate::store::Precondition;

    fn key<T: Resource>(name: &str) -> ObjectKey {
        ObjectKey::new::<T>("default", name)
    }

    fn map(name: &str) -> ConfigMap {
        ConfigMap::new(name).namespace("default")
    }

    #[tokio::test]
    async fn a_watch_sees_each_commit_once_and_whole() {
        let store = MemoryStore::new();
        let mut watch = store.watch(&Scope::of::<ConfigMap>(), Revision::ZERO).await.unwrap();
        let both = Commit::new().put(map("a")).put(Secret::new("s").namespace("default")).put(map("b"));
        let done = store.commit(both).await.unwrap();
        assert_eq!(done.objects[0].as_ref().unwrap().meta().resource_version, Revision(1));
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!(event.changes.len(), 2, "the secret is not in scope, the maps come together");
        store.commit(Commit::new().delete(key::<ConfigMap>("a"))).await.unwrap();
        let event = watch.next().await.unwrap().unwrap();
        assert!(event.changes[0].object.is_none() && event.changes[0].previous.is_some());
        store.close().await.unwrap();
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn a_precondition_that_fails_stops_the_whole_commit() {
        let store = MemoryStore::new();
        store.commit(Commit::new().put(map("a"))).await.unwrap();
        let refused = Commit::new().require(Precondition::Absent(key::<ConfigMap>("a"))).put(map("b"));
        let error = store.commit(refused).await.unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
        assert!(store.get(&key::<ConfigMap>("b")).await.unwrap().is_none());
        let twice = Commit::new().put(map("c")).put(map("c"));
        assert!(matches!(store.commit(twice).await, Err(StoreError::Invalid(_))));
    }

    #[tokio::test]
    async fn a_watch_that_is_too_slow_is_told_so() {
        let store = MemoryStore::with_history(2);
        let mut slow = store.watch(&Scope::of::<ConfigMap>(), Revision::ZERO).await.unwrap();
        for name in ["a", "b", "c", "d"] {
            store.commit(Commit::new().put(map(name))).await.unwrap();
        }
        assert!(matches!(slow.next().await, Some(Err(StoreError::Compacted { .. }))));
        assert!(slow.next().await.is_none());
        assert!(store.watch(&Scope::default(), Revision(1)).await.is_err());
        let mut fresh = store.watch(&Scope::default(), Revision(2)).await.unwrap();
        assert_eq!(fresh.next().await.unwrap().unwrap().revision, Revision(3));
    }

    #[tokio::test]
    async fn scopes_have_their_own_last_revision() {
        let store = MemoryStore::new();
        store.commit(Commit::new().put(map("a"))).await.unwrap();
        store.commit(Commit::new().put(Secret::new("s").namespace("other"))).await.unwrap();
        assert_eq!(store.revision(&Scope::of::<ConfigMap>()).await.unwrap(), Revision(1));
        assert_eq!(store.revision(&Scope::default()).await.unwrap(), Revision(2));
        let scope = Scope::of::<Secret>().in_namespace("default");
        assert_eq!(store.revision(&scope).await.unwrap(), Revision::ZERO);
    }
}
