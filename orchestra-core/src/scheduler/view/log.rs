//! What changed in a view, in order, so that whoever keeps something computed catches up by what changed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::class::PodClass;
use super::slots::NodeId;

/// How many changes are kept. Who falls behind further computes afresh, which is cheaper by then for any cluster
/// with fewer nodes.
const MAX_ENTRIES: usize = 1 << 16;

/// What is different between two forms of a node object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeDiff(u8);

impl NodeDiff {
    pub(crate) const NONE: Self = Self(0);
    /// The node came or went.
    pub(crate) const PRESENCE: Self = Self(1);
    pub(crate) const LABELS: Self = Self(1 << 1);
    /// Taints, or whether it is cordoned.
    pub(crate) const TAINTS: Self = Self(1 << 2);
    pub(crate) const RESOURCES: Self = Self(1 << 3);
    pub(crate) const IMAGES: Self = Self(1 << 4);
    /// Anything else that a plugin might read: annotations, addresses, conditions.
    pub(crate) const REST: Self = Self(1 << 5);
    /// What decides to which topology domains a node belongs, and whether it counts there.
    pub(crate) const TOPOLOGY: Self = Self(1 | 1 << 1 | 1 << 2);

    pub(crate) fn add(&mut self, part: Self, differs: bool) {
        if differs {
            self.0 |= part.0;
        }
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A node object came, went or changed.
    Node(NodeId, NodeDiff),
    /// A pod of this class came to the node (1) or left it (-1).
    Pod(NodeId, Arc<PodClass>, i8),
    /// What it would cost to clear the node for others changed otherwise.
    Room(NodeId),
    /// A namespace's labels changed.
    Namespace,
}

/// The last changes.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    entries: VecDeque<Entry>,
    /// The position of the first kept entry.
    first: u64,
}

impl ChangeLog {
    /// The position behind the last change. It only grows.
    pub(crate) fn position(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
    }

    /// The changes since `position`; `None` where some of them are no longer known.
    pub(crate) fn since(&self, position: u64) -> Option<impl ExactSizeIterator<Item = &Entry>> {
        let skip = position.checked_sub(self.first)?;
        Some(self.entries.range(usize::try_from(skip).ok()?.min(self.entries.len())..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_changes_are_forgotten_and_that_is_told() {
        let mut log = ChangeLog::default();
        let start = log.position();
        log.push(Entry::Namespace);
        assert_eq!(log.since(start).unwrap().len(), 1);
        assert_eq!(log.since(log.position()).unwrap().len(), 0);
        for _ in 0..MAX_ENTRIES {
            log.push(Entry::Namespace);
        }
        assert!(log.since(start).is_none());
        assert_eq!(log.since(start + 1).unwrap().len(), MAX_ENTRIES);
    }
}
