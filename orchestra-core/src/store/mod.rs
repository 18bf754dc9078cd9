//! Where objects live: the [`Store`] contract.
//!
//! Which store do I want? [`MemoryStore`] where nothing needs to outlive the process (tests, simulations,
//! throw-away clusters); [`LogStore`] where it does.

mod commit;
mod error;
mod forward;
mod history;
mod log;
mod memory;
mod shared;
mod state;
mod watch;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use commit::{Commit, Committed, Epoch, Precondition, Write};
pub use error::StoreError;
pub use history::HistoryLimits;
pub use log::{LogStore, LogStoreOptions};
pub use memory::{MemoryStore, MemoryStoreOptions};
pub use watch::{Change, Watch, WatchEvent};

use crate::model::{AnyObject, GroupKind, ObjectKey, Resource, Revision};

/// Which objects a list or watch is about. `Default` means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only objects of this kind.
    pub kind: Option<GroupKind>,
    /// Only objects in this namespace.
    pub namespace: Option<Arc<str>>,
}

impl Scope {
    /// All objects of the kind `T`.
    #[must_use]
    pub fn of<T: Resource>() -> Self {
        Self::kind(GroupKind::of::<T>())
    }

    /// All objects of `kind`.
    #[must_use]
    pub fn kind(kind: GroupKind) -> Self {
        Self { kind: Some(kind), namespace: None }
    }

    /// Only those in `namespace`.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Whether the object at `key` is in this scope.
    #[must_use]
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.kind.as_ref().is_none_or(|k| *k == key.kind)
            && self.namespace.as_ref().is_none_or(|n| *n == key.namespace)
    }
}

/// A consistent list: all objects in the scope as of one revision.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The store's revision the list was made at. A watch after it misses nothing.
    pub revision: Revision,
    /// The objects, ordered by key.
    pub objects: Vec<AnyObject>,
}

/// Keeps objects, in one global sequence of commits.
///
/// # Contract
/// - **Sequence.** Every commit that changes something has a revision; revisions strictly grow and are
///   never used twice, also across restarts.
/// - **Atomic.** A commit happens whole or not at all; its preconditions are checked against the state just
///   before it. Its objects carry its revision as `metadata.resourceVersion`.
/// - **Durable.** Where the implementation says so, an acknowledged commit survives `kill -9` and a torn
///   last write. A commit that ends in [`StoreError::OutcomeUnknown`] may have happened.
/// - **Linearizable.** A read that starts after a commit was acknowledged sees it.
/// - **Watch.** A watch after revision R delivers every later commit in its scope exactly once, in order,
///   the changes of one commit together; or ends with [`StoreError::Compacted`].
/// - **Fenced.** A commit with an [`Epoch`] smaller than one already committed is refused with
///   [`StoreError::Fenced`].
/// - **Cancel-safe.** A dropped `commit` future leaves the commit done or not done; all others change nothing.
/// - **Concurrent.** All methods may be called at once from any number of tasks.
///
/// Checked by `orchestra_testkit::store_contract`. Shipped: [`MemoryStore`], [`LogStore`].
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The object at `key`.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or a read failure.
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError>;

    /// All objects in `scope`, as of one revision.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or a read failure.
    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError>;

    /// Carries out `commit`. On return the change is done and, in a durable store, on disk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a precondition does not hold; see [`StoreError`] for the rest.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Follows the commits in `scope` after the revision `after`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] where commits after `after` are no longer held. The same may end the watch
    /// later, where its reader is too slow.
    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError>;

    /// The revision of the last commit that changed something in `scope`; [`Revision::ZERO`] where none did.
    ///
    /// Whoever has seen the watch of that scope up to here has seen all that was acknowledged before the call.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or a read failure.
    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError>;

    /// Forgets the history up to and including `through`; the objects themselves stay.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or a write failure.
    async fn compact(&self, through: Revision) -> Result<(), StoreError>;

    /// Ends the store: what was acknowledged is safe, open watches end, later calls fail with
    /// [`StoreError::Closed`]. May be called again.
    ///
    /// # Errors
    /// A failure of the last write.
    async fn close(&self) -> Result<(), StoreError>;
}

const _: fn(&dyn Store) = |_| {};
