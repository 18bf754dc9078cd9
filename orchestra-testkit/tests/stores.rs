//! The stores that ship, against the suite.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use orchestra_core::store::{LogStore, LogStoreOptions, MemoryStore, Store};
use orchestra_testkit::store_contract;

/// A directory that goes when it is dropped, and makes a new one inside for each store.
struct Dirs {
    root: PathBuf,
    next: AtomicU32,
}

impl Dirs {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("orchestra-{name}-{}", std::process::id()));
        Self { root, next: AtomicU32::new(0) }
    }

    fn log_store(&self, options: LogStoreOptions) -> LogStore {
        let dir = self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        LogStore::open(dir, options).unwrap()
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_store() {
    store_contract::run(|| async { MemoryStore::new() }).await;
}

#[tokio::test]
async fn memory_store_behind_dyn_on_one_thread() {
    store_contract::run(|| async { Arc::new(MemoryStore::new()) as Arc<dyn Store> }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn log_store() {
    let dirs = Dirs::new("log-store");
    store_contract::run(|| async { dirs.log_store(LogStoreOptions::default()) }).await;
}

#[tokio::test]
async fn log_store_behind_dyn_on_one_thread() {
    let dirs = Dirs::new("log-store-dyn");
    store_contract::run(|| async { Arc::new(dirs.log_store(LogStoreOptions::default())) as Arc<dyn Store> })
        .await;
}

/// A snapshot after every few commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn log_store_that_makes_snapshots_all_the_time() {
    let dirs = Dirs::new("log-store-snapshots");
    store_contract::run(|| async { dirs.log_store(LogStoreOptions::default().with_snapshots(500, 0.0)) })
        .await;
}
