//! The pods that are on nodes, or were given to one.

use std::sync::Arc;

use super::class::PodClass;
use super::slots::NodeId;
use crate::model::{Pod, Timestamp, Uid};
use crate::scheduler::by_uid::{ByUid, OfPod};

/// One pod on a node.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) pod: Arc<Pod>,
    pub(crate) class: Arc<PodClass>,
    pub(crate) node: NodeId,
    /// Where the pod's number is in its node's list.
    pub(crate) place: u32,
    /// Whether the pod was given to the node by a decision that nobody has confirmed yet.
    pub(crate) assumed: bool,
    /// Whether a decision has it leave: a copy of what the view's set says.
    pub(crate) preempted: bool,
    /// Since when it runs, as far as is known: in here, so that victims are chosen without a look at each pod.
    pub(crate) started: Timestamp,
}

impl Record {
    /// Whether it goes anyway.
    pub(crate) fn goes(&self) -> bool {
        self.class.terminating || self.preempted
    }

    pub(crate) fn priority(&self) -> i32 {
        self.class.spec.importance()
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
