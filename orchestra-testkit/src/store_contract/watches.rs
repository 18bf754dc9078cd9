//! Following commits.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use orchestra_core::model::{ConfigMap, Revision, Secret};
use orchestra_core::store::{Commit, Scope, Store, StoreError, Watch, WatchEvent};

use super::fixture::{done, event, fold, is_compacted, key, list, map, map_in, put, secret_in, watch};

/// Looks once whether there is an event.
async fn look(watch: &mut Watch) -> Option<WatchEvent> {
    let mut next = pin!(watch.next());
    std::future::poll_fn(|cx| match next.as_mut().poll(cx) {
        Poll::Ready(event) => {
            Poll::Ready(Some(event.expect("the watch goes on").expect("and does not fail")))
        }
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

pub(super) async fn a_watch_delivers_each_commit_once_in_order_and_whole(store: Arc<dyn Store>) {
    let mut early = watch(&store, &Scope::default(), Revision::ZERO).await;
    let mut sent = Vec::new();
    sent.push((done(&store, Commit::new().put(map("a")).put(secret_in("a", "s"))).await.revision, 2));
    sent.push((done(&store, Commit::new().put(map("a")).delete(key("none"))).await.revision, 1));
    assert!(store.commit(Commit::new().put(map("x")).put(map("x"))).await.is_err());
    sent.push((done(&store, Commit::new().delete(key("a")).put(map("b"))).await.revision, 2));
    done(&store, Commit::new().delete(key("a"))).await;
    sent.push((put(&store, "a").await, 1));
    let mut late = watch(&store, &Scope::default(), Revision::ZERO).await;
    for watch in [&mut early, &mut late] {
        let mut objects = std::collections::BTreeMap::new();
        for (revision, changes) in &sent {
            let event = event(watch).await;
            assert_eq!((event.revision, event.changes.len()), (*revision, *changes));
            fold(&mut objects, &event);
        }
        assert!(look(watch).await.is_none(), "there is no commit left");
        assert_eq!(objects, list(&store, &Scope::default()).await);
    }
}

pub(super) async fn a_watch_delivers_its_scope_only(store: Arc<dyn Store>) {
    let scopes = [
        (Scope::of::<ConfigMap>(), [2, 1, 0]),
        (Scope::of::<ConfigMap>().in_namespace("b"), [1, 0, 0]),
        (Scope::of::<Secret>().in_namespace("b"), [1, 0, 1]),
        (Scope::default().in_namespace("b"), [2, 0, 1]),
    ];
    let mut watches = Vec::new();
    for (scope, counts) in scopes {
        watches.push((watch(&store, &scope, Revision::ZERO).await, scope, counts));
    }
    let commits = [
        Commit::new().put(map_in("a", "x")).put(map_in("b", "x")).put(secret_in("b", "s")),
        Commit::new().put(map_in("a", "y")),
        Commit::new().put(secret_in("b", "t")),
    ];
    let mut revisions = Vec::new();
    for commit in commits {
        revisions.push(done(&store, commit).await.revision);
    }
    for (mut watch, scope, counts) in watches {
        for (revision, count) in revisions.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let event = event(&mut watch).await;
            assert_eq!((event.revision, event.changes.len()), (*revision, count), "of {scope:?}");
            assert!(event.changes.iter().all(|change| scope.contains(&change.key)));
        }
        assert!(look(&mut watch).await.is_none(), "nothing else is in {scope:?}");
    }
}

pub(super) async fn a_watch_resumes_after_any_revision(store: Arc<dyn Store>) {
    let mut revisions = vec![Revision::ZERO];
    for name in ["a", "b", "c", "a", "b"] {
        revisions.push(put(&store, name).await);
    }
    for (index, after) in revisions.iter().enumerate() {
        let mut watch = watch(&store, &Scope::of::<ConfigMap>(), *after).await;
        for expected in &revisions[index + 1..] {
            assert_eq!(event(&mut watch).await.revision, *expected);
        }
        assert!(look(&mut watch).await.is_none());
    }
    // From a revision that is still to come, nothing before it is delivered.
    let last = revisions[revisions.len() - 1];
    let mut future = watch(&store, &Scope::default(), last.next()).await;
    let skipped = put(&store, "a").await;
    let next = put(&store, "b").await;
    if skipped == last.next() {
        assert_eq!(event(&mut future).await.revision, next);
    }
}

pub(super) async fn a_watch_behind_the_history_says_so(store: Arc<dyn Store>) {
    let first = put(&store, "a").await;
    let second = put(&store, "b").await;
    let third = put(&store, "c").await;
    store.compact(second).await.expect("history can be given up");
    match store.watch(&Scope::of::<ConfigMap>(), first).await {
        Err(StoreError::Compacted { requested, oldest }) => {
            assert_eq!((requested, oldest), (first, second), "it says where a watch can start");
        }
        other => panic!("the commit after {first} is gone, and a watch from there is {other:?}"),
    }
    let mut held = watch(&store, &Scope::of::<ConfigMap>(), second).await;
    assert_eq!(event(&mut held).await.revision, third);
    assert_eq!(list(&store, &Scope::default()).await.len(), 3, "the objects stay");
    // Giving up what is yet to come gives up no more than there is.
    store.compact(Revision(third.0 + 1_000)).await.expect("history can be given up");
    let mut held = watch(&store, &Scope::default(), third).await;
    let fourth = put(&store, "d").await;
    assert_eq!(event(&mut held).await.revision, fourth);
}

pub(super) async fn a_watch_that_falls_behind_has_no_gap(store: Arc<dyn Store>) {
    let mut slow = watch(&store, &Scope::of::<ConfigMap>(), Revision::ZERO).await;
    let first = put(&store, "a").await;
    assert_eq!(event(&mut slow).await.revision, first);
    let mut sent = Vec::new();
    for name in ["b", "c", "d", "e"] {
        sent.push(put(&store, name).await);
    }
    store.compact(sent[1]).await.expect("history can be given up");
    let mut expected = sent.iter();
    // A store may have handed over what it later gave up; but what it has not is missed aloud.
    loop {
        match slow.next().await {
            Some(Ok(event)) => assert_eq!(Some(&event.revision), expected.next(), "the next is not left out"),
            Some(compacted) if is_compacted(&compacted) => break,
            other => panic!("a watch that fell behind ends with Compacted, not with {other:?}"),
        }
        if expected.len() == 0 {
            return;
        }
    }
    assert!(slow.next().await.is_none(), "after an error a watch has ended");
}

pub(super) async fn a_cancelled_wait_loses_nothing(store: Arc<dyn Store>) {
    let mut patient = watch(&store, &Scope::default(), Revision::ZERO).await;
    let mut seen = Vec::new();
    let mut sent = Vec::new();
    for name in ["a", "b", "c", "d"] {
        // Each look begins a wait and gives it up where there is nothing yet.
        seen.extend(look(&mut patient).await.map(|event| event.revision));
        sent.push(put(&store, name).await);
        seen.extend(look(&mut patient).await.map(|event| event.revision));
    }
    while seen.len() < sent.len() {
        seen.push(event(&mut patient).await.revision);
    }
    assert_eq!(seen, sent);
}
