//! Whether there is room.

use crate::scheduler::{Filter, NodeView, PodInfo, Reads, Verdict};

/// The node must have left what the pod requests of every resource, and room for one more pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceFit;

impl Filter for ResourceFit {
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        match node.lacking(pod) {
            None => Verdict::Accept,
            Some("cpu") => Verdict::reject("insufficient cpu"),
            Some("memory") => Verdict::reject("insufficient memory"),
            Some("pods") => Verdict::reject("can hold no more pods"),
            Some(resource) => Verdict::reject(format!("insufficient {resource}")),
        }
    }

    fn reads(&self) -> Reads {
        Reads::NODE | Reads::USAGE
    }
}
