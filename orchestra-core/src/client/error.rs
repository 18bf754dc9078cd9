//! What can go wrong when objects are read and written.

use crate::model::{FieldErrors, ManifestError, ObjectKey};
use crate::store::StoreError;

/// A failure of a [`Client`](super::Client).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no such object.
    #[error("{0} does not exist")]
    NotFound(ObjectKey),
    /// There is such an object already.
    #[error("{0} exists already; update it, or apply instead of create")]
    AlreadyExists(ObjectKey),
    /// The object changed since it was read, or is not the one that was meant. Read it and decide again.
    #[error("{key} was not changed: {why}")]
    Conflict {
        /// The object.
        key: ObjectKey,
        /// What is not as expected.
        why: String,
    },
    /// The object breaks its kind's rules. Nothing was stored.
    #[error("{key} is invalid: {errors}")]
    Invalid {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it, field by field.
        errors: FieldErrors,
    },
    /// The text or JSON is not an object of its kind. Nothing was stored.
    #[error(transparent)]
    Manifest(Box<ManifestError>),
    /// Something refuses the change: a missing namespace, an admission, a disruption budget.
    #[error("{key} was refused: {why}")]
    Denied {
        /// The object.
        key: ObjectKey,
        /// Who refuses, why, and what to do.
        why: String,
    },
    /// A failure while working on an object that is no failure of the store.
    #[error("{key}: {why}")]
    Other {
        /// The object.
        key: ObjectKey,
        /// What failed.
        why: String,
        /// Why it failed, where something else did.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ManifestError> for ClientError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl ClientError {
    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether reading again and deciding anew may help.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::AlreadyExists(_))
    }

    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Other { .. } => true,
            _ => false,
        }
    }

    /// Whether the change may have happened all the same.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Store(error) if error.outcome_unknown())
    }
}
