//! The log store against `kill -9` and a disk that is really full.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use orchestra_core::model::{AnyObjectExt, ConfigMap, ObjectKey, Revision};
use orchestra_core::store::{Commit, LogStore, LogStoreOptions, Scope, Store, StoreError};

/// Where the writing process finds its store. Set only for that process.
const DIR: &str = "ORCHESTRA_TEST_STORE";
/// How often the writing process is killed; more when this variable says so.
const KILLS: (&str, usize) = ("ORCHESTRA_TEST_KILLS", 12);
const WRITERS: u64 = 8;

fn options() -> LogStoreOptions {
    // A snapshot every few hundred commits, so that many are killed while one is made.
    LogStoreOptions::default().with_snapshots(60_000, 1.0)
}

fn key(writer: u64, part: &str) -> ObjectKey {
    ObjectKey::new::<ConfigMap>("a", format!("w-{writer}-{part}"))
}

fn map(writer: u64, part: &str, round: u64) -> ConfigMap {
    ConfigMap::new(format!("w-{writer}-{part}")).namespace("a").entry("round", round.to_string())
}

async fn round(store: &LogStore, writer: u64, part: &str) -> Option<u64> {
    let object = store.get(&key(writer, part)).await.unwrap()?;
    let map: Arc<ConfigMap> = object.downcast().unwrap();
    Some(map.data.value("round").unwrap().parse().unwrap())
}

/// A writer's part `b` is there in two of three rounds, with the round's number, as `a` always is.
fn expected_b(round: u64) -> Option<u64> {
    (round > 0 && !round.is_multiple_of(3)).then_some(round)
}

/// The process that is killed: each of its writers says on standard output what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = LogStore::open(dir, options()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut last = round(&store, writer, "a").await.unwrap_or(0);
            loop {
                last += 1;
                let commit = Commit::new().put(map(writer, "a", last));
                let commit = match expected_b(last) {
                    Some(_) => commit.put(map(writer, "b", last)),
                    None => commit.delete(key(writer, "b")),
                };
                let revision = store.commit(commit).await.unwrap().revision;
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nacknowledged {writer} {last} {revision}").unwrap();
                out.flush().unwrap();
            }
        });
    }
    // The writers go on until the kill; one that ends before it has failed.
    if let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("orchestra-{name}-{}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writing_process", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn no_acknowledged_commit_is_lost_to_kill_9() {
    let kills = std::env::var(KILLS.0).map_or(KILLS.1, |kills| kills.parse().unwrap());
    let dir = Dir::new("kill");
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut revisions: BTreeSet<u64> = BTreeSet::new();
    for kill in 0..kills {
        let mut child = start(&dir.0);
        let before = revisions.last().copied().unwrap_or(0);
        let enough = 30 + kill * 97 % 600;
        let mut count = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // After the kill, what it had said before is still read.
        while let Some(Ok(line)) = lines.next() {
            let Some(numbers) = line.strip_prefix("acknowledged ") else { continue };
            let numbers: Vec<u64> = numbers.split(' ').filter_map(|n| n.parse().ok()).collect();
            let [writer, round, revision] = numbers[..] else { continue };
            acknowledged.insert(writer, round);
            assert!(revision > before && revisions.insert(revision), "revision {revision} comes again");
            count += 1;
            if count == enough {
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert!(count >= enough, "the writing process ended by itself: {status}");
        check(&dir.0, &acknowledged).await;
    }
}

/// Checks that everything acknowledged is there, and each commit whole.
async fn check(dir: &Path, acknowledged: &BTreeMap<u64, u64>) {
    let store = LogStore::open(dir, options()).unwrap();
    for writer in 0..WRITERS {
        let acknowledged = acknowledged.get(&writer).copied().unwrap_or(0);
        let there = round(&store, writer, "a").await.unwrap_or(0);
        assert!(
            there == acknowledged || there == acknowledged + 1,
            "writer {writer}: round {acknowledged} was acknowledged, and {there} is there"
        );
        assert_eq!(round(&store, writer, "b").await, expected_b(there), "writer {writer}: a commit is whole");
    }
    // What the history makes of the objects it touches is what is there.
    let scope = Scope::default();
    let listing = store.list(&scope).await.unwrap();
    let start = match store.watch(&scope, Revision::ZERO).await {
        Ok(_) => Revision::ZERO,
        Err(StoreError::Compacted { oldest, .. }) => oldest,
        Err(error) => panic!("{error}"),
    };
    let last = store.revision(&scope).await.unwrap();
    let mut watch = store.watch(&scope, start).await.unwrap();
    let mut touched = BTreeMap::new();
    let mut seen = start;
    while seen < last {
        let event = watch.next().await.unwrap().unwrap();
        assert!(event.revision > seen, "events come in order");
        seen = event.revision;
        for change in event.changes.iter() {
            let now = change.object.as_ref().map(|object| object.meta().resource_version);
            touched.insert(change.key.clone(), now);
        }
    }
    let there: BTreeMap<_, _> =
        listing.objects.iter().map(|o| (ObjectKey::of(&**o), o.meta().resource_version)).collect();
    for (key, revision) in &touched {
        assert_eq!(there.get(key), revision.as_ref(), "{key}");
    }
    assert!(there.iter().all(|(key, revision)| *revision <= start || touched.contains_key(key)));
    store.close().await.unwrap();
}

/// A small file system in memory, unmounted when dropped.
#[cfg(target_os = "linux")]
struct SmallDisk(Dir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// `None`, and the reason on standard error, where this process may not mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = Dir::new("small-disk");
        std::fs::create_dir_all(&dir.0).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir.0).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                eprintln!(
                    "SKIPPED: no file system can be mounted: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: there is no mount: {error}");
                None
            }
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0.0).status().ok();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_is_really_full_loses_nothing() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let (dir, filler) = (disk.0.0.join("store"), disk.0.0.join("filler"));
    std::fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let store = LogStore::open(&dir, LogStoreOptions::default()).unwrap();
    let put = async |store: &LogStore, name: String| {
        let map = ConfigMap::new(name).namespace("a").entry("fill", "x".repeat(20_000));
        store.commit(Commit::new().put(map)).await
    };
    let mut stored = 0;
    let error = loop {
        match put(&store, format!("n-{stored:03}")).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 200, "the disk does not get full");
    };
    assert!(matches!(error, StoreError::NoSpace(_)), "{error:?}");
    assert_eq!(store.list(&Scope::default()).await.unwrap().objects.len(), stored, "reads go on");
    assert!(matches!(put(&store, "no".into()).await, Err(StoreError::NoSpace(_))));
    store.close().await.unwrap();

    let store = LogStore::open(&dir, LogStoreOptions::default()).unwrap();
    assert_eq!(store.list(&Scope::default()).await.unwrap().objects.len(), stored, "it opens on a full disk");
    assert!(matches!(put(&store, "no".into()).await, Err(StoreError::NoSpace(_))));
    std::fs::remove_file(&filler).unwrap();
    put(&store, "more".into()).await.unwrap();
    store.close().await.unwrap();
    let store = LogStore::open(&dir, LogStoreOptions::default()).unwrap();
    assert_eq!(store.list(&Scope::default()).await.unwrap().objects.len(), stored + 1);
    store.close().await.unwrap();
}
