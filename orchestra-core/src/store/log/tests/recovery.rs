//! Opening a store again.

use std::fs;

use super::{Dir, content, is_corrupt, key, map, put, snapshot_ended, value};
use crate::model::{KindInfo, ObjectKey, ObjectMeta, Revision, Secret, Unstructured};
use crate::store::log::recover::SKIPPED;
use crate::store::{Commit, HistoryLimits, LogStore, LogStoreOptions, Scope, Store, StoreError};

#[tokio::test]
async fn everything_is_there_again() {
    let dir = Dir::new();
    let store = dir.open();
    put(&store, "a", "1").await.unwrap();
    put(&store, "b", "2").await.unwrap();
    let secret = Secret::new("s").namespace("b");
    store.commit(Commit::new().delete(key("a")).put(secret)).await.unwrap();
    put(&store, "b", "3").await.unwrap();
    let scopes = [Scope::default(), Scope::of::<Secret>(), Scope::default().in_namespace("b")];
    let mut before = Vec::new();
    for scope in &scopes {
        before.push((store.list(scope).await.unwrap().objects, store.revision(scope).await.unwrap()));
    }
    store.close().await.unwrap();
    for _ in 0..3 {
        let store = dir.open();
        for (scope, (objects, revision)) in scopes.iter().zip(&before) {
            let listing = store.list(scope).await.unwrap();
            assert_eq!(format!("{:?}", listing.objects), format!("{objects:?}"));
            assert_eq!(store.revision(scope).await.unwrap(), *revision);
        }
        // The history is there, too: the removal with what was removed.
        let mut watch = store.watch(&Scope::default(), Revision(2)).await.unwrap();
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!((event.revision, event.changes.len()), (Revision(3), 2));
        assert!(event.changes[0].object.is_none() && event.changes[0].previous.is_some());
        store.close().await.unwrap();
    }
}

