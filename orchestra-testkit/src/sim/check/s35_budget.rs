//! S35: an eviction never takes more than the disruption budget allows.

use std::collections::BTreeMap;

use orchestra_core::model::{AnyObjectExt, Deployment, Pod, PodDisruptionBudget, ReplicaSet};

use super::{Check, Found, numbers};
use crate::sim::event::Event;
use crate::sim::process::Actor;
use crate::sim::view::View;

/// Checks S35.
#[derive(Debug, Default)]
pub(super) struct Budgets;

impl Check for Budgets {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        if seen.actor != Actor::User {
            return;
        }
        // An eviction spends of a budget in the commit that deletes the pod.
        let mut budgets =
            seen.changes.iter().filter_map(|c| c.object.as_ref()?.as_resource::<PodDisruptionBudget>());
        let Some(budget) = budgets.next() else { return };
        let victim = seen.changes.iter().find_map(|c| c.previous.as_ref()?.as_resource::<Pod>());
        let Some(victim) = victim.filter(|pod| pod.is_ready() && !pod.is_terminating()) else { return };
        let covers = |pod: &&Pod| {
            let selector = budget.spec.selector.as_ref();
            pod.metadata.namespace == budget.metadata.namespace
                && selector.is_some_and(|selector| selector.matches(&pod.metadata.labels))
        };
        let pods: Vec<&Pod> =
            view.objects.of::<Pod>().filter(covers).filter(|pod| !pod.is_terminal()).collect();
        let healthy = pods.iter().filter(|pod| pod.is_ready() && !pod.is_terminating()).count();
        let expected = wanted(&pods, view);
        let needed = match (budget.spec.min_available, budget.spec.max_unavailable) {
            (Some(min), _) => numbers::up(min, expected),
            (None, Some(max)) => expected.saturating_sub(numbers::up(max, expected)),
            (None, None) => return,
        };
        if healthy < usize::try_from(needed).unwrap_or(usize::MAX) {
            let (pod, name) = (&victim.metadata.name, &budget.metadata.name);
            found.add(
                "S35",
                format!(
                    "evicting pod {pod} leaves {healthy} healthy pods where budget {name} needs {needed}"
                ),
            );
        }
    }
}

/// How many pods the deployments of these want, each counted once.
fn wanted(pods: &[&Pod], view: &View<'_>) -> u32 {
    let mut sizes = BTreeMap::new();
    for owner in pods.iter().filter_map(|pod| pod.metadata.controller()) {
        let sets = view.objects.of::<ReplicaSet>();
        for set in sets.filter(|set| set.metadata.uid == owner.uid) {
            let uid = set.metadata.controller().map(|owner| &owner.uid);
            let mut deployments = view.objects.of::<Deployment>();
            match deployments.find(|deployment| Some(&deployment.metadata.uid) == uid) {
                Some(found) => sizes.insert(&found.metadata.uid, found.spec.replicas),
                None => sizes.insert(&set.metadata.uid, set.spec.replicas),
            };
        }
    }
    sizes.into_values().sum()
}
