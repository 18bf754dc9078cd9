//! What a scheduler sees: nodes, their pods, and what is left on them, kept up to date change by change.

pub(crate) mod budgets;
pub(crate) mod class;
pub(crate) mod columns;
pub(crate) mod gpus;
mod images;
pub(crate) mod log;
mod node_view;
pub(crate) mod pods;
pub(crate) mod preempted;
mod prints;
pub(crate) mod residents;
pub(crate) mod slots;
pub(crate) mod storage;
pub(crate) mod terms;
pub(crate) mod topology;
pub(crate) mod typical;
mod undo;
mod update;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use budgets::Budgets;
use class::{Classes, PodClass};
use columns::{Columns, Facts, ResourceId, ResourceNames, Weight};
use gpus::Gpus;
use hashbrown::HashSet;
use images::Images;
use log::ChangeLog;
pub use node_view::NodeView;
pub(crate) use node_view::{fullness, inverse};
use pods::Pods;
use prints::Prints;
use residents::Residents;
pub use slots::NodeId;
use slots::Slots;
use storage::Storage;
use terms::Namespaces;
use topology::{Key, KeyId, Topology};
use typical::Learning;
pub use typical::TypicalPods;
use undo::Trail;

use super::by_uid::UidHash;
use crate::model::{Labels, Pod, PodSpec, Uid};

/// The nodes of a cluster and the pods on them, as schedulers see them.
///
/// The engine owns one view and tells it of every change of a node, pod or namespace; the work for a change
/// follows the size of that change, not of the cluster. Decisions show in it at once: a pod that
/// [`schedule`](super::schedule) assigns is *assumed* to be on its node until
/// [`pod_changed`](Self::pod_changed) confirms it or [`forget`](Self::forget) takes it back. A view is never
/// copied: what is only tried out ([`what_if`](Self::what_if), [`Batch::atomic`](super::Batch::atomic)) is undone
/// change by change.
///
/// A pod takes its share of a node from the moment it is assumed or bound until it has ended (succeeded or
/// failed) or is gone. One that is being deleted still has its share: its containers may still run. Pods that
/// are bound to a node the view does not know are remembered, and are on it when it comes.
///
/// Nothing in it depends on the order of hash maps: one sequence of changes gives one view.
#[derive(Default)]
pub struct View {
    slots: Slots,
    prints: Prints,
    pods: Pods,
    columns: Columns,
    resources: ResourceNames,
    gpus: Gpus,
    learning: Learning,
    classes: Classes,
    residents: Residents,
    topology: Topology,
    images: Images,
    namespaces: Namespaces,
    budgets: Budgets,
    storage: Storage,
    /// How many pods on nodes have which priority.
    priorities: BTreeMap<i32, u32>,
    preempted: HashSet<Uid>,
    room_version: u64,
    budgets_version: u64,
    log: ChangeLog,
    trail: Trail,
    /// Told apart from all other views by address.
    identity: Arc<()>,
}