/// Puts 4,000 objects of 500 bytes, in commits of `each`: far more than is decoded in one go.
async fn put_many(store: &LogStore, each: usize) {
    let names: Vec<String> = (0..4_000).map(|n| format!("n-{n}")).collect();
    for names in names.chunks(each) {
        let put = |commit: Commit, name: &String| commit.put(map(name, &format!("{name:>0400}")));
        store.commit(names.iter().fold(Commit::new(), put)).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_store_is_there_again_in_order() {
    for (each, snapshots) in [(1, false), (1_000, false), (4_000, false), (500, true)] {
        let dir = Dir::new();
        let options = || LogStoreOptions::default().with_snapshots(if snapshots { 1 } else { u64::MAX }, 0.0);
        let store = dir.open_with(options());
        put_many(&store, each).await;
        // Each object once more or never again, so that an order that is not kept shows.
        for n in 0..20 {
            store.commit(Commit::new().delete(key("n-7")).put(map("n-8", &n.to_string()))).await.unwrap();
        }
        snapshot_ended(&store).await;
        let before = content(&store).await;
        store.close().await.unwrap();
        assert_eq!((before.len(), dir.files("snapshot").len()), (3_999, usize::from(snapshots)));
        let store = dir.open_with(options());
        assert_eq!(content(&store).await, before, "commits of {each}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_large_log_that_is_damaged_or_cut_is_no_other_than_a_small_one() {
    let dir = Dir::new();
    let store = dir.open();
    put_many(&store, 100).await;
    let before = content(&store).await;
    put(&store, "last", "1").await.unwrap();
    store.close().await.unwrap();
    let log = &dir.files("log")[0];
    let sound = fs::read(log).unwrap();
    for at in [100_000, 1_000_000, sound.len() - 1_000] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(log, bytes).unwrap();
        let opened = dir.try_open();
        assert!(is_corrupt(&opened, log), "byte {at}: {opened:?}");
    }
    fs::write(log, &sound[..sound.len() - 1]).unwrap();
    assert_eq!(content(&dir.open()).await, before, "without the last commit, which was cut short");
}

#[tokio::test]
async fn a_kind_that_nobody_knows_stays_as_it_is() {
    let dir = Dir::new();
    let store = dir.open();
    let info = KindInfo::new("example.com", "v1", "Widget", "widgets", true);
    let mut metadata = ObjectMeta::named("w");
    metadata.namespace = "a".into();
    let mut widget = Unstructured::new(info.clone(), metadata);
    widget.value.insert("spec".into(), serde_json::json!({"size": 3, "odd": [null, "x"]}));
    let key = ObjectKey { kind: info.group_kind(), namespace: "a".into(), name: "w".into() };
    store.commit(Commit::new().put(widget)).await.unwrap();
    let before = store.get(&key).await.unwrap().unwrap().to_value();
    store.close().await.unwrap();
    let store = dir.open();
    assert_eq!(store.get(&key).await.unwrap().unwrap().to_value(), before);
    store.commit(Commit::new().delete(key.clone())).await.unwrap();
    store.close().await.unwrap();
    assert!(dir.open().get(&key).await.unwrap().is_none());
}

#[tokio::test]
async fn revisions_skip_ahead_at_each_opening() {
    let dir = Dir::new();
    let mut before = Revision::ZERO;
    for round in 0..4 {
        let store = dir.open();
        let listed = store.list(&Scope::default()).await.unwrap().revision;
        assert!(listed >= before);
        let revision = put(&store, "a", "1").await.unwrap().revision;
        assert!(round == 0 || revision.0 > before.0 + SKIPPED);
        assert!(revision > listed);
        before = revision;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn snapshots_keep_the_directory_small() {
    let dir = Dir::new();
    let options = || LogStoreOptions::default().with_snapshots(20_000, 1.0);
    let store = dir.open_with(options());
    let mut largest = 0;
    for round in 0..2_000 {
        put(&store, &format!("n-{:02}", round % 20), &format!("{round:0200}")).await.unwrap();
        largest = largest.max(dir.size());
        snapshot_ended(&store).await;
    }
    // About 700 kB were written of 20 objects, 7 kB.
    assert!(largest < 100_000, "the directory grew to {largest} bytes");
    let written = content(&store).await;
    let scope = Scope::default().in_namespace("a");
    let revision = store.revision(&scope).await.unwrap();
    store.close().await.unwrap();
    assert_eq!((dir.files("snapshot").len(), written.len()), (1, 20));

    let store = dir.open_with(options());
    assert_eq!(content(&store).await, written);
    assert_eq!(store.revision(&scope).await.unwrap(), revision);
    // History begins at the snapshot, so that a watch from before it is told so.
    let error = store.watch(&scope, Revision(1)).await.unwrap_err();
    let StoreError::Compacted { oldest, .. } = error else { panic!("{error:?}") };
    let mut watch = store.watch(&scope, oldest).await.unwrap();
    while oldest < revision && watch.next().await.unwrap().unwrap().revision < revision {}
    // A kind that was never there has no history to lose.
    store.watch(&Scope::of::<Secret>(), Revision(1)).await.unwrap();
}

#[tokio::test]
async fn many_openings_leave_few_files() {
    let dir = Dir::new();
    for round in 0..100 {
        let store = dir.open();
        put(&store, "a", &round.to_string()).await.unwrap();
        snapshot_ended(&store).await;
        store.close().await.unwrap();
    }
    assert!(dir.files("").len() < 70, "{} files", dir.files("").len());
    assert_eq!(value(&dir.open(), "a").await.unwrap(), "99");
}

#[tokio::test]
async fn history_is_bounded_by_bytes() {
    let dir = Dir::new();
    let history = HistoryLimits::default().with_bytes(2_000);
    let store = dir.open_with(LogStoreOptions::default().with_history(history));
    for round in 0..20 {
        put(&store, "a", &format!("{round:0400}")).await.unwrap();
    }
    let error = store.watch(&Scope::default(), Revision(1)).await.unwrap_err();
    let StoreError::Compacted { oldest, .. } = error else { panic!("{error:?}") };
    assert!((15..19).contains(&oldest.0), "{oldest}");
}

#[tokio::test]
async fn a_second_process_is_refused_by_name() {
    let dir = Dir::new();
    let store = dir.open();
    let error = dir.try_open().unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&dir.0.display().to_string()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    store.close().await.unwrap();
    let again = dir.open();
    assert!(matches!(put(&store, "a", "1").await, Err(StoreError::Closed)));
    put(&again, "a", "1").await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let store = dir.open_with(LogStoreOptions::default().with_snapshots(1, 0.0));
    for _ in 0..10 {
        put(&store, "a", "1").await.unwrap();
        snapshot_ended(&store).await;
    }
    store.close().await.unwrap();
    assert_eq!(dir.0.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for file in dir.files("") {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn an_object_that_is_no_longer_understood_is_named() {
    let info = KindInfo::new("", "v1", "ConfigMap", "configmaps", true);
    let mut metadata = ObjectMeta::named("odd");
    metadata.namespace = "a".into();
    let mut odd = Unstructured::new(info, metadata);
    odd.value.insert("data".into(), serde_json::json!(7));
    for many in [false, true] {
        let dir = Dir::new();
        let store = dir.open();
        if many {
            put_many(&store, 100).await;
        }
        let offset = if many { dir.files("log")[0].metadata().unwrap().len() } else { 32 };
        store.commit(Commit::new().put(map("fine", "1")).put(odd.clone())).await.unwrap();
        store.close().await.unwrap();
        let error = dir.try_open().unwrap_err().to_string();
        assert!(error.contains("odd") && error.contains(&format!("offset {offset}:")), "{error}");
    }
}

#[tokio::test]
async fn a_missing_file_is_damage() {
    let dir = Dir::new();
    for _ in 0..3 {
        let store = dir.open();
        put(&store, "a", "1").await.unwrap();
        store.close().await.unwrap();
    }
    let logs = dir.files("log");
    assert_eq!(logs.len(), 3);
    for missing in 0..2 {
        let copy = dir.copy();
        fs::remove_file(&copy.files("log")[missing]).unwrap();
        let opened = copy.try_open();
        assert!(is_corrupt(&opened, &copy.files("log")[missing]), "{opened:?}");
    }
}

#[tokio::test]
async fn another_version_of_the_format_is_refused_as_such() {
    let dir = Dir::new();
    let store = dir.open();
    put(&store, "a", "1").await.unwrap();
    store.close().await.unwrap();
    let log = &dir.files("log")[0];
    let mut bytes = fs::read(log).unwrap();
    bytes[8] = 2;
    let sum = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    fs::write(log, bytes).unwrap();
    let error = dir.try_open().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("version 2"), "{error}: {source}");
}

#[tokio::test]
async fn what_could_not_be_read_again_is_refused() {
    let dir = Dir::new();
    let store = dir.open();
    let deep = |levels: usize| {
        let info = KindInfo::new("example.com", "v1", "Widget", "widgets", true);
        let mut widget =
            Unstructured::new(info, ObjectMeta { namespace: "a".into(), ..ObjectMeta::named("w") });
        let value = (1..levels).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
        widget.value.insert("spec".into(), value);
        widget
    };
    let refused = store.commit(Commit::new().put(deep(128))).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Invalid(why) if why.contains("nested 128 deep")), "{refused}");
    let mut map = map("m", "1");
    map.extra.0.insert("x".to_owned(), deep(200).value["spec"].clone());
    assert!(store.commit(Commit::new().put(map)).await.is_err());
    store.commit(Commit::new().put(deep(127))).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(dir.open().list(&Scope::default()).await.unwrap().objects.len(), 1);
}
