//! Pods that a decision has leave, until they are gone.

use std::sync::Arc;

use smallvec::SmallVec;

use super::class::PodClass;
use super::log::Entry;
use super::pods::Record;
use super::slots::NodeId;
use super::undo::Undo;
use super::update::Known;
use super::{PodInfo, View};
use crate::model::{GpuRequest, Pod, PodDisruptionBudget, Timestamp, Uid};
use crate::scheduler::Change;
use crate::scheduler::view::budgets::Budgets;

/// A pod on a node, as far as it matters who could leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occupant<'v> {
    pub(crate) number: u32,
    pub(crate) class: &'v PodClass,
    /// Whether it goes anyway.
    pub(crate) goes: bool,
    /// Since when it runs, as far as is known.
    pub(crate) started: Timestamp,
}

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
        self.budgets_version += 1;
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
            if let Some(number) = self.pods.find(uid) {
                self.budgets_may_differ(number);
                let Record { node, seat, .. } = *self.pods.get(number);
                self.slots.slot_mut(node).pods[seat.place()].set_preempted(preempted);
                self.log.push(Entry::Room(node));
            }
            if self.trail.is_on() {
                self.trail.push(Undo::Preempted(uid.clone(), was));
            }
        }
    }

    /// A pod that is preempted, or was, changes: what it takes from its budgets may change too.
    pub(super) fn budgets_may_differ(&mut self, number: u32) {
        self.budgets_version += u64::from(self.budgets.cover(&self.pods.get(number).pod));
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

    /// Grows with every change of what disruption budgets can bear.
    pub(crate) fn budgets_version(&self) -> u64 {
        self.budgets_version
    }

    /// The lowest priority of a pod on a node.
    pub(crate) fn lowest_priority(&self) -> Option<i32> {
        self.priorities.keys().next().copied()
    }

    pub(crate) fn residents_of(&self, node: NodeId) -> impl Iterator<Item = (&Arc<Pod>, &Arc<PodClass>)> {
        let records = self.slots.slot(node).pods.iter().map(|resident| self.pods.get(resident.number));
        records.map(|record| (&record.pod, &record.class))
    }

    /// The pods of a node as far as it matters who could leave.
    #[inline]
    pub(crate) fn occupants(&self, node: NodeId) -> impl ExactSizeIterator<Item = Occupant<'_>> + Clone {
        self.slots.slot(node).pods.iter().map(|resident| {
            let class = &**self.residents.class(resident.class());
            let goes = class.terminating || resident.is_preempted();
            Occupant { number: resident.number, class, goes, started: resident.started }
        })
    }

    /// An occupant's pod and class.
    pub(crate) fn record(&self, number: u32) -> &Record {
        self.pods.get(number)
    }

    /// Tries out that a pod is not there.
    pub(crate) fn take_out(&mut self, uid: &Uid) {
        self.set_pod(uid, None);
    }

    /// Tries out that a pod is there after all.
    pub(crate) fn put_back(&mut self, pod: &Arc<Pod>, class: &Arc<PodClass>, node: NodeId) {
        let (pod, class) = (Arc::clone(pod), Arc::clone(class));
        let uid = pod.metadata.uid.clone();
        self.set_pod(&uid, Some(Known { pod, class, node, assumed: false }));
    }

    /// Whether the pod would have room on the node without `victims`, which are there, as far as resources and host ports go.
    pub(crate) fn fits_without(&mut self, pod: &PodInfo, node: NodeId, victims: &[Uid]) -> bool {
        let class = pod.class();
        if class.gpus == GpuRequest::None && class.ports.is_empty() {
            let Some(there) = self.node(node) else { return false };
            // Each once, however often it is named.
            let mut leaving: SmallVec<[u32; 8]> =
                victims.iter().filter_map(|victim| self.pods.find(victim)).collect();
            leaving.sort_unstable();
            leaving.dedup();
            return class.requests.iter().all(|(resource, amount)| {
                let freed: i64 =
                    leaving.iter().map(|victim| self.pods.get(*victim).class.request(*resource)).sum();
                there.allocatable_of(*resource) - there.used_of(*resource) + freed >= *amount
            });
        }
        self.what_if(|view| {
            victims.iter().for_each(|victim| view.take_out(victim));
            view.node(node).is_some_and(|node| node.fits(pod))
        })
    }
}
