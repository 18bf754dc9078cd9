//! A state that many tasks read, and the watches that follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::state::{Pending, Prepared, State, Step, own_objects};
use super::{Commit, Committed, Scope, StoreError, Watch, WatchEvent};
use crate::model::{GroupKind, Revision};

/// A state, and whoever waits for it to change.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// The last revision that touched each kind that is watched; `None` is all kinds. Dropped: closed.
    wake: BTreeMap<Option<GroupKind>, watch::Sender<Revision>>,
    closed: bool,
}

impl Shared {
    pub(super) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { state, wake: BTreeMap::new(), closed: false }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state.
    ///
    /// # Errors
    /// [`StoreError::Closed`]
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> Result<R, StoreError> {
        let mut inner = self.lock();
        if inner.closed { Err(StoreError::Closed) } else { Ok(look(&mut inner.state)) }
    }

    /// Checks and does a commit at once.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or why the commit is refused.
    pub(super) fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        own_objects(&mut commit);
        let mut inner = self.lock();
        if inner.closed {
            return Err(StoreError::Closed);
        }
        let prepared = inner.state.prepare(commit, &Pending::default()).result?;
        inner.state.apply(&prepared);
        inner.wake(std::iter::once(&prepared));
        Ok(prepared.committed(inner.state.revision()))
    }

    /// Does commits that were prepared and accepted before, and wakes the watches of the kinds they touch, and no
    /// others. Gives the revision they led to.
    pub(super) fn apply<'a>(&self, done: impl Iterator<Item = &'a Prepared> + Clone) -> Revision {
        let mut inner = self.lock();
        done.clone().for_each(|prepared| inner.state.apply(prepared));
        inner.wake(done);
        inner.state.revision()
    }

    pub(super) fn watch(self: &Arc<Self>, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(StoreError::Closed);
        }
        // Says now rather than later that the history does not reach back so far.
        inner.state.next_after(scope, after)?;
        inner.wake.retain(|_, sender| sender.receiver_count() > 0);
        let sender =
            inner.wake.entry(scope.kind.clone()).or_insert_with(|| watch::Sender::new(Revision::ZERO));
        let cursor =
            Cursor { shared: Arc::clone(self), wake: sender.subscribe(), scope: scope.clone(), after };
        drop(inner);
        Ok(Watch::new(futures_util::stream::unfold(Some(cursor), |cursor| async {
            let mut cursor = cursor?;
            match cursor.next().await? {
                Ok(event) => Some((Ok(event), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    /// Ends all watches, and refuses what comes later.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.wake.clear();
    }
}

impl Inner {
    fn wake<'a>(&self, done: impl Iterator<Item = &'a Prepared>) {
        if self.wake.is_empty() {
            return;
        }
        let changes = done.flat_map(|prepared| prepared.event.changes.iter());
        let kinds: BTreeSet<&GroupKind> = changes.map(|change| &change.key.kind).collect();
        if kinds.is_empty() {
            return;
        }
        for kind in kinds.into_iter().cloned().map(Some).chain([None]) {
            if let Some(sender) = self.wake.get(&kind) {
                sender.send_replace(self.state.revision());
            }
        }
    }
}

/// Where a watch is in the shared history. It holds no events of its own.
struct Cursor {
    shared: Arc<Shared>,
    wake: watch::Receiver<Revision>,
    scope: Scope,
    /// Everything through this was delivered, or is of no concern.
    after: Revision,
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        loop {
            self.wake.mark_unchanged();
            match self.shared.with(|state| state.next_after(&self.scope, self.after)) {
                Err(_closed) => return None,
                Ok(Err(error)) => return Some(Err(error)),
                Ok(Ok(Step::Event(event))) => {
                    self.after = event.revision;
                    return Some(Ok(event));
                }
                Ok(Ok(Step::Skipped(seen))) => self.after = seen,
                Ok(Ok(Step::End(seen))) => {
                    self.after = seen;
                    self.wake.changed().await.ok()?;
                }
            }
        }
    }
}
