//! Sequence, atomicity, preconditions, fencing.

use std::sync::Arc;

use orchestra_core::model::{AnyObject, Object, ObjectKey, Revision, Secret, Uid};
use orchestra_core::store::{Commit, Epoch, Precondition, Scope, Store, StoreError};

use super::fixture::{done, get, key, key_in, last, list, map, map_in, numbered, put, secret_in};

/// How many objects a commit must at least be able to write.
const LARGE: usize = 500;

pub(super) async fn revisions_strictly_grow(store: Arc<dyn Store>) {
    let mut before = last(&store, &Scope::default()).await;
    assert_eq!(before, Revision::ZERO, "nothing was committed to a new store");
    for name in ["a", "b", "a", "c"] {
        let revision = put(&store, name).await;
        assert!(revision > before, "{revision} comes after {before}");
        before = revision;
    }
    let removed = done(&store, Commit::new().delete(key("a"))).await.revision;
    assert!(removed > before, "a removal has a revision of its own");
    assert!(put(&store, "a").await > removed);
}

pub(super) async fn objects_carry_the_revision_of_their_commit(store: Arc<dyn Store>) {
    let mut stale = map("a");
    stale.meta_mut().resource_version = Revision(4_711);
    let committed = done(&store, Commit::new().put(stale).put(map("b"))).await;
    for object in committed.objects.iter().flatten() {
        assert_eq!(object.meta().resource_version, committed.revision);
        let stored = get(&store, &ObjectKey::of(&**object)).await.expect("it was stored");
        assert_eq!(stored.meta().resource_version, committed.revision);
    }
}

pub(super) async fn a_commit_that_changes_nothing_has_no_revision(store: Arc<dyn Store>) {
    let before = put(&store, "a").await;
    let idle = done(&store, Commit::new().delete(key("none"))).await;
    assert_eq!(idle.revision, before);
    assert!(matches!(idle.objects.as_slice(), [None]));
    assert_eq!(done(&store, Commit::new()).await.revision, before);
    assert_eq!(last(&store, &Scope::default()).await, before);
    let same = done(&store, Commit::new().put(map("a"))).await;
    assert!(same.revision > before, "an object that is put is a change, whether or not it differs");
}

pub(super) async fn a_commit_answers_for_each_write(store: Arc<dyn Store>) {
    done(&store, Commit::new().put(numbered("gone", 7))).await;
    let commit = Commit::new().put(map("new")).delete(key("none")).delete(key("gone"));
    let objects = done(&store, commit).await.objects;
    let names: Vec<Option<&str>> =
        objects.iter().map(|o| o.as_ref().map(|o| o.meta().name.as_str())).collect();
    assert_eq!(names, [Some("new"), None, Some("gone")]);
    assert!(get(&store, &key("gone")).await.is_none());
}

pub(super) async fn each_precondition_holds_or_stops_all(store: Arc<dyn Store>) {
    let mut object = map("is");
    object.meta_mut().uid = Uid::from("u-1");
    let first = done(&store, Commit::new().put(object.clone())).await.revision;
    let revision = done(&store, Commit::new().put(object)).await.revision;
    let (is, not) = (key("is"), key("not"));
    let holds = [
        Precondition::Absent(not.clone()),
        Precondition::Revision(is.clone(), revision),
        Precondition::Uid(is.clone(), Uid::from("u-1")),
    ];
    let fails = [
        Precondition::Absent(is.clone()),
        Precondition::Revision(is.clone(), first),
        Precondition::Revision(not.clone(), revision),
        Precondition::Uid(is.clone(), Uid::from("u-2")),
        Precondition::Uid(not, Uid::from("u-1")),
    ];
    for condition in fails {
        let mut commit = Commit::new().put(map("other")).delete(is.clone());
        commit.preconditions = holds.to_vec();
        commit.preconditions.push(condition.clone());
        match store.commit(commit).await {
            Err(StoreError::Conflict { key, found, .. }) => {
                assert_eq!(key, *condition.key(), "a conflict names its object");
                assert_eq!(found, (key == is).then_some(revision), "a conflict says what was found");
            }
            other => panic!("{condition:?} does not hold, and the commit ends in {other:?}"),
        }
        assert_eq!(last(&store, &Scope::default()).await, revision, "nothing happened for {condition:?}");
        assert_eq!(list(&store, &Scope::default()).await.len(), 1);
    }
    let mut commit = Commit::new().put(map("other"));
    commit.preconditions = holds.to_vec();
    done(&store, commit).await;
}

pub(super) async fn a_key_is_written_once_in_a_commit(store: Arc<dyn Store>) {
    for twice in [
        Commit::new().put(map("a")).put(map("a")),
        Commit::new().put(map("a")).delete(key("a")),
        Commit::new().put(map("b")).delete(key("a")).delete(key("a")),
    ] {
        assert!(matches!(store.commit(twice).await, Err(StoreError::Invalid(_))));
    }
    assert!(list(&store, &Scope::default()).await.is_empty(), "nothing of a refused commit happened");
    // The same name in another namespace or kind is another key.
    let commit = Commit::new().put(map("a")).put(map_in("b", "a")).put(secret_in("a", "a"));
    done(&store, commit).await;
    assert!(get(&store, &key_in::<Secret>("a", "a")).await.is_some());
}

pub(super) async fn an_object_that_others_hold_is_not_changed(store: Arc<dyn Store>) {
    let shared: AnyObject = Arc::new(map("a"));
    let committed = done(&store, Commit::new().put_any(Arc::clone(&shared))).await;
    assert_eq!(shared.meta().resource_version, Revision::ZERO, "the caller's object stays as it was");
    let stored = get(&store, &key("a")).await.expect("it was stored");
    assert_eq!(stored.meta().resource_version, committed.revision);
    put(&store, "a").await;
    assert_eq!(stored.meta().resource_version, committed.revision, "what a reader holds stays as it was");
}

pub(super) async fn a_large_commit_is_one(store: Arc<dyn Store>) {
    let names: Vec<String> = (0..LARGE).map(|n| format!("n-{n:04}")).collect();
    let commit = names.iter().fold(Commit::new(), |commit, name| commit.put(map(name)));
    let revision = done(&store, commit).await.revision;
    let listed = list(&store, &Scope::default()).await;
    assert_eq!(listed.len(), LARGE);
    assert!(listed.values().all(|r| *r == revision));
    let commit = names.iter().fold(Commit::new(), |commit, name| commit.delete(key(name)));
    done(&store, commit).await;
    assert!(list(&store, &Scope::default()).await.is_empty());
}

pub(super) async fn a_smaller_epoch_is_fenced_off(store: Arc<dyn Store>) {
    done(&store, Commit::new().put(map("a")).epoch(Epoch(4))).await;
    done(&store, Commit::new().put(map("a")).epoch(Epoch(5))).await;
    match store.commit(Commit::new().put(map("b")).epoch(Epoch(4))).await {
        Err(StoreError::Fenced { epoch, current }) => assert_eq!((epoch, current), (Epoch(4), Epoch(5))),
        other => panic!("epoch 4 was followed by 5, and a commit of it ends in {other:?}"),
    }
    assert!(get(&store, &key("b")).await.is_none(), "nothing of it happened");
    done(&store, Commit::new().put(map("c")).epoch(Epoch(5))).await;
    done(&store, Commit::new().put(map("d"))).await;
    // A commit that was refused raises nothing.
    let refused = Commit::new().require(Precondition::Absent(key("a"))).put(map("a")).epoch(Epoch(9));
    assert!(store.commit(refused).await.is_err());
    done(&store, Commit::new().put(map("e")).epoch(Epoch(5))).await;
}
