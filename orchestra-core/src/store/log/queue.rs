//! Commits that wait to be written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::model::Revision;
use crate::store::state::{Pending, Prepared};
use crate::store::{Committed, StoreError};

/// How many bytes of commits are written with one sync, unless one commit alone has more: some milliseconds'
/// worth on a plain disk, so that the first of them does not wait long for the last.
const GROUP_BYTES: usize = 4 << 20;

/// A commit that was accepted, or the answer to one that is held back until those before it are done.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Committed, StoreError>>,
    /// Its share of the room for waiting commits, given back when it is done.
    pub(super) room: OwnedSemaphorePermit,
}

/// What is to be done for an item.
#[derive(Debug)]
pub(super) enum Work {
    /// To be written, and then applied.
    Write {
        /// What it changes.
        prepared: Prepared,
        /// Its writes as bytes.
        body: Vec<u8>,
    },
    /// To be answered.
    Answer(Result<Prepared, StoreError>),
}

impl Item {
    pub(super) fn write(&self) -> Option<(&Prepared, &[u8])> {
        match &self.work {
            Work::Write { prepared, body } => Some((prepared, body)),
            Work::Answer(_) => None,
        }
    }

    /// Answers it, as everything through `last` is done.
    pub(super) fn done(self, last: Revision) {
        let result = match self.work {
            Work::Write { prepared, .. } => Ok(prepared.committed(last)),
            Work::Answer(answer) => answer.map(|prepared| prepared.committed(last)),
        };
        drop(self.room);
        // Whoever no longer waits does not want to know.
        self.reply.send(result).ok();
    }

    /// Answers it, as it was not done.
    pub(super) fn failed(self, error: StoreError) {
        drop(self.room);
        self.reply.send(Err(error)).ok();
    }
}

/// What waits, and what may be done.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) items: VecDeque<Item>,
    /// What the state will be when all items are done.
    pub(super) pending: Pending,
    /// Whether a task is at work on the items, or about to be.
    pub(super) writing: bool,
    /// Whether a snapshot is being made.
    pub(super) snapshotting: bool,
    /// Whether the store is being closed: no more commits.
    pub(super) closing: bool,
    /// Why nothing more may be written.
    pub(super) broken: Option<Arc<io::Error>>,
}

impl Queue {
    /// Takes the next items that are written together. Empty: there are none, and the writer rests.
    pub(super) fn take_group(&mut self) -> Vec<Item> {
        let mut bytes = 0;
        let mut count = 0;
        for item in &self.items {
            bytes += item.write().map_or(0, |(_, body)| body.len());
            if count > 0 && bytes > GROUP_BYTES {
                break;
            }
            count += 1;
        }
        self.writing = count > 0;
        self.items.drain(..count).collect()
    }

    /// Takes everything that waits, as what it builds upon will not be.
    pub(super) fn abandon(&mut self) -> Vec<Item> {
        self.pending = Pending::default();
        self.items.drain(..).collect()
    }

    /// Whether all work has come to an end.
    pub(super) fn is_at_rest(&self) -> bool {
        self.items.is_empty() && !self.writing && !self.snapshotting
    }
}
