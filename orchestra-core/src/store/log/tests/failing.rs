//! Disks that are full or broken.

use std::io::ErrorKind;

use super::{Dir, content, put, snapshot_ended, step, value};
use crate::store::log::LogStoreOptions;
use crate::store::log::tests::fault::FaultyDisk;
use crate::store::{Commit, LogStore, Store, StoreError};

#[tokio::test]
async fn a_full_disk_refuses_writes_and_takes_them_when_there_is_room() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    put(&store, "a", "1").await.unwrap();
    // From no room at all to all but one byte of what is needed.
    for room in [0, 1, 11, 12, 40, 100] {
        disk.faults().room = Some(room);
        let error = put(&store, "b", "2").await.unwrap_err();
        assert!(matches!(error, StoreError::NoSpace(_)) && error.is_transient(), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(!error.to_string().contains(&cause), "{error}: said once, as the cause");
        assert_eq!(value(&store, "a").await.unwrap(), "1", "reads go on");
        assert!(value(&store, "b").await.is_none());
    }
    disk.faults().room = None;
    let before = put(&store, "b", "3").await.unwrap().revision;
    put(&store, "c", "4").await.unwrap();
    let written = content(&store).await;
    store.close().await.unwrap();
    let store = dir.open();
    assert_eq!(content(&store).await, written);
    assert!(put(&store, "d", "5").await.unwrap().revision > before);
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_start_is_no_harm() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    for room in [0, 5, 40] {
        disk.faults().room = Some(room);
        assert!(matches!(put(&store, "a", "1").await, Err(StoreError::NoSpace(_))));
    }
    drop(store);
    disk.faults().room = None;
    let store = dir.open_on(&disk);
    assert!(content(&store).await.is_empty());
    put(&store, "a", "1").await.unwrap();
    store.close().await.unwrap();
    assert_eq!(content(&dir.open()).await.len(), 1);
}

#[tokio::test]
async fn what_builds_on_a_refused_commit_is_refused_with_it() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    put(&store, "a", "1").await.unwrap();
    disk.faults().hold = true;
    let mut first = Box::pin(put(&store, "a", "2"));
    assert!(step(&mut first).await.is_none());
    disk.syncs_begun(2).await;
    // The group is at its sync, so that these form the next one; it meets a full disk.
    let mut second = Box::pin(put(&store, "b", "3"));
    let mut third = Box::pin(put(&store, "c", "4"));
    assert!(step(&mut second).await.is_none() && step(&mut third).await.is_none());
    disk.faults().room = Some(10);
    disk.release();
    first.await.unwrap();
    assert!(matches!(second.await, Err(StoreError::NoSpace(_))));
    assert!(matches!(third.await, Err(StoreError::NoSpace(_))));
    disk.faults().room = None;
    put(&store, "d", "5").await.unwrap();
    store.close().await.unwrap();
    let names: Vec<String> = content(&dir.open()).await.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a", "d"]);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_behind() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    put(&store, "a", "1").await.unwrap();
    disk.faults().write = Some(ErrorKind::Other);
    match put(&store, "b", "2").await {
        Err(error @ StoreError::Failed { transient: true, .. }) => assert!(!error.outcome_unknown()),
        other => panic!("{other:?}"),
    }
    disk.faults().write = None;
    put(&store, "c", "3").await.unwrap();
    let written = content(&store).await;
    store.close().await.unwrap();
    assert_eq!(content(&dir.open()).await, written);
}

/// Checks that `store`, whose disk has just failed for good, can be read and not written, and what is there when it is
/// opened again.
async fn is_read_only(dir: &Dir, disk: &FaultyDisk, store: LogStore) {
    let error = put(&store, "a", "3").await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { transient: false, .. }), "{error:?}");
    assert!(error.to_string().contains("opened again"), "{error}");
    assert_eq!(value(&store, "a").await.unwrap(), "1", "what is not known to be on disk is not shown");
    *disk.faults() = super::fault::Faults::default();
    assert!(put(&store, "a", "3").await.is_err(), "it stays read-only even if the disk recovers");
    assert!(store.close().await.is_err(), "the failure shows at the end, too");
    let store = dir.open_on(&disk.clone());
    let there = value(&store, "a").await.unwrap();
    assert!(there == "1" || there == "2", "the unknown commit is there whole or not at all");
    assert!(value(&store, "b").await.is_none());
    put(&store, "a", "4").await.unwrap();
    store.close().await.unwrap();
    assert_eq!(value(&dir.open(), "a").await.unwrap(), "4");
}

