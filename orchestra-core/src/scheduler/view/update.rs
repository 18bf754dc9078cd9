//! How a view follows the cluster.

use std::hint::black_box;
use std::ops::BitXor;
use std::sync::Arc;

use super::class::PodClass;
use super::columns::{Facts, ResourceId};
use super::gpus::Devices;
use super::log::{Entry, NodeDiff};
use super::pods::{Record, Seat, started};
use super::prints::allocatable;
use super::residents::Resident;
use super::slots::{NodeId, Slot};
use super::undo::{Before, Undo};
use super::{PodInfo, View, labels};
use crate::model::{GPU_DEVICES, GpuRequest, Labels, Namespace, Node, Pod, Uid};
use crate::scheduler::Change;
use crate::scheduler::by_uid::UidHash;

/// What is known of a pod on a node.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) pod: Arc<Pod>,
    pub(super) class: Arc<PodClass>,
    pub(super) node: NodeId,
    pub(super) assumed: bool,
}

impl View {
    /// A node came or changed. Tells what of it a scheduler can see; nothing, for a heartbeat.
    pub fn node_changed(&mut self, node: &Arc<Node>) -> Change {
        self.set_node(&node.metadata.name, Some(node))
    }

    /// A node is gone. Its pods stay until they are gone themselves, or their node comes back.
    pub fn node_removed(&mut self, name: &str) -> Change {
        self.set_node(name, None)
    }

    /// A pod came or changed. Only pods that are bound to a node and have not ended are in the view; for an
    /// assumed pod this is the confirmation, once it is bound.
    pub fn pod_changed(&mut self, pod: &Arc<Pod>) -> Change {
        let uid = &pod.metadata.uid;
        let hash = self.pods.hash(uid);
        let record = self.pods.find_hashed(hash, uid).map(|number| self.pods.get(number));
        match &pod.node_name {
            _ if pod.is_terminal() => self.set_hashed(hash, uid, None),
            Some(name) => {
                // Most often only its status has changed.
                let class = record.filter(|record| record.class.has_like(&record.pod, pod));
                let class = class.map(|record| Arc::clone(&record.class));
                let class = class.unwrap_or_else(|| self.classes.of(pod, &mut self.resources));
                let (pod, node) = (Arc::clone(pod), self.slots.ensure(name));
                self.set_hashed(hash, uid, Some(Known { pod, class, node, assumed: false }))
            }
            None if record.is_some_and(|record| record.seat.is_assumed()) => Change::NONE,
            None => self.set_hashed(hash, uid, None),
        }
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, uid: &Uid) -> Change {
        self.set_pod(uid, None)
    }

    /// A decision about a pod was not carried out: it is not on the node it was given to. Does nothing to pods
    /// whose decision was confirmed.
    pub fn forget(&mut self, uid: &Uid) -> Change {
        if self.is_assumed(uid) { self.set_pod(uid, None) } else { Change::NONE }
    }

    /// A namespace came, or its labels changed.
    pub fn namespace_changed(&mut self, namespace: &Namespace) -> Change {
        self.set_namespace(&namespace.metadata.name, Some(namespace.metadata.labels.clone()))
    }

    /// A namespace is gone.
    pub fn namespace_removed(&mut self, name: &str) -> Change {
        self.set_namespace(name, None)
    }

    pub(super) fn set_namespace(&mut self, name: &str, labels: Option<Labels>) -> Change {
        let new = labels.clone().unwrap_or_default();
        let old = match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        if self.trail.is_on() {
            self.trail.push(Undo::Namespace(name.to_owned(), old.clone()));
        }
        if old.unwrap_or_default() == new {
            return Change::NONE;
        }
        self.log.push(Entry::Namespace);
        Change::NAMESPACE
    }

    /// Reads all of a node that placing `pod` there is going to read, at once: in a large view no cache has it, and memory
    /// is waited for once so, and not at each step.
    pub(crate) fn read_ahead(&self, pod: &PodInfo, node: NodeId) {
        let Some(slot) = self.slots.get(node) else { return };
        let seen = usize::from(slot.object.is_some())
            ^ slot.pods.last().map_or(0, |resident| resident.number as usize)
            ^ usize::from(slot.name.as_bytes().first().copied().unwrap_or_default())
            ^ self.columns.read_ahead(node.index())
            ^ usize::from(self.residents.is_on(pod.class(), node));
        black_box(seen);
    }

