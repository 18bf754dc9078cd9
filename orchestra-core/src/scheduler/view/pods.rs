//! The pods that are on nodes, or were given to one.

use std::sync::Arc;

use super::class::PodClass;
use super::slots::NodeId;
use crate::model::{Pod, Uid};
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
}

impl OfPod for Record {
    fn uid(&self) -> &Uid {
        &self.pod.metadata.uid
    }
}

/// All pods on nodes.
pub(crate) type Pods = ByUid<Record>;
