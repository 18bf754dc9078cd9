//! Logs that were cut short, and logs that were damaged.

use std::fs::{self, OpenOptions};

use super::{Dir, content, is_corrupt, put};
use crate::model::Revision;
use crate::store::{LogStoreOptions, Store, StoreError};

/// A store whose last commits have a frame each, what it held after each, and where in the log each ends.
async fn written(dir: &Dir) -> Vec<(u64, Vec<(String, String, Revision)>)> {
    let store = dir.open();
    let mut states = vec![(0, Vec::new())];
    for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        put(&store, name, value).await.unwrap();
        let log = dir.files("log").pop().unwrap();
        states.push((log.metadata().unwrap().len(), content(&store).await));
    }
    store.close().await.unwrap();
    states
}

#[tokio::test]
async fn a_log_that_was_cut_anywhere_has_all_before() {
    let dir = Dir::new();
    let states = written(&dir).await;
    let last = states.len() - 1;
    // Everywhere in the header and the start of the first record, and in the last two.
    for cut in (0..50).chain(states[last - 2].0 - 1..=states[last].0) {
        let copy = dir.copy();
        let log = OpenOptions::new().write(true).open(&copy.files("log")[0]).unwrap();
        log.set_len(cut).unwrap();
        drop(log);
        let (_, expected) = states.iter().rev().find(|(end, _)| *end <= cut).unwrap();
        // Twice, as the second opening finds what the first made of it; and with a commit between.
        let store = copy.open();
        assert_eq!(content(&store).await, *expected, "cut at {cut}");
        drop(store);
        let store = copy.open();
        assert_eq!(content(&store).await, *expected, "cut at {cut}, opened twice");
        let revision = put(&store, "d", "5").await.unwrap().revision;
        assert!(revision > states[last].1[0].2, "no revision of what was cut off is used again");
        let extended = content(&store).await;
        assert_eq!(extended.len(), expected.len() + 1);
        store.close().await.unwrap();
        let store = copy.open();
        assert_eq!(content(&store).await, extended, "cut at {cut}, and gone on");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_torn_end_of_zeros_or_rubbish_is_left_out() {
    let dir = Dir::new();
    let states = written(&dir).await;
    for (fill, count) in [(0, 1), (0, 5_000), (0xFF, 1), (0xFF, 20), (b'O', 100)] {
        let copy = dir.copy();
        let log = &copy.files("log")[0];
        let mut bytes = fs::read(log).unwrap();
        bytes.extend(std::iter::repeat_n(fill, count));
        fs::write(log, bytes).unwrap();
        let store = copy.open();
        assert_eq!(content(&store).await, states.last().unwrap().1);
        put(&store, "d", "5").await.unwrap();
        store.close().await.unwrap();
        assert_eq!(content(&copy.open()).await.len(), 4);
    }
}

#[tokio::test]
async fn damage_before_the_end_is_found_and_nothing_is_changed() {
    let dir = Dir::new();
    let states = written(&dir).await;
    let last_begins = states[states.len() - 2].0;
    let sound = fs::read(&dir.files("log")[0]).unwrap();
    let first_ends = usize::try_from(states[1].0).unwrap();
    for at in (0..first_ends).chain(usize::try_from(last_begins).unwrap() - 1..sound.len()) {
        let copy = dir.copy();
        let log = &copy.files("log")[0];
        let mut bytes = sound.clone();
        bytes[at] ^= 0x41;
        fs::write(log, &bytes).unwrap();
        let opened = copy.try_open();
        if (at as u64) < last_begins {
            assert!(is_corrupt(&opened, log), "byte {at}: {opened:?}");
            let text = opened.unwrap_err().to_string();
            let offset = states.iter().rev().find(|(end, _)| *end <= at as u64).unwrap().0.max(32);
            assert!(at < 32 || text.contains(&format!("offset {offset} ")), "byte {at}: {text}");
        } else {
            // Nothing tells a damaged last commit from one that was cut short.
            assert_eq!(content(&opened.unwrap()).await, states[states.len() - 2].1, "byte {at}");
        }
        assert_eq!(fs::read(log).unwrap(), bytes, "byte {at}: the log is left as it was");
    }
}

#[tokio::test]
async fn a_damaged_end_with_a_later_segment_is_damage() {
    let dir = Dir::new();
    let states = written(&dir).await;
    let store = dir.open();
    put(&store, "d", "5").await.unwrap();
    store.close().await.unwrap();
    let first = &dir.files("log")[0];
    OpenOptions::new().write(true).open(first).unwrap().set_len(states[3].0 + 3).unwrap();
    let opened = dir.try_open();
    assert!(is_corrupt(&opened, first), "{opened:?}");
}

#[tokio::test]
async fn a_damaged_snapshot_is_found() {
    let dir = Dir::new();
    let store = dir.open_with(LogStoreOptions::default().with_snapshots(1, 0.0));
    while dir.files("snapshot").is_empty() {
        put(&store, "a", "1").await.unwrap();
    }
    store.close().await.unwrap();
    let path = &dir.files("snapshot")[0];
    let sound = fs::read(path).unwrap();
    let broken = (0..sound.len()).map(|at| {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x41;
        bytes
    });
    let cut = (0..sound.len()).map(|len| sound[..len].to_vec());
    for bytes in broken.chain(cut) {
        fs::write(path, bytes).unwrap();
        let opened = dir.try_open();
        assert!(is_corrupt(&opened, path) || matches!(opened, Err(StoreError::Failed { .. })), "{opened:?}");
    }
    fs::write(path, sound).unwrap();
    dir.open();
}
