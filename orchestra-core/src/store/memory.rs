//! A store that ends with its process.

use std::sync::Arc;

use async_trait::async_trait;

use super::shared::Shared;
use super::state::State;
use super::{Commit, Committed, HistoryLimits, Listing, Scope, Store, StoreError, Watch};
use crate::model::{AnyObject, ObjectKey, Revision};

/// A store in memory.
///
/// A clone is another handle to the same store. When the last one is dropped, its watches end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use orchestra_core::model::{ConfigMap, Revision};
/// use orchestra_core::store::{Commit, MemoryStore, Scope, Store};
///
/// let store = MemoryStore::new();
/// let mut watch = store.watch(&Scope::of::<ConfigMap>(), Revision::ZERO).await?;
/// store.commit(Commit::new().put(ConfigMap::new("settings"))).await?;
/// let event = watch.next().await.expect("the store is open")?;
/// assert_eq!(event.changes[0].key.to_string(), "ConfigMap settings");
/// # Ok::<(), orchestra_core::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// How a [`MemoryStore`] is set up.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MemoryStoreOptions {
    /// How much history it holds for its watches.
    pub history: HistoryLimits,
}

impl MemoryStoreOptions {
    /// Sets how much history is held.
    #[must_use]
    pub fn with_history(mut self, history: HistoryLimits) -> Self {
        self.history = history;
        self
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store with the usual limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(MemoryStoreOptions::default())
    }

    /// An empty store.
    #[must_use]
    pub fn with_options(options: MemoryStoreOptions) -> Self {
        Self { handle: Arc::new(Handle { shared: Shared::new(State::new(options.history)) }) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        self.handle.shared.with(|state| state.get(key).cloned())
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        self.handle.shared.with(|state| state.list(scope))
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.handle.shared.commit(commit)
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        self.handle.shared.watch(scope, after)
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        self.handle.shared.with(|state| state.last(scope))
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.handle.shared.with(|state| state.compact(through))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.handle.shared.close();
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
        let history = HistoryLimits::default().with_changes(2);
        let store = MemoryStore::with_options(MemoryStoreOptions::default().with_history(history));
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

    #[tokio::test(start_paused = true)]
    async fn what_is_old_goes_once_enough_newer_changes_are_there() {
        let (age, store) = (HistoryLimits::default().age, MemoryStore::new());
        let many = |kind: &str| (0..150).map(|i| map(&format!("{kind}-{i}"))).collect::<Vec<_>>();
        for maps in [many("a"), many("b")] {
            store.commit(maps.into_iter().fold(Commit::new(), Commit::put)).await.unwrap();
        }
        let from = async |revision| store.watch(&Scope::default(), Revision(revision)).await.is_ok();
        tokio::time::advance(age).await;
        store.commit(Commit::new().put(map("c"))).await.unwrap();
        assert!(from(0).await, "it is not older than it may be");
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        store.commit(Commit::new().put(map("d"))).await.unwrap();
        assert!(!from(0).await && from(1).await, "the rest is fewer than 250");
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

    #[tokio::test]
    async fn a_quiet_kind_is_not_compacted_by_a_busy_one() {
        let history = HistoryLimits::default().with_changes(2);
        let store = MemoryStore::with_options(MemoryStoreOptions::default().with_history(history));
        let mut quiet = store.watch(&Scope::of::<Secret>(), Revision::ZERO).await.unwrap();
        let mut part =
            store.watch(&Scope::of::<ConfigMap>().in_namespace("b"), Revision::ZERO).await.unwrap();
        for name in ["a", "b", "c", "d"] {
            store.commit(Commit::new().put(map(name))).await.unwrap();
            assert!(futures_util::FutureExt::now_or_never(part.next()).is_none());
        }
        store.commit(Commit::new().put(Secret::new("s").namespace("b"))).await.unwrap();
        store.commit(Commit::new().put(ConfigMap::new("e").namespace("b"))).await.unwrap();
        assert_eq!(quiet.next().await.unwrap().unwrap().revision, Revision(5));
        assert_eq!(part.next().await.unwrap().unwrap().revision, Revision(6));
    }

    #[tokio::test]
    async fn watches_end_with_the_last_handle() {
        let store = MemoryStore::new();
        let mut watch = store.watch(&Scope::default(), Revision::ZERO).await.unwrap();
        drop(store);
        assert!(watch.next().await.is_none());
    }
}