    /// The same for what the pods of some nodes are weighed by.
    pub(crate) fn read_ahead_pods(&self, nodes: impl Iterator<Item = NodeId>) {
        let numbers = |slot: &Slot| match &slot.pods[..] {
            [first, .., last] => first.number ^ last.number,
            [one] => one.number,
            [] => 0,
        };
        let slots = nodes.filter_map(|node| self.slots.get(node));
        black_box(slots.map(numbers).fold(0, BitXor::bitxor));
    }

    /// Puts a pod on a node by a decision. Returns the node's name.
    pub(crate) fn assume(&mut self, pod: &PodInfo, node: NodeId) -> Arc<str> {
        let placed = self.with_devices(pod.pod(), pod.class(), node);
        let known = Known { pod: placed, class: Arc::clone(pod.class()), node, assumed: true };
        self.set_hashed(pod.hash, &pod.pod().metadata.uid, Some(known));
        Arc::clone(&self.slots.slot(node).name)
    }

    pub(super) fn set_node(&mut self, name: &str, node: Option<&Arc<Node>>) -> Change {
        if node.is_none() && self.slots.find(name).is_none() {
            return Change::NONE;
        }
        let id = self.slots.ensure(name);
        let old = self.slots.set_object(id, node.cloned());
        let diff = self.prints.set(id.index(), node.map(|n| &**n));
        if diff != NodeDiff::NONE {
            self.node_differs(id, old.as_deref(), node.map(|n| &**n), diff);
        }
        if self.trail.is_on() {
            self.trail.push(Undo::Node(name.into(), old));
        }
        if node.is_none() {
            self.slots.release(id);
        }
        if diff != NodeDiff::NONE && node.is_some() { Change::NODE } else { Change::NONE }
    }

    fn node_differs(&mut self, id: NodeId, old: Option<&Node>, new: Option<&Node>, diff: NodeDiff) {
        if diff.intersects(NodeDiff::RESOURCES) {
            let list = new.map(allocatable).cloned().unwrap_or_default();
            self.columns.set_allocatable(id.index(), &list, &mut self.resources);
            self.set_gpus(id, self.columns.allocatable(ResourceId::GPU, id.index()));
        }
        if diff.intersects(NodeDiff::TOPOLOGY) {
            self.topology.set_node(id.index(), new.map(|n| &n.metadata.labels));
            self.topology.compact(|| labels(&self.slots));
        }
        if diff.intersects(NodeDiff::IMAGES) {
            if let Some(node) = new {
                self.images.add(node);
            }
            if let Some(node) = old {
                self.images.remove(node);
            }
        }
        let facts = new.map(|node| Facts {
            present: true,
            cordoned: node.spec.unschedulable,
            tainted: !node.spec.taints.is_empty(),
            images: !node.status.images.is_empty(),
        });
        self.columns.set_facts(id.index(), facts.unwrap_or_default());
        self.log.push(Entry::Node(id, diff));
    }

    /// Sets or removes what is known of one pod.
    pub(super) fn set_pod(&mut self, uid: &Uid, next: Option<Known>) -> Change {
        self.set_hashed(self.pods.hash(uid), uid, next)
    }

