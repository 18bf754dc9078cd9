//! The one writer of the log.
//!
//! Commits are checked, numbered and queued under one lock. A task on the blocking pool writes all that waits as one
//! frame, syncs, applies it to the state that everybody reads, and answers; then it takes what has come meanwhile. It
//! ends when nothing waits, so that an idle store holds no thread.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::queue::{Item, Queue, Work};
use super::segment::AppendError;
use super::segments::{Segments, SnapshotPolicy};
use super::turn::Turn;
use super::{codec, frame};
use crate::model::Revision;
use crate::store::shared::Shared;
use crate::store::{Commit, Committed, StoreError};

/// How many bytes of commits may wait to be written; further ones wait for room first. Far more than a sync's worth.
pub(super) const ROOM: u32 = 64 << 20;

/// How many bytes a commit has in the log beside its writes, and a frame beside its commits, at most.
const COMMIT_OVERHEAD: usize = 32;

/// Writes what is committed to the log, and then to the state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Mutex<Queue>,
    /// Held while it is written. `None`: closed.
    pub(super) segments: Mutex<Option<Segments>>,
    pub(super) policy: SnapshotPolicy,
    pub(super) room: Arc<Semaphore>,
    /// Told when work comes to an end.
    pub(super) rest: Notify,
    /// Whether a snapshot that is being made is no longer wanted.
    pub(super) stop: AtomicBool,
    /// Keeps other processes out.
    pub(super) lock: Mutex<Option<File>>,
}

/// The answer to a commit: at once, or later.
pub(super) enum Submitted {
    /// It is decided.
    Now(Committed),
    /// It is decided when what waits was written.
    Later(oneshot::Receiver<Result<Committed, StoreError>>),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        segments: Segments,
        policy: SnapshotPolicy,
        lock: File,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            queue: Mutex::default(),
            segments: Mutex::new(Some(segments)),
            policy,
            room: Arc::new(Semaphore::new(ROOM as usize)),
            rest: Notify::new(),
            stop: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Waits until there is room for `bytes` in the queue. Room is given in the order it was asked for.
    ///
    /// # Errors
    /// [`StoreError::Closed`]
    pub(super) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let share = u32::try_from(bytes).unwrap_or(ROOM).min(ROOM);
        Arc::clone(&self.room).acquire_many_owned(share).await.map_err(|_closed| StoreError::Closed)
    }

    /// Checks `commit` against everything accepted so far, and accepts it. `body` is its writes as bytes.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn submit(
        self: &Arc<Self>,
        commit: Commit,
        body: Vec<u8>,
        room: OwnedSemaphorePermit,
    ) -> Result<Submitted, StoreError> {
        let runtime = runtime()?;
        let mut queue = lock(&self.queue);
        if queue.closing {
            return Err(StoreError::Closed);
        }
        if let Some(error) = &queue.broken {
            return Err(broken(error));
        }
        let (verdict, last) =
            self.shared.with(|state| (state.prepare(commit, &queue.pending), state.revision()))?;
        let work = match verdict.result {
            Ok(mut prepared) if !prepared.is_idle() => {
                prepared.bytes = body.len();
                queue.pending.add(&prepared);
                Work::Write { prepared, body }
            }
            Ok(prepared) if !verdict.unsettled => return Ok(Submitted::Now(prepared.committed(last))),
            Err(error) if !verdict.unsettled => return Err(error),
            answer => Work::Answer(answer),
        };
        let (reply, answer) = oneshot::channel();
        queue.items.push_back(Item { work, reply, room });
        self.start(queue, &runtime);
        Ok(Submitted::Later(answer))
    }

    /// Sees to it that somebody writes what waits.
    pub(super) fn start(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>, runtime: &Handle) {
        if !queue.writing && !queue.items.is_empty() {
            queue.writing = true;
            // A runtime that is ending drops the turn here and now, and that takes the lock.
            drop(queue);
            let turn = Turn::new(self);
            runtime.spawn_blocking(move || turn.run());
        }
    }

    /// Writes `group` as one frame and answers it. Gives the next group: by the time that the last commit is
    /// answered, the writer is at rest.
    pub(super) fn write(self: &Arc<Self>, group: Vec<Item>) -> Vec<Item> {
        let started = Instant::now();
        let commits = group.iter().filter_map(Item::write).count();
        let mut guard = lock(&self.segments);
        let Some(segments) = guard.as_mut() else { return Vec::new() };
        let path = segments.path();
        match append(segments, &group) {
            Ok(()) => {
                metrics::histogram!("orchestra_store_append_seconds").record(started.elapsed());
                metrics::counter!("orchestra_store_commits_total").increment(commits as u64);
                let last = self.show(&group);
                if segments.snapshot_due(self.policy) {
                    self.start_snapshot(segments);
                }
                drop(guard);
                let next = lock(&self.queue).take_group();
                group.into_iter().for_each(|item| item.done(last));
                next
            }
            Err(AppendError::Refused(error)) => {
                tracing::warn!(path = %path.display(), %error, "commits could not be written and were refused");
                let error = Arc::new(error);
                let (later, next) = self.abandon(None);
                group.into_iter().chain(later).for_each(|item| item.failed(refused(&error)));
                next
            }
            Err(AppendError::Unknown(error)) => {
                tracing::error!(path = %path.display(), %error, "the store can't write any more: open it again");
                let error = Arc::new(error);
                let (later, next) = self.abandon(Some(&error));
                let unknown = || StoreError::OutcomeUnknown(Box::new(Arc::clone(&error)));
                group.into_iter().for_each(|item| item.failed(unknown()));
                // Nothing of these was written.
                later.into_iter().for_each(|item| item.failed(broken(&error)));
                next
            }
        }
    }

    /// Makes a group that is on disk visible, and says what revision it led to.
    fn show(&self, group: &[Item]) -> Revision {
        let prepared = || group.iter().filter_map(|item| item.write().map(|(prepared, _)| prepared));
        let mut queue = lock(&self.queue);
        let last = self.shared.apply(prepared());
        prepared().for_each(|prepared| queue.pending.settle(prepared));
        last
    }

    /// Takes everything that waits, as what it builds upon will not be, and the next group, of which there is none.
    fn abandon(&self, broken: Option<&Arc<io::Error>>) -> (Vec<Item>, Vec<Item>) {
        let mut queue = lock(&self.queue);
        if let Some(error) = broken {
            queue.broken = Some(Arc::clone(error));
        }
        (queue.abandon(), queue.take_group())
    }
}

