//! Whose hard constraints speak of a pod: they must hold without it, and with it elsewhere.

use std::sync::Arc;

use crate::model::{Pod, UnsatisfiableAction};
use crate::scheduler::view::class::PodClass;
use crate::scheduler::{Pipeline, View};

/// The pods on nodes whose hard constraints speak of another, and hold.
pub(super) struct Company(Vec<Arc<Pod>>);

impl Company {
    /// That of `pod`, which is on a node.
    pub(super) fn of(view: &mut View, constraints: &mut Pipeline, pod: &Arc<Pod>) -> Self {
        let own = Arc::clone(view.pod_info(pod).class());
        let mut concerned = Vec::new();
        for residents in view.residents().iter().filter(|other| speaks_of(view, &other.class, &own)) {
            for (node, _) in residents.nodes.iter() {
                let there = view.residents_of(node).filter(|(_, class)| class.id == residents.class.id);
                concerned.extend(there.map(|(pod, _)| Arc::clone(pod)));
            }
        }
        concerned.retain(|other| other.metadata.uid != pod.metadata.uid);
        // What does not hold now can't be broken.
        concerned.retain(|other| holds(view, constraints, other));
        Self(concerned)
    }

    /// Whether what held for all of them still does.
    pub(super) fn is_kept(&self, view: &mut View, constraints: &mut Pipeline) -> bool {
        self.0.iter().all(|other| holds(view, constraints, other))
    }
}

/// Whether a required affinity or a hard spread of the pods of `other` speaks of those of `own`.
fn speaks_of(view: &View, other: &PodClass, own: &PodClass) -> bool {
    let hard = other.spec.topology_spread_constraints.iter();
    let mut hard = hard.filter(|c| c.when_unsatisfiable == UnsatisfiableAction::DoNotSchedule);
    let spread = |selector: &crate::model::LabelSelector| selector.matches(&own.labels);
    other.terms.affinity.iter().any(|term| term.matches(own, view.namespaces()))
        || (other.namespace == own.namespace && hard.any(|c| c.label_selector.as_ref().is_some_and(spread)))
}

/// Whether a pod could be placed where it is.
fn holds(view: &mut View, constraints: &mut Pipeline, pod: &Arc<Pod>) -> bool {
    view.what_if(|view| {
        let uid = &pod.metadata.uid;
        let node = view.node_of(uid).cloned();
        let Some(node) = node.and_then(|name| Some(view.node_named(&name)?.id())) else { return false };
        view.take_out(uid);
        let info = view.pod_info(pod);
        constraints.accepts(view, &info, node)
    })
}
