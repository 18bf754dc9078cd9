//! What keeps pods away from nodes.

use crate::model::{Node, PodSpec, Taint, TaintEffect};
use crate::scheduler::{Filter, NodeView, PodInfo, Points, Reads, Score, Verdict};

/// The first taint of the node with one of these effects that the pod does not tolerate.
pub(crate) fn untolerated<'n>(spec: &PodSpec, node: &'n Node, effects: &[TaintEffect]) -> Option<&'n Taint> {
    let tolerated = |taint: &Taint| spec.tolerations.iter().any(|t| t.tolerates(taint));
    node.spec.taints.iter().find(|taint| effects.contains(&taint.effect) && !tolerated(taint))
}

/// Whether the node is cordoned, or has a taint, that keeps a pod with `spec` from being placed there.
pub(crate) fn keeps_away(spec: &PodSpec, node: &Node) -> bool {
    node.spec.unschedulable && !tolerates_cordons(spec)
        || untolerated(spec, node, &[TaintEffect::NoSchedule, TaintEffect::NoExecute]).is_some()
}

fn tolerates_cordons(spec: &PodSpec) -> bool {
    let taint = Taint::new("node.kubernetes.io/unschedulable", "", TaintEffect::NoSchedule);
    spec.tolerations.iter().any(|t| t.tolerates(&taint))
}

/// No pod goes to a cordoned node unless it tolerates `node.kubernetes.io/unschedulable`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unschedulable;

impl Filter for Unschedulable {
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        if !node.facts().cordoned || tolerates_cordons(pod.spec()) {
            return Verdict::Accept;
        }
        Verdict::reject("are cordoned")
    }

    fn reads(&self) -> Reads {
        Reads::NODE
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        a.spec().tolerations == b.spec().tolerations
    }
}

/// The pod must tolerate the node's taints that keep pods away: `NoSchedule` and `NoExecute`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaintFilter;

impl Filter for TaintFilter {
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        if !node.facts().tainted {
            return Verdict::Accept;
        }
        match untolerated(pod.spec(), node.node(), &[TaintEffect::NoSchedule, TaintEffect::NoExecute]) {
            None => Verdict::Accept,
            Some(taint) => Verdict::reject(format!("have taint {taint}")),
        }
    }

    fn reads(&self) -> Reads {
        Reads::NODE
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        a.spec().tolerations == b.spec().tolerations
    }
}

/// Prefers nodes without `PreferNoSchedule` taints that the pod does not tolerate: 100 points, 25 with one of
/// them, 14 with two.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaintScore;

impl Score for TaintScore {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        if !node.facts().tainted {
            return Points::MAX;
        }
        let tolerated = |taint: &Taint| pod.spec().tolerations.iter().any(|t| t.tolerates(taint));
        let taints = node.node().spec.taints.iter();
        let against = taints.filter(|t| t.effect == TaintEffect::PreferNoSchedule && !tolerated(t)).count();
        Points::fraction(1.0 / (1.0 + 3.0 * f64::from(u32::try_from(against).unwrap_or(u32::MAX))))
    }

    fn reads(&self) -> Reads {
        Reads::NODE
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        a.spec().tolerations == b.spec().tolerations
    }
}
