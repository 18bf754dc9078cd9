//! How a log store is set up.

use super::codec::SizeLimits;
use super::segments::SnapshotPolicy;
use crate::model::Scheme;
use crate::store::HistoryLimits;

/// How a [`LogStore`](super::LogStore) is set up. The defaults suit clusters from one node to thousands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogStoreOptions {
    /// How objects are read back. [`Scheme::kubernetes`] unless set; objects of other kinds are read as
    /// [`Unstructured`](crate::model::Unstructured).
    pub scheme: Scheme,
    /// How much history is held for watches.
    pub history: HistoryLimits,
    /// The log is cut by a snapshot when it has at least so many bytes; 16 MiB unless set, which is read back in
    /// a fraction of a second.
    pub snapshot_min_log_bytes: u64,
    /// The log is cut by a snapshot when it is at least so many times as large as the last one; 1 unless set: each
    /// byte is then written about twice, and the directory holds at most some four times the objects' size.
    pub snapshot_log_ratio: f64,
    /// How large an object may be as JSON, in bytes; 1.5 MiB unless set, as with etcd under Kubernetes.
    pub max_object_bytes: usize,
    /// How large a commit may be, in bytes; 32 MiB unless set: ten thousand pods.
    pub max_commit_bytes: usize,
}

impl Default for LogStoreOptions {
    fn default() -> Self {
        Self {
            scheme: Scheme::kubernetes(),
            history: HistoryLimits::default(),
            snapshot_min_log_bytes: 16 << 20,
            snapshot_log_ratio: 1.0,
            max_object_bytes: 3 << 19,
            max_commit_bytes: 32 << 20,
        }
    }
}

impl LogStoreOptions {
    /// Sets the kinds that are read back as such.
    #[must_use]
    pub fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Sets how much history is held for watches.
    #[must_use]
    pub fn with_history(mut self, history: HistoryLimits) -> Self {
        self.history = history;
        self
    }

    /// Sets from which size in bytes on, and from how many times the last snapshot's size on, the log is cut.
    #[must_use]
    pub fn with_snapshots(mut self, min_log_bytes: u64, log_ratio: f64) -> Self {
        self.snapshot_min_log_bytes = min_log_bytes;
        self.snapshot_log_ratio = log_ratio;
        self
    }

    /// Sets how large an object may be as JSON, in bytes.
    #[must_use]
    pub fn with_max_object_bytes(mut self, bytes: usize) -> Self {
        self.max_object_bytes = bytes;
        self
    }

    /// Sets how large a commit may be, in bytes.
    #[must_use]
    pub fn with_max_commit_bytes(mut self, bytes: usize) -> Self {
        self.max_commit_bytes = bytes;
        self
    }

    pub(super) fn policy(&self) -> SnapshotPolicy {
        SnapshotPolicy { min_bytes: self.snapshot_min_log_bytes, ratio: self.snapshot_log_ratio }
    }

    pub(super) fn size_limits(&self) -> SizeLimits {
        SizeLimits { object: self.max_object_bytes, commit: self.max_commit_bytes }
    }
}
