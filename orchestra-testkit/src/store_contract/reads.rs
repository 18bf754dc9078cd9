//! Lists, and what a read must see.

use std::sync::Arc;

use orchestra_core::model::{ConfigMap, ObjectKey, Revision, Secret};
use orchestra_core::store::{Commit, Scope, Store};

use super::fixture::{done, get, key, last, map_in, numbered, secret_in};

pub(super) async fn a_list_has_its_scope_in_order(store: Arc<dyn Store>) {
    let commit = Commit::new()
        .put(secret_in("b", "s"))
        .put(map_in("b", "x"))
        .put(map_in("ab", "x"))
        .put(map_in("a", "y"))
        .put(map_in("a", "x"));
    let revision = done(&store, commit).await.revision;
    let names = async |scope: Scope| {
        let listing = store.list(&scope).await.expect("an open store can be listed");
        assert_eq!(listing.revision, revision, "a list tells the store's revision");
        let keys: Vec<ObjectKey> = listing.objects.iter().map(|o| ObjectKey::of(&**o)).collect();
        assert!(keys.is_sorted(), "a list is ordered by key: {keys:?}");
        keys.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let maps = ["ConfigMap a/x", "ConfigMap a/y", "ConfigMap ab/x", "ConfigMap b/x"];
    assert_eq!(names(Scope::of::<ConfigMap>()).await, maps);
    assert_eq!(names(Scope::of::<ConfigMap>().in_namespace("a")).await, &maps[..2]);
    assert_eq!(names(Scope::of::<Secret>()).await, ["Secret b/s"]);
    assert_eq!(names(Scope::default().in_namespace("b")).await, ["ConfigMap b/x", "Secret b/s"]);
    assert_eq!(names(Scope::default()).await.len(), 5);
    assert!(names(Scope::of::<Secret>().in_namespace("none")).await.is_empty());
}

pub(super) async fn an_acknowledged_commit_is_read(store: Arc<dyn Store>) {
    let scope = Scope::of::<ConfigMap>();
    for number in 0..20 {
        let revision = done(&store, Commit::new().put(numbered("a", number))).await.revision;
        let read = get(&store, &key("a")).await.expect("it was stored");
        assert_eq!(super::fixture::number(&read), number);
        assert_eq!(last(&store, &scope).await, revision);
        let listing = store.list(&scope).await.expect("an open store can be listed");
        assert_eq!(listing.objects[0].meta().resource_version, revision);
    }
    done(&store, Commit::new().delete(key("a"))).await;
    assert!(get(&store, &key("a")).await.is_none());
}

pub(super) async fn each_scope_has_its_last_revision(store: Arc<dyn Store>) {
    let first = done(&store, Commit::new().put(map_in("a", "x")).put(secret_in("b", "s"))).await.revision;
    let second = done(&store, Commit::new().put(map_in("b", "x"))).await.revision;
    let third = done(&store, Commit::new().delete(ObjectKey::new::<ConfigMap>("a", "x"))).await.revision;
    done(&store, Commit::new().delete(ObjectKey::new::<ConfigMap>("a", "x"))).await;
    for (scope, expected) in [
        (Scope::default(), third),
        (Scope::of::<ConfigMap>(), third),
        (Scope::of::<ConfigMap>().in_namespace("a"), third),
        (Scope::of::<ConfigMap>().in_namespace("b"), second),
        (Scope::of::<Secret>(), first),
        (Scope::of::<Secret>().in_namespace("b"), first),
        (Scope::of::<Secret>().in_namespace("a"), Revision::ZERO),
        (Scope::default().in_namespace("b"), second),
        (Scope::default().in_namespace("none"), Revision::ZERO),
    ] {
        assert_eq!(last(&store, &scope).await, expected, "the last change in {scope:?}");
    }
}
