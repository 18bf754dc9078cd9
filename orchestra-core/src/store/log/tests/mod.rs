//! The log store against disks that fail, crashes, damage, and a model.

mod damage;
mod failing;
mod fault;
mod model;
mod recovery;
mod waiting;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use fault::FaultyDisk;

use super::{LogStore, LogStoreOptions};
use crate::model::{AnyObjectExt, ConfigMap, ObjectKey, Revision};
use crate::store::{Commit, Committed, Scope, Store, StoreError};

/// A directory that goes when it is dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("orchestra-log-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(unique).join("store"))
    }

    fn open(&self) -> LogStore {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<LogStore, StoreError> {
        LogStore::open_on(Arc::new(FaultyDisk::quick()), &self.0, LogStoreOptions::default())
    }

    fn open_with(&self, options: LogStoreOptions) -> LogStore {
        LogStore::open_on(Arc::new(FaultyDisk::quick()), &self.0, options).unwrap()
    }

    fn open_on(&self, disk: &FaultyDisk) -> LogStore {
        LogStore::open_on(Arc::new(disk.clone()), &self.0, LogStoreOptions::default()).unwrap()
    }

    /// The files whose name ends with `suffix`, by name.
    fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
        files.sort();
        files
    }

    fn size(&self) -> u64 {
        self.files("").iter().map(|path| path.metadata().map_or(0, |meta| meta.len())).sum()
    }

    /// A copy of it as it is now: what a crash at this moment leaves.
    fn copy(&self) -> Self {
        let copy = Self::new();
        std::fs::create_dir_all(&copy.0).unwrap();
        for file in self.files("") {
            std::fs::copy(&file, copy.0.join(file.file_name().unwrap())).unwrap();
        }
        copy
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(self.0.parent().unwrap()).ok();
    }
}

fn map(name: &str, value: &str) -> ConfigMap {
    ConfigMap::new(name).namespace("a").entry("value", value)
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new::<ConfigMap>("a", name)
}

async fn put(store: &LogStore, name: &str, value: &str) -> Result<Committed, StoreError> {
    store.commit(Commit::new().put(map(name, value))).await
}

async fn value(store: &LogStore, name: &str) -> Option<String> {
    let object = store.get(&key(name)).await.unwrap()?;
    let map: Arc<ConfigMap> = object.downcast().unwrap();
    map.data.value("value").map(str::to_owned)
}

/// Every object's name, value and revision.
async fn content(store: &LogStore) -> Vec<(String, String, Revision)> {
    let listing = store.list(&Scope::default()).await.unwrap();
    let entry = |object| {
        let map: Arc<ConfigMap> = AnyObjectExt::downcast(object).unwrap();
        let value = map.data.value("value").unwrap().to_owned();
        (map.metadata.name.clone(), value, map.metadata.resource_version)
    };
    listing.objects.into_iter().map(entry).collect()
}

/// Waits until no snapshot is being made.
async fn snapshot_ended(store: &LogStore) {
    while super::writer::lock(&store.handle.writer.queue).snapshotting {
        tokio::task::yield_now().await;
    }
}

/// Lets a future do its first step.
async fn step<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

fn is_corrupt(result: &Result<LogStore, StoreError>, path: &Path) -> bool {
    matches!(result, Err(StoreError::Corrupt { path: found, .. }) if *found == path.display().to_string())
}