    fn set_hashed(&mut self, hash: UidHash, uid: &Uid, next: Option<Known>) -> Change {
        let number = self.pods.find_hashed(hash, uid);
        let mut change = Change::NONE;
        if let (Some(number), Some(next)) = (number, &next) {
            let record = self.pods.get(number);
            if record.class.id == next.class.id
                && record.node == next.node
                && has_same_devices(&record.pod, &next.pod, &next.class)
            {
                self.save(uid, Some(number));
                let record = self.pods.get_mut(number);
                let old = std::mem::replace(&mut record.pod, Arc::clone(&next.pod));
                record.seat.assume(next.assumed);
                let since = started(&next.pod);
                if started(&old) != since {
                    self.slots.slot_mut(next.node).pods[record.seat.place()].started = since;
                    self.log.push(Entry::Room(next.node));
                }
                return change;
            }
        }
        if number.is_none() && next.is_none() {
            return change;
        }
        self.save(uid, number);
        let mut left = None;
        let claims = |class: &PodClass| if class.claims.is_empty() { Change::NONE } else { Change::VOLUMES };
        if let Some(number) = number {
            change |= claims(&self.pods.get(number).class);
            if self.preempted.contains(uid) {
                self.budgets_may_differ(number);
            }
            left = Some(self.displace(number));
            change |= Change::FREED;
        }
        if next.is_none() {
            self.set_preempted(uid, false);
        }
        if let Some(Known { pod, class, node, assumed }) = next {
            let preempted = !self.preempted.is_empty() && self.preempted.contains(uid);
            self.place(hash, Record { pod, class, node, seat: Seat::new(assumed) }, preempted);
            change |= Change::PLACED;
        }
        self.learn_if_due();
        if let Some(left) = left {
            self.slots.release(left);
        }
        change
    }

    fn save(&mut self, uid: &Uid, number: Option<u32>) {
        if self.trail.is_on() {
            let before = number.map(|n| self.pods.get(n)).map(|r| Before {
                pod: Arc::clone(&r.pod),
                class: Arc::clone(&r.class),
                node: Arc::clone(&self.slots.slot(r.node).name),
                assumed: r.seat.is_assumed(),
            });
            self.trail.push(Undo::Pod(uid.clone(), before));
        }
    }

    fn place(&mut self, hash: UidHash, mut record: Record, preempted: bool) {
        let (id, class) = (record.node, &record.class);
        self.columns.charge(id.index(), &class.requests, class.weight, 1);
        let number_of_class = self.residents.add(class, id);
        *self.priorities.entry(class.priority).or_insert(0) += 1;
        self.log.push(Entry::Pod(id, Arc::clone(class), 1));
        self.count_users(&class.namespace, &class.claims, true);
        let slot = self.slots.slot_mut(id);
        for port in &class.ports {
            match slot.ports.iter_mut().find(|(p, _)| p == port) {
                Some((_, count)) => *count += 1,
                None => slot.ports.push((*port, 1)),
            }
        }
        let gpus = (class.gpus != GpuRequest::None).then(|| (Arc::clone(&record.pod), Arc::clone(class)));
        record.seat = record.seat.at(slot.pods.len());
        let since = started(&record.pod);
        let number = self.pods.insert(hash, record);
        slot.pods.push(Resident::new(number, number_of_class, since, preempted));
        if let Some((pod, class)) = gpus {
            self.charge_gpus(id, &pod, &class, Devices::add);
        }
    }

    /// Takes a pod off its node, whose place must be released when nothing else comes there. Answers which it is.
    fn displace(&mut self, number: u32) -> NodeId {
        let Record { pod, class, node: id, seat } = self.pods.remove(number);
        self.columns.charge(id.index(), &class.requests, class.weight, -1);
        if let Some(count) = self.priorities.get_mut(&class.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&class.priority);
            }
        }
        self.count_users(&class.namespace, &class.claims, false);
        let slot = self.slots.slot_mut(id);
        for port in &class.ports {
            if let Some((_, count)) = slot.ports.iter_mut().find(|(p, _)| p == port) {
                *count -= 1;
            }
        }
        slot.ports.retain(|(_, count)| *count > 0);
        let resident = slot.pods.swap_remove(seat.place());
        if let Some(moved) = slot.pods.get(seat.place()) {
            let moved = &mut self.pods.get_mut(moved.number).seat;
            *moved = moved.at(seat.place());
        }
        self.residents.remove(resident.class(), id);
        if class.gpus != GpuRequest::None {
            self.charge_gpus(id, &pod, &class, Devices::take_off);
        }
        self.log.push(Entry::Pod(id, class, -1));
        id
    }
}

/// Whether both forms of a pod of this class have the same GPUs.
fn has_same_devices(a: &Pod, b: &Pod, class: &PodClass) -> bool {
    let devices = |pod: &Pod| pod.metadata.annotations.value(GPU_DEVICES).map(str::to_owned);
    class.gpus == GpuRequest::None || devices(a) == devices(b)
}
