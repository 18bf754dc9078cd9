//! The pods that are on nodes, or were given to one.

use std::sync::Arc;

use super::class::PodClass;
use super::slots::NodeId;
use crate::model::{Pod, Timestamp, Uid};
use crate::scheduler::by_uid::{ByUid, OfPod};

/// One pod on a node. What its node's list says of it is not said again here.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) pod: Arc<Pod>,
    pub(crate) class: Arc<PodClass>,
    pub(crate) node: NodeId,
    pub(crate) seat: Seat,
}

/// Where a pod is in its node's list, and whether it was given to the node by a decision that nobody has confirmed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat(u32);

impl Seat {
    const ASSUMED: u32 = 1 << 31;

    /// A seat at the head of the list.
    pub(super) const fn new(assumed: bool) -> Self {
        Self(if assumed { Self::ASSUMED } else { 0 })
    }

    pub(super) const fn place(self) -> usize {
        (self.0 & !Self::ASSUMED) as usize
    }

    pub(super) fn at(self, place: usize) -> Self {
        let place = u32::try_from(place).unwrap_or(u32::MAX) & !Self::ASSUMED;
        Self(self.0 & Self::ASSUMED | place)
    }

    pub(super) const fn is_assumed(self) -> bool {
        self.0 & Self::ASSUMED != 0
    }

    pub(super) fn assume(&mut self, assumed: bool) {
        *self = Self::new(assumed).at(self.place());
    }
}

/// Since when a pod runs, or is there.
pub(super) fn started(pod: &Pod) -> Timestamp {
    pod.status.start_time.or(pod.metadata.creation_timestamp).unwrap_or_default()
}

impl OfPod for Record {
    fn uid(&self) -> &Uid {
        &self.pod.metadata.uid
    }
}

/// All pods on nodes.
pub(crate) type Pods = ByUid<Record>;
