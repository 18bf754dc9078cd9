//! What can go wrong in a runtime.

use std::error::Error;

/// A failure of a [`Runtime`](super::Runtime).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// There is no such image, here or in its registry.
    #[error("image {image} was not found: {why}")]
    ImageNotFound {
        /// The image's name.
        image: String,
        /// Where it was looked for, and what to do.
        why: String,
    },
    /// The image's name is not one.
    #[error("`{image}` is not a valid image name: {why}")]
    InvalidImage {
        /// The name.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such sandbox or container.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The program of a container or exec can't be run.
    #[error("{subject} can't start `{program}`")]
    Start {
        /// The container.
        subject: String,
        /// The program.
        program: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A resource (an address, a host port, a running container) is taken.
    #[error("{subject}: {what} is in use")]
    InUse {
        /// The sandbox, container or image of the call.
        subject: String,
        /// What is taken.
        what: String,
    },
    /// The spec asks for what this runtime does not do, or makes no sense.
    #[error("{subject}: {why}")]
    Unsupported {
        /// The sandbox or container.
        subject: String,
        /// What is not possible, and what would be.
        why: String,
    },
    /// The operation failed and had no effect.
    #[error("{subject}: failed to {operation}")]
    Failed {
        /// The sandbox, container or image.
        subject: String,
        /// What was tried.
        operation: &'static str,
        /// Whether trying again may help.
        transient: bool,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is not known whether the operation had its effect. Repeat it, or list.
    #[error("{subject}: it is unknown whether {operation} happened")]
    OutcomeUnknown {
        /// The sandbox, container or image.
        subject: String,
        /// What was tried.
        operation: &'static str,
        /// Why it is not known.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The runtime itself does not answer.
    #[error("the {runtime} runtime does not answer")]
    Unavailable {
        /// Which runtime.
        runtime: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl RuntimeError {
    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::OutcomeUnknown { .. } | Self::Unavailable { .. } | Self::InUse { .. } => true,
            Self::Failed { transient, .. } => *transient,
            _ => false,
        }
    }

    /// Whether the effect may have happened all the same.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }
}