/// Appends the commits in `group` as one frame.
fn append(segments: &mut Segments, group: &[Item]) -> Result<(), AppendError> {
    let writes = || group.iter().filter_map(Item::write);
    let Some(last) = writes().next_back().map(|(prepared, _)| prepared.event.revision) else { return Ok(()) };
    let mut bytes = Vec::with_capacity(writes().map(|(_, body)| body.len() + COMMIT_OVERHEAD).sum());
    let framed = frame::write(&mut bytes, |buffer| {
        writes().try_for_each(|(prepared, body)| {
            codec::put_commit(buffer, prepared.event.revision, prepared.epoch, body)
        })
    });
    framed.map_err(AppendError::Refused)?;
    segments.append(&bytes, last)
}

/// The runtime that lends threads for writing.
///
/// # Errors
/// Where there is none.
pub(super) fn runtime() -> Result<Handle, StoreError> {
    Handle::try_current().map_err(|error| StoreError::Failed {
        operation: "write outside a tokio runtime".to_owned(),
        transient: false,
        source: Box::new(error),
    })
}

/// A write failed and left nothing behind.
fn refused(error: &Arc<io::Error>) -> StoreError {
    let source = Box::new(Arc::clone(error));
    if super::is_full(error) {
        return StoreError::NoSpace(source);
    }
    StoreError::Failed { operation: "write a commit".to_owned(), transient: true, source }
}

/// An earlier write failed in a way that rules out further ones.
pub(super) fn broken(error: &Arc<io::Error>) -> StoreError {
    let operation = "write, as its disk failed before: it is read-only until it is opened again".to_owned();
    StoreError::Failed { operation, transient: false, source: Box::new(Arc::clone(error)) }
}
