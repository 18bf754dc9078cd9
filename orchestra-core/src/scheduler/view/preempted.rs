//! Pods that a decision has leave, until they are gone.

use std::sync::Arc;

use super::class::PodClass;
use super::slots::NodeId;
use super::undo::Undo;
use super::{PodInfo, View};
use crate::model::{Pod, PodDisruptionBudget, Uid};
use crate::scheduler::Change;
use crate::scheduler::view::budgets::Budgets;

impl View {
    /// Whether a decision has this pod leave its node. It keeps its share of the node until it is gone.
    #[must_use]
    pub fn is_preempted(&self, uid: &Uid) -> bool {
        self.preempted.contains(uid)
    }

    /// A pod that a decision has leave will not: it could not be evicted.
    pub fn spare(&mut self, uid: &Uid) {
        self.set_preempted(uid, false);
    }

    /// A disruption budget came or changed.
    pub fn budget_changed(&mut self, budget: &Arc<PodDisruptionBudget>) -> Change {
        let meta = &budget.metadata;
        self.set_budget((meta.namespace.clone(), meta.name.clone()), Some(budget))
    }

    /// A disruption budget is gone.
    pub fn budget_removed(&mut self, namespace: &str, name: &str) -> Change {
        self.set_budget((namespace.to_owned(), name.to_owned()), None)
    }

    pub(super) fn set_budget(
        &mut self,
        key: (String, String),
        budget: Option<&Arc<PodDisruptionBudget>>,
    ) -> Change {
        self.room_version += 1;
        if self.trail.is_on() {
            self.trail.push(Undo::Budget(key.clone(), self.budgets.get(&key).cloned()));
        }
        // Who waits for room may find it now.
        if self.budgets.set(key, budget) { Change::FREED } else { Change::NONE }
    }

    pub(crate) fn set_preempted(&mut self, uid: &Uid, preempted: bool) {
        let was = if preempted { !self.preempted.insert(uid.clone()) } else { self.preempted.remove(uid) };
        if was != preempted {
            self.room_version += 1;
            if self.trail.is_on() {
                self.trail.push(Undo::Preempted(uid.clone(), was));
            }
        }
    }

    pub(crate) fn preempted_pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let numbers = self.preempted.iter().filter_map(|uid| self.pods.find(uid));
        numbers.map(|number| &self.pods.get(number).pod)
    }

    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Grows with every change of what may be preempted that is in no log.
    pub(crate) fn room_version(&self) -> u64 {
        self.room_version
    }

    /// The lowest priority of a pod on a node.
    pub(crate) fn lowest_priority(&self) -> Option<i32> {
        self.priorities.keys().next().copied()
    }

    pub(crate) fn residents_of(&self, node: NodeId) -> impl Iterator<Item = (&Arc<Pod>, &Arc<PodClass>)> {
        self.slots.slot(node).pods.iter().map(|number| {
            let record = self.pods.get(*number);
            (&record.pod, &record.class)
        })
    }

    /// Tries out that a pod is not there.
    pub(crate) fn take_out(&mut self, uid: &Uid) {
        self.set_pod(uid, None);
    }

    /// Tries out that a pod is there after all.
    pub(crate) fn put_back(&mut self, pod: &Arc<Pod>, class: &Arc<PodClass>, node: NodeId) {
        let name = Arc::clone(&self.slots.slot(node).name);
        self.set_pod(&pod.metadata.uid, Some((Arc::clone(pod), Arc::clone(class), name, false)));
    }

    /// Whether the pod would have room on the node without `victims`, as far as resources and host ports go.
    pub(crate) fn fits_without(&mut self, pod: &PodInfo, node: NodeId, victims: &[Uid]) -> bool {
        self.what_if(|view| {
            victims.iter().for_each(|victim| view.take_out(victim));
            view.node(node).is_some_and(|node| node.fits(pod))
        })
    }
}
