//! A store on disk: its state in memory, a log of what was committed, and now and then a snapshot.

mod codec;
mod disk;
mod frame;
mod in_order;
mod open;
mod options;
mod queue;
mod recover;
mod segment;
mod segments;
mod snapshot;
#[cfg(test)]
mod tests;
mod turn;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use options::LogStoreOptions;

use super::state::own_objects;
use super::{Commit, Committed, Listing, Scope, Store, StoreError, Watch};
use crate::model::{AnyObject, ObjectKey, Revision};
use codec::SizeLimits;
use writer::{Submitted, Writer, lock};

/// A store in a directory of its own.
///
/// Reads are answered from memory. A commit is acknowledged, and becomes visible, when it is on disk; commits that
/// come at the same time share one sync.
///
/// - **After a crash** every acknowledged commit is there. One that was not acknowledged is there whole or not at
///   all. A last write that was cut short is left out; damage elsewhere is [`StoreError::Corrupt`], and nothing
///   is changed on disk.
/// - **History** reaches back to the last snapshot, as far as [`LogStoreOptions::history`] allows.
/// - **Revisions** skip ahead by a million at each opening, so that what a lying disk or a restored backup has
///   lost never comes again as something else.
/// - **Full disk**: commits end in [`StoreError::NoSpace`], reads go on, and later commits succeed when there is room.
/// - **Failed sync**: the commits concerned end in [`StoreError::OutcomeUnknown`], later ones in
///   [`StoreError::Failed`], reads go on, until the store is closed and opened again: after a failed sync nobody can
///   know what is on disk, and trying again would hide the loss.
/// - **Size**: beyond [`LogStoreOptions::max_object_bytes`] and [`LogStoreOptions::max_commit_bytes`] a commit is
///   refused as [`StoreError::TooLarge`].
/// - **One process** uses the directory at a time. Its files are readable by their owner only.
///
/// Commits are written by the runtime's blocking pool. A clone is another handle to the same store; when the last
/// one is dropped its watches end, and commits still under way are finished. [`close`](Store::close) waits for that,
/// and then another store can be opened in the directory.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("orchestra-doc-{}", std::process::id()));
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use orchestra_core::model::ConfigMap;
/// use orchestra_core::store::{Commit, LogStore, LogStoreOptions, Scope, Store};
///
/// let store = LogStore::open(&dir, LogStoreOptions::default())?;
/// store.commit(Commit::new().put(ConfigMap::new("settings"))).await?;
/// store.close().await?;
///
/// let store = LogStore::open(&dir, LogStoreOptions::default())?;
/// assert_eq!(store.list(&Scope::of::<ConfigMap>()).await?.objects.len(), 1);
/// # store.close().await?;
/// # Ok::<(), orchestra_core::store::StoreError>(())
/// # }).unwrap();
/// # std::fs::remove_dir_all(dir).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct LogStore {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    writer: Arc<Writer>,
    limits: SizeLimits,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.writer.stop();
        self.writer.shared.close();
        // Else the last to work on them lets them go.
        if lock(&self.writer.queue).is_at_rest() {
            self.writer.let_go();
        }
    }
}

impl LogStore {
    /// Opens the store in the directory `dir`, which is made where it is missing. Reads, checks and decodes all of it on
    /// the machine's cores, and blocks the thread meanwhile: some tens of milliseconds for 10,000 objects of 1 KB.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where another process has it open, or the directory can't be read or written;
    /// [`StoreError::Corrupt`] where what is in it is damaged.
    pub fn open(dir: impl AsRef<Path>, options: LogStoreOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(disk::OsDisk), dir.as_ref(), options)
    }
}

#[async_trait]
impl Store for LogStore {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        self.handle.writer.shared.with(|state| state.get(key).cloned())
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        self.handle.writer.shared.with(|state| state.list(scope))
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        own_objects(&mut commit);
        let body = codec::encode_writes(&commit, self.handle.limits)?;
        let room = self.handle.writer.room(body.len()).await?;
        match self.handle.writer.submit(commit, body, room)? {
            Submitted::Now(committed) => Ok(committed),
            Submitted::Later(answer) => {
                answer.await.unwrap_or_else(|gone| Err(StoreError::OutcomeUnknown(Box::new(gone))))
            }
        }
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        self.handle.writer.shared.watch(scope, after)
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        self.handle.writer.shared.with(|state| state.last(scope))
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.handle.writer.shared.with(|state| state.compact(through))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.handle.writer.close().await
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn failed(operation: &str, path: &Path, error: io::Error) -> StoreError {
    if is_full(&error) {
        return StoreError::NoSpace(Box::new(error));
    }
    let operation = format!("{operation} {}", path.display());
    StoreError::Failed { operation, transient: false, source: Box::new(error) }
}

fn corrupt(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), what: what.to_owned() }
}

fn wrong_version(path: &Path, version: u32) -> StoreError {
    let why = format!("it is of version {version} of the format, and this program reads version 1 only");
    failed("read", path, io::Error::new(io::ErrorKind::Unsupported, why))
}
