//! Objects for the checks, and short ways to handle them.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::{AnyObject, AnyObjectExt, ConfigMap, ObjectKey, Resource, Revision, Secret};
use orchestra_core::store::{Commit, Committed, Scope, Store, StoreError, Watch, WatchEvent};

/// The entry of a map that holds a number.
const NUMBER: &str = "number";

/// A config map in the namespace `a`.
pub(super) fn map(name: &str) -> ConfigMap {
    map_in("a", name)
}

pub(super) fn map_in(namespace: &str, name: &str) -> ConfigMap {
    ConfigMap::new(name).namespace(namespace)
}

pub(super) fn numbered(name: &str, number: u64) -> ConfigMap {
    map(name).entry(NUMBER, number.to_string())
}

pub(super) fn number(object: &AnyObject) -> u64 {
    let map: &ConfigMap = object.as_resource().expect("a config map was stored");
    map.data.value(NUMBER).and_then(|text| text.parse().ok()).expect("the map was stored with a number")
}

pub(super) fn secret_in(namespace: &str, name: &str) -> Secret {
    Secret::new(name).namespace(namespace)
}

/// The key of the config map `name` in the namespace `a`.
pub(super) fn key(name: &str) -> ObjectKey {
    key_in::<ConfigMap>("a", name)
}

pub(super) fn key_in<T: Resource>(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new::<T>(namespace, name)
}

/// Commits, where that must succeed.
pub(super) async fn done(store: &Arc<dyn Store>, commit: Commit) -> Committed {
    store.commit(commit).await.expect("a commit that nothing stands against succeeds")
}

/// Stores a config map of that name.
pub(super) async fn put(store: &Arc<dyn Store>, name: &str) -> Revision {
    done(store, Commit::new().put(map(name))).await.revision
}

pub(super) async fn get(store: &Arc<dyn Store>, key: &ObjectKey) -> Option<AnyObject> {
    store.get(key).await.expect("an open store can be read")
}

pub(super) async fn list(store: &Arc<dyn Store>, scope: &Scope) -> BTreeMap<ObjectKey, Revision> {
    let listing = store.list(scope).await.expect("an open store can be listed");
    listing.objects.iter().map(|o| (ObjectKey::of(&**o), o.meta().resource_version)).collect()
}

pub(super) async fn last(store: &Arc<dyn Store>, scope: &Scope) -> Revision {
    store.revision(scope).await.expect("an open store tells its revision")
}

pub(super) async fn watch(store: &Arc<dyn Store>, scope: &Scope, after: Revision) -> Watch {
    store.watch(scope, after).await.expect("a watch can start where the history is held")
}

/// The next event, which must come.
pub(super) async fn event(watch: &mut Watch) -> WatchEvent {
    watch.next().await.expect("the watch goes on").expect("the watch does not fail")
}

/// Brings a list forward by an event.
pub(super) fn fold(objects: &mut BTreeMap<ObjectKey, Revision>, event: &WatchEvent) {
    for change in event.changes.iter() {
        let before = change.previous.as_ref().map(|o| o.meta().resource_version);
        let now = change.object.as_ref().map(|o| o.meta().resource_version);
        let held = match now {
            Some(now) => objects.insert(change.key.clone(), now),
            None => objects.remove(&change.key),
        };
        assert_eq!(held, before, "the event of {} tells what {} was before", event.revision, change.key);
    }
}

pub(super) fn is_compacted(result: &Result<WatchEvent, StoreError>) -> bool {
    matches!(result, Err(StoreError::Compacted { .. }))
}
