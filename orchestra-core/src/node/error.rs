//! What can go wrong when a node agent is asked for something.

use std::error::Error;
use std::fmt::Write as _;

use crate::model::Uid;
use crate::runtime::RuntimeError;

/// A failure of a [`NodeAgent`](super::NodeAgent)'s answers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The pod is not on this node, or has no sandbox now.
    #[error("pod {pod} has no sandbox on node {node}; it may not have started yet, or be gone")]
    NoPod {
        /// The node.
        node: String,
        /// The pod.
        pod: Uid,
    },
    /// The pod has no such container, or it has not been created yet.
    #[error("container {container} of pod {pod} has {what}")]
    NoContainer {
        /// The pod.
        pod: Uid,
        /// The container.
        container: String,
        /// What is missing.
        what: &'static str,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String does not fail.
        let _ok = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
