//! What can go wrong in a store.

use std::error::Error;

use super::Epoch;
use crate::model::{ObjectKey, Revision};

/// A failure of a [`Store`](super::Store).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A precondition does not hold. Read the object again and decide anew.
    #[error("{key}: {}", conflict(*.expected, *.found))]
    Conflict {
        /// The object that is not as expected.
        key: ObjectKey,
        /// The revision that was required; `None`: that there is no object, or another identity.
        expected: Option<Revision>,
        /// The revision found; `None`: there is no object.
        found: Option<Revision>,
    },
    /// The history after the requested revision is no longer held. List again and watch from there.
    #[error("revision {requested} is compacted: the oldest one held is {oldest}; list again")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest revision that a watch can start after.
        oldest: Revision,
    },
    /// Another writer with a greater epoch has taken over. Stop writing.
    #[error("a writer of epoch {} is fenced off: epoch {} has committed", .epoch.0, .current.0)]
    Fenced {
        /// The epoch of the refused commit.
        epoch: Epoch,
        /// The greatest epoch that committed.
        current: Epoch,
    },
    /// The commit breaks a limit of the store. Nothing happened.
    #[error("{what} is over the store's limit of {limit}")]
    TooLarge {
        /// What is too large, with its size.
        what: String,
        /// The limit, in the unit named in `what`.
        limit: u64,
    },
    /// The commit is not well formed: a key written twice, say. Nothing happened.
    #[error("commit refused: {0}")]
    Invalid(String),
    /// There is no room. Nothing happened; reads go on.
    #[error("the store has no room left; free space on its disk, writes are tried again by themselves")]
    NoSpace(#[source] Box<dyn Error + Send + Sync>),
    /// The operation failed and had no effect.
    #[error("the store failed to {operation}")]
    Failed {
        /// What was tried.
        operation: String,
        /// Whether trying again may help.
        transient: bool,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is not known whether the commit happened. Read before you try again.
    #[error("it is unknown whether the commit happened")]
    OutcomeUnknown(#[source] Box<dyn Error + Send + Sync>),
    /// What is on disk can't be read back. Nothing was changed there.
    #[error("the store at {path} is damaged: {what}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong, where in it, and what can be done.
        what: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoSpace(_) | Self::OutcomeUnknown(_) => true,
            Self::Failed { transient, .. } => *transient,
            _ => false,
        }
    }

    /// Whether the commit may have happened all the same.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_))
    }
}

fn conflict(expected: Option<Revision>, found: Option<Revision>) -> String {
    match (expected, found) {
        (Some(expected), Some(found)) => {
            format!("changed since revision {expected}: it is now at {found}; read it again")
        }
        (Some(_), None) => "does not exist any more".to_owned(),
        (None, Some(found)) => format!("exists already, at revision {found}"),
        (None, None) => "does not exist".to_owned(),
    }
}
