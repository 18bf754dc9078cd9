//! How much of the past a store remembers.

use std::time::Duration;

/// How much history a store holds for its watches, at most: a watch that is further behind ends with
/// [`StoreError::Compacted`](super::StoreError::Compacted), and its reader lists again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryLimits {
    /// For how long a change is held once 250 newer ones are there. 10 s unless set: watches in this process are
    /// milliseconds behind, and whoever comes back later lists again. A store looks at this with each commit.
    pub age: Duration,
    /// How many changes. 100,000 unless set: at about 300 bytes a change beside the objects, some 30 MB.
    pub changes: usize,
    /// How many bytes of objects, as JSON. 64 MiB unless set, as a cluster with few large objects would else keep
    /// gigabytes. A store that has no need to encode its objects, such as [`MemoryStore`](super::MemoryStore),
    /// does not count them.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { age: Duration::from_secs(10), changes: 100_000, bytes: 64 << 20 }
    }
}

impl HistoryLimits {
    /// So many of the newest changes are held whatever their age, unless fewer are held at all. They keep the objects as these were.
    pub(super) const WHATEVER_AGE: usize = 250;

    /// Sets for how long changes are held once 250 newer ones are there.
    #[must_use]
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets how many changes are held. At least the last commit always is.
    #[must_use]
    pub fn with_changes(mut self, changes: usize) -> Self {
        self.changes = changes;
        self
    }

    /// Sets how many bytes are held. At least the last commit always is.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}
