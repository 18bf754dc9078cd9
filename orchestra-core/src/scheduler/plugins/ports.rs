//! Ports of the node that a pod takes.

use crate::scheduler::{Filter, NodeView, PodInfo, Reads, Verdict};

/// No two pods of a node can have the same host port on overlapping addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostPorts;

impl Filter for HostPorts {
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        if node.port_taken(pod) { Verdict::reject("have a host port taken") } else { Verdict::Accept }
    }

    fn reads(&self) -> Reads {
        Reads::PODS
    }
}