impl View {
    /// A view of an empty cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.present()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes, in no particular but a repeatable order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.slots.iter().filter_map(|(id, _)| NodeView::new(self, id))
    }

    /// The node with this number, where it is there.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<NodeView<'_>> {
        NodeView::new(self, id)
    }

    /// The node called `name`, where it is there.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<NodeView<'_>> {
        self.node(self.slots.find(name)?)
    }

    /// How many pods are on nodes, assumed ones included.
    #[must_use]
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// All pods on nodes, each with its node's name; also those whose node is unknown.
    pub fn pods(&self) -> impl Iterator<Item = (&Arc<Pod>, &Arc<str>)> {
        self.pods.iter().map(|record| (&record.pod, &self.slots.slot(record.node).name))
    }

    /// The name of the node that a pod is on, or was given to.
    #[must_use]
    pub fn node_of(&self, uid: &Uid) -> Option<&Arc<str>> {
        self.pods.find(uid).map(|number| &self.slots.slot(self.pods.get(number).node).name)
    }

    /// A pod on a node, or that was given to one.
    #[must_use]
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        self.pods.find(uid).map(|number| &self.pods.get(number).pod)
    }

    /// Whether a pod was given to a node by a decision that is not confirmed yet.
    #[must_use]
    pub fn is_assumed(&self, uid: &Uid) -> bool {
        self.pods.find(uid).is_some_and(|number| self.pods.get(number).seat.is_assumed())
    }

    /// The name of the node that `pod` is on, or was given to.
    pub(crate) fn node_of_info(&self, pod: &PodInfo) -> Option<&Arc<str>> {
        let number = self.pods.find_hashed(pod.hash, &pod.pod.metadata.uid)?;
        Some(&self.slots.slot(self.pods.get(number).node).name)
    }

    /// A number that grows with every change that a scheduler can see.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.log.position()
    }

    /// `pod` as plugins see it. Equal pods are recognised here.
    pub fn pod_info(&mut self, pod: &Arc<Pod>) -> PodInfo {
        let class = self.classes.of(pod, &mut self.resources);
        PodInfo { pod: Arc::clone(pod), class, slot: u32::MAX, hash: self.pods.hash(&pod.metadata.uid) }
    }

    pub(crate) fn resource_id(&self, name: &str) -> Option<ResourceId> {
        self.resources.get(name)
    }

    pub(crate) fn resource_name(&self, resource: ResourceId) -> &str {
        self.resources.name(resource)
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(crate) fn log(&self) -> &ChangeLog {
        &self.log
    }

    pub(crate) fn residents(&self) -> &Residents {
        &self.residents
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    #[inline]
    pub(crate) fn facts(&self, id: NodeId) -> Facts {
        self.columns.facts(id.index())
    }

    /// The numbers of all nodes, found without touching them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.columns.present().map(NodeId::from_index)
    }

    /// CPU and memory of the nodes, by number: what they have, and how pods there weigh in scores.
    #[inline]
    pub(crate) fn amounts(&self) -> impl Iterator<Item = ([i64; 2], Weight)> {
        self.columns.amounts()
    }

    pub(crate) fn identity(&self) -> &Arc<()> {
        &self.identity
    }

    pub(crate) fn key(&self, id: KeyId) -> &Key {
        self.topology.get(id)
    }

    /// The number of a topology key, which is followed from now on.
    pub(crate) fn topology_key(&mut self, name: &str) -> KeyId {
        self.topology.key(name, labels(&self.slots))
    }
}

/// Number and labels of every node.
fn labels(slots: &Slots) -> impl Iterator<Item = (usize, &Labels)> {
    slots.iter().filter_map(|(id, slot)| Some((id.index(), &slot.object.as_ref()?.metadata.labels)))
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, pods) = (self.len(), self.pod_count());
        f.debug_struct("View").field("nodes", &nodes).field("pods", &pods).finish_non_exhaustive()
    }
}

/// A pod to be placed, as plugins and schedulers see it. A clone shares the pod.
#[derive(Clone)]
pub struct PodInfo {
    pod: Arc<Pod>,
    class: Arc<PodClass>,
    /// Its number in the batch.
    pub(crate) slot: u32,
    hash: UidHash,
}

impl PodInfo {
    /// The pod.
    #[must_use]
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pod.metadata.name
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.pod.metadata.namespace
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.pod.metadata.labels
    }

    /// Its spec.
    #[must_use]
    pub fn spec(&self) -> &PodSpec {
        &self.pod.spec
    }

    /// Its priority; 0 where it has none.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.pod.spec.importance()
    }

    pub(crate) fn class(&self) -> &Arc<PodClass> {
        &self.class
    }
}

impl fmt::Debug for PodInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodInfo({}/{})", self.namespace(), self.name())
    }
}

#[cfg(test)]
mod tests;
