//! Which nodes can reach the volumes that a pod claims.

use crate::scheduler::{Filter, NodeView, PodInfo, Reads, Verdict, View};

/// The volumes of the pod's claims must be reachable from the node; where claims wait for their first pod, there must be
/// free volumes, or volumes can be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeBinding;

impl Filter for VolumeBinding {
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        let claims = &*pod.class().claims;
        if claims.is_empty() {
            return Verdict::Accept;
        }
        match node.view().storage().choose(pod.namespace(), claims, node, false) {
            Ok(_) => Verdict::Accept,
            Err(why) => Verdict::Reject(why),
        }
    }

    fn reads(&self) -> Reads {
        Reads::NODE | Reads::VOLUMES
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        let (of, like) = (&a.class().claims, &b.class().claims);
        of == like && (of.is_empty() || a.namespace() == b.namespace())
    }

    fn version(&self, pod: &PodInfo, view: &View) -> u64 {
        let claims = &*pod.class().claims;
        if claims.is_empty() { 0 } else { view.storage().version(pod.namespace(), claims) }
    }
}
