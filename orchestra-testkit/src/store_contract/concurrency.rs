//! Many tasks at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use orchestra_core::model::{ConfigMap, Revision};
use orchestra_core::store::{Commit, Precondition, Scope, Store, StoreError};
use tokio::task::JoinSet;

use super::fixture::{done, event, fold, get, key, last, list, map, number, numbered, put, watch};

/// How many tasks compete, and how often each must win: enough that every store runs into itself.
const TASKS: u64 = 8;
const ROUNDS: u64 = 25;

/// Waits for all tasks, and panics where one did.
async fn all(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            panic!("a task failed: {error}");
        }
    }
}

/// Adds one to the number at `a`, if nobody else does first.
async fn increment(store: &Arc<dyn Store>) -> Result<u64, StoreError> {
    let read = get(store, &key("a")).await.expect("the number is there");
    let next = number(&read) + 1;
    let unchanged = Precondition::Revision(key("a"), read.meta().resource_version);
    store.commit(Commit::new().require(unchanged).put(numbered("a", next))).await?;
    Ok(next)
}

pub(super) async fn concurrent_increments_are_linearizable(store: Arc<dyn Store>) {
    done(&store, Commit::new().put(numbered("a", 0))).await;
    let mut history = watch(&store, &Scope::default(), last(&store, &Scope::default()).await).await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                loop {
                    match increment(&store).await {
                        Ok(mine) => {
                            let read = get(&store, &key("a")).await.expect("the number is there");
                            assert!(number(&read) >= mine, "an acknowledged commit is read");
                            break;
                        }
                        Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                        Err(error) => panic!("an increment fails with {error}"),
                    }
                }
            }
        });
    }
    all(tasks).await;
    let read = get(&store, &key("a")).await.expect("the number is there");
    assert_eq!(number(&read), TASKS * ROUNDS, "no increment is lost or done twice");
    let mut before = Revision::ZERO;
    for expected in 1..=TASKS * ROUNDS {
        let event = event(&mut history).await;
        assert!(event.revision > before);
        before = event.revision;
        let object = event.changes[0].object.as_ref().expect("the number stays");
        assert_eq!(number(object), expected, "the history has each increment in order");
    }
}

pub(super) async fn every_watcher_folds_to_the_list(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mine = format!("w-{task}");
            for round in 0..ROUNDS {
                let commit = match round % 3 {
                    0 => Commit::new().put(map(&mine)).put(map("shared")),
                    1 => Commit::new().delete(key(&mine)).delete(key("shared")),
                    _ => Commit::new().put(map(&mine)),
                };
                done(&store, commit).await;
            }
        });
    }
    let end = key("end");
    for _ in 0..TASKS {
        let (store, end) = (Arc::clone(&store), end.clone());
        tasks.spawn(async move {
            let scope = Scope::of::<ConfigMap>();
            let listing = store.list(&scope).await.expect("an open store can be listed");
            let stored = listing.objects.iter();
            let mut objects: std::collections::BTreeMap<_, _> = stored
                .map(|o| (orchestra_core::model::ObjectKey::of(&**o), o.meta().resource_version))
                .collect();
            let mut follow = watch(&store, &scope, listing.revision).await;
            let mut before = listing.revision;
            while !objects.contains_key(&end) {
                let event = event(&mut follow).await;
                assert!(event.revision > before, "events come in order, each once");
                before = event.revision;
                fold(&mut objects, &event);
            }
            assert_eq!(objects, list(&store, &scope).await, "the list and its events make the later list");
        });
    }
    // The writers end first, then the watchers.
    for _ in 0..TASKS {
        if let Some(Err(error)) = tasks.join_next().await {
            panic!("a task failed: {error}");
        }
    }
    put(&store, "end").await;
    all(tasks).await;
}

pub(super) async fn a_dropped_commit_is_done_or_not(store: Arc<dyn Store>) {
    let mut follow = watch(&store, &Scope::default(), Revision::ZERO).await;
    for round in 0..50 {
        let name = format!("n-{round}");
        let mut commit = store.commit(Commit::new().put(map(&name)).put(map("other")));
        // One step, and no more.
        std::future::poll_fn(|cx| {
            let step = pin!(&mut commit).poll(cx);
            Poll::Ready(step.is_ready())
        })
        .await;
        drop(commit);
    }
    // This one comes after all of them, so that they are decided.
    let end = put(&store, "end").await;
    let mut objects = std::collections::BTreeMap::new();
    loop {
        let event = event(&mut follow).await;
        fold(&mut objects, &event);
        if event.revision == end {
            break;
        }
        assert_eq!(event.changes.len(), 2, "a commit that was given up is there whole or not at all");
    }
    assert_eq!(objects, list(&store, &Scope::default()).await);
}

pub(super) async fn one_of_many_creations_wins(store: Arc<dyn Store>) {
    for round in 0..10 {
        let name = format!("n-{round}");
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (store, name) = (Arc::clone(&store), name.clone());
            tasks.spawn(async move {
                let absent = Precondition::Absent(key(&name));
                match store.commit(Commit::new().require(absent).put(numbered(&name, task))).await {
                    Ok(_) => Some(task),
                    Err(StoreError::Conflict { found, .. }) => {
                        let there =
                            get(&store, &key(&name)).await.expect("a conflict tells of what can be read");
                        assert_eq!(Some(there.meta().resource_version), found);
                        None
                    }
                    Err(error) => panic!("a creation fails with {error}"),
                }
            });
        }
        let winners: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
        let there = get(&store, &key(&name)).await.expect("one was created");
        assert_eq!(winners, [number(&there)]);
    }
}