#[tokio::test]
async fn after_a_failed_sync_the_store_is_read_only() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    put(&store, "a", "1").await.unwrap();
    disk.faults().hold = true;
    let mut first = Box::pin(put(&store, "a", "2"));
    assert!(step(&mut first).await.is_none());
    disk.syncs_begun(2).await;
    let mut second = Box::pin(put(&store, "b", "3"));
    assert!(step(&mut second).await.is_none());
    disk.faults().sync = Some(ErrorKind::Other);
    disk.release();
    assert!(first.await.unwrap_err().outcome_unknown());
    assert!(matches!(second.await, Err(StoreError::Failed { .. })), "of this nothing was written");
    is_read_only(&dir, &disk, store).await;
}

#[tokio::test]
async fn after_a_failed_sync_of_the_directory_the_store_is_read_only() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open();
    put(&store, "a", "1").await.unwrap();
    store.close().await.unwrap();
    let store = dir.open_on(&disk);
    disk.faults().sync_dir = Some(ErrorKind::Other);
    assert!(put(&store, "a", "2").await.unwrap_err().outcome_unknown());
    is_read_only(&dir, &disk, store).await;
}

#[tokio::test]
async fn a_partial_write_that_stays_makes_the_store_read_only() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let store = dir.open_on(&disk);
    put(&store, "a", "1").await.unwrap();
    disk.faults().write = Some(ErrorKind::Other);
    disk.faults().truncate = Some(ErrorKind::Other);
    assert!(put(&store, "a", "2").await.unwrap_err().outcome_unknown());
    is_read_only(&dir, &disk, store).await;
}

#[tokio::test]
async fn a_snapshot_that_fails_is_made_later() {
    let (dir, disk) = (Dir::new(), FaultyDisk::default());
    let options = || LogStoreOptions::default().with_snapshots(2_000, 0.0);
    let open = || LogStore::open_on(std::sync::Arc::new(disk.clone()), &dir.0, options()).unwrap();
    let mut store = open();
    disk.faults().rename = Some(ErrorKind::Other);
    for round in 0..30 {
        put(&store, "a", &format!("{round:0200}")).await.unwrap();
    }
    store.close().await.unwrap();
    assert!(dir.files("snapshot").is_empty() && dir.files("partial").is_empty(), "{:?}", dir.files(""));
    assert!(dir.size() > 6_000, "the log grows on");
    disk.faults().rename = None;
    store = open();
    assert_eq!(value(&store, "a").await.unwrap(), format!("{:0200}", 29));
    for round in 30..60 {
        put(&store, "a", &format!("{round:0200}")).await.unwrap();
        // Lets the snapshot, which is given up when the store closes, come to its end.
        snapshot_ended(&store).await;
    }
    store.close().await.unwrap();
    assert_eq!(dir.files("snapshot").len(), 1);
    assert!(dir.size() < 6_000, "{}", dir.size());
    assert_eq!(value(&open(), "a").await.unwrap(), format!("{:0200}", 59));
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let dir = Dir::new();
    let options = LogStoreOptions::default().with_max_object_bytes(1_000).with_max_commit_bytes(1_500);
    let store = dir.open_with(options);
    put(&store, "fits", &"x".repeat(700)).await.unwrap();
    match put(&store, "large", &"x".repeat(1_000)).await {
        Err(StoreError::TooLarge { what, limit: 1_000 }) => {
            assert!(what.contains("ConfigMap a/large"), "{what}")
        }
        other => panic!("{other:?}"),
    }
    let (one, two) = (super::map("one", &"x".repeat(700)), super::map("two", &"x".repeat(700)));
    let together = store.commit(Commit::new().put(one).put(two)).await;
    assert!(matches!(together, Err(StoreError::TooLarge { limit: 1_500, .. })));
    assert_eq!(content(&store).await.len(), 1);
}
