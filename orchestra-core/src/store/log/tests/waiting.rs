//! Commits that are accepted and not yet on disk.

use std::sync::mpsc;
use std::time::Duration;

use super::fault::FaultyDisk;
use super::{Dir, content, key, map, put, step, value};
use crate::model::Revision;
use crate::store::log::writer::ROOM;
use crate::store::{Commit, Epoch, Precondition, Scope, Store, StoreError};

#[tokio::test]
async fn a_commit_shows_when_it_is_on_disk_and_not_before() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    let mut watch = store.watch(&Scope::default(), Revision::ZERO).await.unwrap();
    disk.faults().hold = true;
    let mut commit = Box::pin(put(&store, "a", "1"));
    assert!(step(&mut commit).await.is_none());
    disk.syncs_begun(1).await;
    assert!(step(&mut commit).await.is_none());
    assert!(value(&store, "a").await.is_none());
    assert_eq!(store.revision(&Scope::default()).await.unwrap(), Revision::ZERO);
    assert_eq!(store.list(&Scope::default()).await.unwrap().revision, Revision::ZERO);
    assert!(step(&mut Box::pin(watch.next())).await.is_none());
    disk.release();
    let revision = commit.await.unwrap().revision;
    assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    assert_eq!(value(&store, "a").await.unwrap(), "1");
}

#[tokio::test]
async fn commits_build_on_those_that_wait_and_share_their_sync() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    let first = put(&store, "a", "0").await.unwrap().revision;
    disk.faults().hold = true;
    let mut commits = Vec::new();
    let mut revision = first;
    for round in 1..=20 {
        let commit = Commit::new().require(Precondition::Revision(key("a"), revision));
        commits.push(store.commit(commit.put(map("a", &round.to_string()))));
        assert!(step(commits.last_mut().unwrap()).await.is_none());
        revision = revision.next();
    }
    // This one is late by a revision: its answer waits until what it tells of can be read.
    let stale = Commit::new().require(Precondition::Revision(key("a"), first)).put(map("a", "stale"));
    let mut stale = store.commit(stale);
    assert!(step(&mut stale).await.is_none());
    let mut idle = store.commit(Commit::new().delete(key("none")));
    assert_eq!(step(&mut idle).await.unwrap().unwrap().revision, first, "nothing pending concerns it");
    let mut gone = store.commit(Commit::new().require(Precondition::Absent(key("b"))).delete(key("a")));
    assert!(step(&mut gone).await.is_none());
    let mut nothing = store.commit(Commit::new().delete(key("a")));
    assert!(step(&mut nothing).await.is_none(), "that there is none is not certain yet");
    disk.release();
    for (round, commit) in commits.into_iter().enumerate() {
        assert_eq!(commit.await.unwrap().revision.0, first.0 + 1 + round as u64);
    }
    match stale.await {
        Err(StoreError::Conflict { found: Some(found), .. }) => assert_eq!(found, revision),
        other => panic!("{other:?}"),
    }
    let gone = gone.await.unwrap().revision;
    assert_eq!(nothing.await.unwrap().revision, gone);
    let syncs = disk.faults().syncs;
    assert!(syncs <= 4, "22 commits take {syncs} syncs");
    let events = watch_all(&store).await;
    assert!(events.windows(2).all(|pair| pair[0] < pair[1]) && events.len() == 22, "{events:?}");
}

async fn watch_all(store: &super::LogStore) -> Vec<Revision> {
    let mut watch = store.watch(&Scope::default(), Revision::ZERO).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = step(&mut Box::pin(watch.next())).await {
        events.push(event.unwrap().unwrap().revision);
    }
    events
}

#[tokio::test]
async fn an_epoch_fences_as_soon_as_it_is_accepted() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    disk.faults().hold = true;
    let mut newer = store.commit(Commit::new().put(map("a", "5")).epoch(Epoch(5)));
    assert!(step(&mut newer).await.is_none());
    let mut older = store.commit(Commit::new().put(map("a", "4")).epoch(Epoch(4)));
    assert!(step(&mut older).await.is_none());
    disk.release();
    newer.await.unwrap();
    assert!(matches!(older.await, Err(StoreError::Fenced { .. })));
    store.close().await.unwrap();
    let store = dir.open();
    let older = store.commit(Commit::new().put(map("a", "4")).epoch(Epoch(4))).await;
    assert!(matches!(older, Err(StoreError::Fenced { .. })), "the epoch is known after a restart");
    assert_eq!(value(&store, "a").await.unwrap(), "5");
}

