//! How objects are listed, deleted and patched.

use serde_json::Value;

use crate::model::{LabelSelector, Revision, Uid, Warning};

/// Which objects a list or watch is about, beside kind and namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    /// Only objects whose labels match; all where empty.
    pub labels: LabelSelector,
    /// In all namespaces, not only the client's.
    pub all_namespaces: bool,
}

impl ListOptions {
    /// In all namespaces.
    #[must_use]
    pub fn all_namespaces() -> Self {
        Self { all_namespaces: true, ..Self::default() }
    }

    /// Only objects whose labels match.
    #[must_use]
    pub fn labels(mut self, selector: LabelSelector) -> Self {
        self.labels = selector;
        self
    }
}

/// What happens to the parts of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// The object goes at once, its parts afterwards.
    #[default]
    Background,
    /// The object goes when its parts have gone.
    Foreground,
    /// The parts stay, without an owner.
    Orphan,
}

/// How an object is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// How long a pod may take to end, in seconds; the pod's own time where `None`. Zero: its object goes now.
    /// More than [`MAX_SECONDS`](crate::model::MAX_SECONDS) count as that many.
    pub grace_period_seconds: Option<u64>,
    /// What happens to the object's parts.
    pub propagation: Propagation,
    /// Only if the object has this identity.
    pub uid: Option<Uid>,
    /// Only if the object has not changed since this revision.
    pub revision: Option<Revision>,
}

impl DeleteOptions {
    /// Sets how long a pod may take to end, in seconds.
    #[must_use]
    pub fn grace_period(mut self, seconds: u64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    /// Sets what happens to the object's parts.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = propagation;
        self
    }

    /// Only if the object has this identity.
    #[must_use]
    pub fn uid(mut self, uid: Uid) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Only if the object has not changed since `revision`.
    #[must_use]
    pub fn revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }
}

/// A change of an object, as `kubectl patch` has them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Patch {
    /// JSON merge patch, RFC 7386: objects are merged, lists replaced, null removes.
    Merge(Value),
    /// JSON patch, RFC 6902: a list of operations.
    Json(Value),
    /// Strategic merge patch: as a merge patch, but known lists are merged item by item.
    Strategic(Value),
}

/// What `apply` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApplyOutcome {
    /// The object is new.
    Created,
    /// The object was changed.
    Configured,
    /// There was nothing to change.
    Unchanged,
}

/// An applied object.
#[derive(Clone, Debug)]
pub struct Applied<T: ?Sized> {
    /// The object as stored.
    pub object: std::sync::Arc<T>,
    /// What was done.
    pub outcome: ApplyOutcome,
    /// Which of its fields are kept, but not acted on.
    pub warnings: Vec<Warning>,
}
