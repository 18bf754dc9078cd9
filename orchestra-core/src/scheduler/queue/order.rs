//! The order in which pods are taken.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use crate::model::{Pod, Timestamp};
use crate::scheduler::unit::order;

/// A pod at its place in the order of scheduling.
#[derive(Clone, Debug)]
pub(super) struct InOrder {
    /// What most often decides: here, so that pods are compared without being looked at.
    first: (Reverse<i32>, Timestamp),
    pub(super) pod: Arc<Pod>,
    /// The number of its entry.
    pub(super) number: u32,
    /// Whether it may be of a gang.
    pub(super) grouped: bool,
}

impl InOrder {
    pub(super) fn new(pod: &Arc<Pod>, number: u32) -> Self {
        let (priority, created, ..) = order(pod);
        let grouped = pod.spec.scheduling_group.is_some();
        Self { first: (priority, created), pod: Arc::clone(pod), number, grouped }
    }
}

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |pod| (order(pod), &pod.metadata.uid);
        self.first.cmp(&other.first).then_with(|| rest(&self.pod).cmp(&rest(&other.pod)))
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InOrder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InOrder {}
