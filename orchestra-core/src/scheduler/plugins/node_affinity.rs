//! Which nodes a pod asks for by their labels and names.

use crate::model::{Labels, NodeAffinity, PodSpec};
use crate::scheduler::{Filter, NodeView, PodInfo, Points, Reads, Score, Verdict};

/// Whether a pod has a node selector or an affinity: most have none, and are chosen by no node.
pub(crate) fn chooses(spec: &PodSpec) -> bool {
    !spec.node_selector.is_empty() || spec.affinity.is_some()
}

/// Whether the node selector and the required node affinity of a pod choose the node.
pub(crate) fn chosen(spec: &PodSpec, name: &str, labels: &Labels) -> bool {
    spec.node_selector.iter().all(|(key, value)| labels.value(key) == Some(value))
        && spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref()?.required.as_ref())
            .is_none_or(|required| required.matches(name, labels))
}

/// Whether a pod would rather be on some nodes.
pub(crate) fn prefers_nodes(pod: &PodInfo) -> bool {
    node_affinity(pod).is_some_and(|affinity| !affinity.preferred.is_empty())
}

fn node_affinity(pod: &PodInfo) -> Option<&NodeAffinity> {
    pod.spec().affinity.as_ref()?.node_affinity.as_ref()
}

/// The node must have the labels of the pod's node selector and meet its required node affinity.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeAffinityFilter;

impl Filter for NodeAffinityFilter {
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        let spec = pod.spec();
        if !chooses(spec) {
            return Verdict::Accept;
        }
        if chosen(spec, node.name(), node.labels()) {
            Verdict::Accept
        } else {
            Verdict::reject("don't match the pod's node selector or affinity")
        }
    }

    fn reads(&self) -> Reads {
        Reads::NODE
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        a.spec().node_selector == b.spec().node_selector
            && node_affinity(a).map(|a| &a.required) == node_affinity(b).map(|b| &b.required)
    }
}

/// Prefers nodes that the pod's preferred node affinity speaks of: the weight of the terms that match, as a part
/// of the weight of all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeAffinityScore;

impl Score for NodeAffinityScore {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let Some(terms) = node_affinity(pod).map(|a| &a.preferred).filter(|terms| !terms.is_empty()) else {
            return Points::ZERO;
        };
        let all: u64 = terms.iter().map(|t| u64::from(t.weight)).sum();
        let matching = terms.iter().filter(|t| t.preference.matches(node.name(), node.labels()));
        let sum: u64 = matching.map(|t| u64::from(t.weight)).sum();
        if all == 0 { Points::ZERO } else { Points::new(f64::from(percent_millis(sum, all)) / 1000.0) }
    }

    fn reads(&self) -> Reads {
        Reads::NODE
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        node_affinity(a).map(|a| &a.preferred) == node_affinity(b).map(|b| &b.preferred)
    }
}

/// `part` of `all` in thousandths of a percent.
fn percent_millis(part: u64, all: u64) -> u32 {
    u32::try_from(100_000 * part / all).unwrap_or(u32::MAX)
}