#[tokio::test]
async fn a_dropped_commit_is_done_all_the_same() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    disk.faults().hold = true;
    let mut commit = Box::pin(put(&store, "a", "1"));
    assert!(step(&mut commit).await.is_none());
    drop(commit);
    disk.release();
    store.close().await.unwrap();
    assert_eq!(content(&dir.open()).await.len(), 1);
}

#[tokio::test]
async fn a_store_that_is_dropped_finishes_what_it_accepted() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    let other = store.clone();
    let mut watch = store.watch(&Scope::default(), Revision::ZERO).await.unwrap();
    disk.faults().hold = true;
    let mut commit = Box::pin(async move { put(&store, "a", "1").await });
    assert!(step(&mut commit).await.is_none());
    drop(commit);
    assert!(step(&mut Box::pin(watch.next())).await.is_none(), "there is another handle");
    drop(other);
    assert!(watch.next().await.is_none());
    disk.release();
    // The lock goes when the write has ended.
    let store = loop {
        match dir.try_open() {
            Ok(store) => break store,
            Err(StoreError::Failed { transient: true, .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(value(&store, "a").await.unwrap(), "1");
}

#[test]
fn a_runtime_that_ends_fails_what_it_can_no_longer_write() {
    let dir = Dir::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = dir.open();
    let mut commit = Box::pin(put(&store, "a", "1"));
    let first = runtime();
    let early = first.block_on(step(&mut commit));
    drop(first);
    let second = runtime();
    second.block_on(async {
        // Either the write had begun, and then it was finished, maybe at once, or it was given up.
        let done = match early {
            Some(done) => done.is_ok(),
            None => commit.await.is_ok(),
        };
        put(&store, "b", "2").await.unwrap();
        assert_eq!(content(&store).await.len(), 1 + usize::from(done));
        store.close().await.unwrap();
    });
}

#[test]
fn a_runtime_that_is_ending_answers_commits_at_once() {
    let dir = Dir::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (store, within) = (dir.open(), Duration::from_secs(30));
    let (begun, has_begun) = mpsc::channel();
    let (end, has_ended) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let late = store.clone();
    runtime.spawn(async move {
        begun.send(()).unwrap();
        // The runtime waits for no task that is at work, and lends it no further thread.
        has_ended.recv_timeout(within).unwrap();
        answer.send(step(&mut Box::pin(put(&late, "a", "1"))).await).unwrap();
    });
    has_begun.recv_timeout(within).unwrap();
    runtime.shutdown_background();
    end.send(()).unwrap();
    let answer = answered.recv_timeout(within).expect("the commit is answered");
    assert!(matches!(answer, Some(Err(StoreError::Failed { .. }))), "{answer:?}");
    // Whoever comes with another runtime goes on.
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        put(&store, "b", "2").await.unwrap();
        assert_eq!(content(&store).await.len(), 1, "nothing is left of the other");
        store.close().await.unwrap();
    });
}

#[tokio::test]
async fn room_for_waiting_commits_is_bounded_and_given_back() {
    let dir = Dir::new();
    let store = dir.open();
    put(&store, "a", "1").await.unwrap();
    put(&store, "a", "1").await.unwrap();
    store.commit(Commit::new().require(Precondition::Absent(key("a")))).await.unwrap_err();
    let writer = &store.handle.writer;
    let all = writer.room(usize::MAX).await.unwrap();
    assert_eq!(all.num_permits(), ROOM as usize, "more than all there is takes all there is");
    let mut commit = Box::pin(put(&store, "b", "2"));
    assert!(step(&mut commit).await.is_none());
    drop(all);
    commit.await.unwrap();
    assert_eq!(writer.room.available_permits(), ROOM as usize);
}

#[tokio::test]
async fn a_commit_that_waits_for_room_ends_with_the_store() {
    let dir = Dir::new();
    let store = dir.open();
    let _all = store.handle.writer.room(usize::MAX).await.unwrap();
    let mut commit = Box::pin(put(&store, "b", "2"));
    assert!(step(&mut commit).await.is_none());
    store.close().await.unwrap();
    assert!(matches!(commit.await, Err(StoreError::Closed)));
}
