//! What disruption budgets allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::View;
use crate::model::{Pod, PodDisruptionBudget};

/// The disruption budgets of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct Budgets(BTreeMap<(String, String), Arc<PodDisruptionBudget>>);

impl Budgets {
    pub(super) fn get(&self, key: &(String, String)) -> Option<&Arc<PodDisruptionBudget>> {
        self.0.get(key)
    }

    /// Sets or removes a budget. Answers whether it allows more than before.
    pub(super) fn set(&mut self, key: (String, String), budget: Option<&Arc<PodDisruptionBudget>>) -> bool {
        let old = match budget {
            Some(budget) => self.0.insert(key, Arc::clone(budget)),
            None => self.0.remove(&key),
        };
        match (old, budget) {
            (Some(old), Some(new)) => allowed(&old) < allowed(new) || old.spec.selector != new.spec.selector,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// What may still be taken from the budgets, with what `view` has preempted already taken off.
    pub(crate) fn purse<'v>(&'v self, view: &'v View) -> Purse<'v> {
        Purse { budgets: self, view, left: BTreeMap::new() }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any budget covers the pod.
    pub(super) fn cover(&self, pod: &Pod) -> bool {
        self.covering(pod).next().is_some()
    }

    fn covering<'b, 'p>(
        &'b self,
        pod: &'p Pod,
    ) -> impl Iterator<Item = (&'b (String, String), &'b PodDisruptionBudget)> + use<'b, 'p> {
        let namespace = &pod.metadata.namespace;
        // Most clusters have none: then there is no key to be made.
        let from = (!self.0.is_empty()).then(|| (namespace.clone(), String::new()));
        let here = from.map(|from| self.0.range(from..)).into_iter().flatten();
        let here = here.take_while(move |((ns, _), _)| ns == namespace);
        here.map(|(key, budget)| (key, &**budget)).filter(move |(_, budget)| budget.covers(pod))
    }

    /// How many of the budget's pods were preempted, and are not yet seen to go.
    fn spent(&self, view: &View, budget: &PodDisruptionBudget) -> u32 {
        let counts = |pod: &&Arc<Pod>| {
            pod.metadata.namespace == budget.metadata.namespace
                && budget.covers(pod)
                && !pod.is_terminating()
                && !budget.status.disrupted_pods.contains_key(&pod.metadata.name)
        };
        u32::try_from(view.preempted_pods().filter(counts).count()).unwrap_or(u32::MAX)
    }
}

/// What is left of the budgets while victims are chosen.
pub(crate) struct Purse<'v> {
    budgets: &'v Budgets,
    view: &'v View,
    left: BTreeMap<&'v (String, String), i64>,
}

impl<'v> Purse<'v> {
    /// Takes `pod` from its budget, where that can bear it. What more than one budget covers is never
    /// [evicted](crate::client::Client::evict).
    pub(crate) fn spend(&mut self, pod: &Pod) -> bool {
        let (budgets, view) = (self.budgets, self.view);
        let covering: Vec<_> = budgets.covering(pod).collect();
        let left = |(key, budget): &(&'v (String, String), &PodDisruptionBudget), purse: &mut Self| {
            let fresh = || i64::from(allowed(budget)) - i64::from(budgets.spent(view, budget));
            *purse.left.entry(*key).or_insert_with(fresh)
        };
        if covering.len() > 1 || !covering.iter().all(|entry| left(entry, self) > 0) {
            return false;
        }
        for (key, _) in covering {
            self.left.entry(key).and_modify(|left| *left -= 1);
        }
        true
    }
}

fn allowed(budget: &PodDisruptionBudget) -> u32 {
    // What the status says of an older spec is not to be relied on.
    if budget.status.observed_generation < budget.metadata.generation {
        0
    } else {
        budget.status.disruptions_allowed
    }
}
