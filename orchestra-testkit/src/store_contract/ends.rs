//! Closing.

use std::sync::Arc;
use std::task::Poll;

use orchestra_core::model::Revision;
use orchestra_core::store::{Commit, Scope, Store, StoreError};

use super::fixture::{key, map, put, watch};

pub(super) async fn a_closed_store_refuses_everything(store: Arc<dyn Store>) {
    put(&store, "a").await;
    store.close().await.expect("a store can be closed");
    let scope = Scope::default();
    let ends = [
        store.get(&key("a")).await.err(),
        store.list(&scope).await.err(),
        store.commit(Commit::new().put(map("a"))).await.err(),
        store.watch(&scope, Revision::ZERO).await.err(),
        store.revision(&scope).await.err(),
        store.compact(Revision::ZERO).await.err(),
    ];
    for (index, end) in ends.iter().enumerate() {
        assert!(matches!(end, Some(StoreError::Closed)), "call {index} ends in {end:?}");
    }
    store.close().await.expect("a store can be closed again");
}

pub(super) async fn watches_end_with_the_store(store: Arc<dyn Store>) {
    let mut waiting = watch(&store, &Scope::default(), Revision::ZERO).await;
    let waits = tokio::task::JoinSet::from_iter([async move {
        while let Some(event) = waiting.next().await {
            event.expect("the end of a store is not an error of a watch");
        }
    }]);
    put(&store, "a").await;
    store.close().await.expect("a store can be closed");
    waits.join_all().await;
}

pub(super) async fn close_waits_for_what_was_accepted(store: Arc<dyn Store>) {
    let mut commits: Vec<_> =
        (0..20).map(|n| store.commit(Commit::new().put(map(&format!("n-{n}"))))).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|cx| {
        commits.retain_mut(|commit| match commit.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            Poll::Pending => true,
        });
        Poll::Ready(())
    })
    .await;
    store.close().await.expect("a store can be closed");
    for commit in commits {
        answers.push(commit.await);
    }
    for answer in answers {
        assert!(
            matches!(answer, Ok(_) | Err(StoreError::Closed)),
            "a commit during the close is done, or refused for that: {answer:?}"
        );
    }
}
