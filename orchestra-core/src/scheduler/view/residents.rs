//! Where the pods of each class are, and what nodes keep of each.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use indexmap::IndexMap;

use super::class::PodClass;
use super::slots::{NodeId, scatter};
use crate::model::Timestamp;
use crate::scheduler::numbered::Numbered;

/// Hashes numbers that nobody outside chooses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = scatter(self.0 ^ n);
    }
}

/// An ordered map from numbers.
pub(crate) type NumberMap<K, V> = IndexMap<K, V, BuildHasherDefault<NumberHasher>>;

/// A pod in its node's list, with what tells whether it could leave: side by side for all pods of a node, so that whoever
/// looks at every node looks at no pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    /// Since when it runs, as far as is known.
    pub(crate) started: Timestamp,
    /// The pod's number.
    pub(crate) number: u32,
    /// The number of its class, and whether a decision has it leave: a copy of what the view's set says.
    class: u32,
}

/// Every pod takes so much of its node's list.
const _: () = assert!(size_of::<Resident>() == 16);

impl Resident {
    const PREEMPTED: u32 = 1 << 31;

    pub(super) fn new(number: u32, class: u32, started: Timestamp, preempted: bool) -> Self {
        let mut resident = Self { started, number, class };
        resident.set_preempted(preempted);
        resident
    }

    #[inline]
    pub(super) fn class(self) -> u32 {
        self.class & !Self::PREEMPTED
    }

    #[inline]
    pub(super) fn is_preempted(self) -> bool {
        self.class & Self::PREEMPTED != 0
    }

    pub(super) fn set_preempted(&mut self, preempted: bool) {
        self.class = if preempted { self.class | Self::PREEMPTED } else { self.class() };
    }
}

/// The pods of one class.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) class: Arc<PodClass>,
    pub(crate) nodes: Nodes,
}

/// How many pods of a class are on which node; never 0.
#[derive(Debug)]
pub(crate) enum Nodes {
    /// On a single one: a pod that is like no other takes no map.
    One(NodeId, u32),
    Several(NumberMap<NodeId, u32>),
}

impl Nodes {
    fn add(&mut self, node: NodeId) {
        match self {
            Self::One(known, pods) if *known == node => *pods += 1,
            Self::One(known, pods) => {
                *self = Self::Several([(*known, *pods), (node, 1)].into_iter().collect())
            }
            Self::Several(nodes) => *nodes.entry(node).or_insert(0) += 1,
        }
    }

    /// Takes one pod off. Answers whether none is left.
    fn remove(&mut self, node: NodeId) -> bool {
        match self {
            Self::One(known, pods) => {
                *pods -= u32::from(*known == node);
                *pods == 0
            }
            Self::Several(nodes) => {
                if let Some(pods) = nodes.get_mut(&node) {
                    *pods -= 1;
                    if *pods == 0 {
                        nodes.swap_remove(&node);
                    }
                }
                nodes.is_empty()
            }
        }
    }

    fn is_on(&self, node: NodeId) -> bool {
        match self {
            Self::One(known, _) => *known == node,
            Self::Several(nodes) => nodes.contains_key(&node),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, u32)> {
        let (one, several) = match self {
            Self::One(node, pods) => (Some((*node, *pods)), None),
            Self::Several(nodes) => (None, Some(nodes)),
        };
        one.into_iter().chain(several.into_iter().flatten().map(|(node, pods)| (*node, *pods)))
    }
}

/// The pods of all classes. A class has a number while a pod of it is there.
#[derive(Debug, Default)]
pub(crate) struct Residents {
    classes: Numbered<Class>,
    /// Those whose pods have wishes about others.
    wishing: NumberMap<u64, Arc<PodClass>>,
}

impl Residents {
    fn number_of(&self, class: &PodClass) -> Option<u32> {
        self.classes.find(scatter(class.id), |known| known.class.id == class.id)
    }

    /// The class with a number that is in use.
    #[inline]
    pub(crate) fn class(&self, number: u32) -> &Arc<PodClass> {
        &self.classes.get(number).class
    }

    /// Adds a pod. Answers the number of its class.
    pub(crate) fn add(&mut self, class: &Arc<PodClass>, node: NodeId) -> u32 {
        if let Some(number) = self.number_of(class) {
            self.classes.get_mut(number).nodes.add(node);
            return number;
        }
        if !class.terms.is_empty() {
            self.wishing.entry(class.id).or_insert_with(|| Arc::clone(class));
        }
        let new = Class { class: Arc::clone(class), nodes: Nodes::One(node, 1) };
        self.classes.insert(scatter(class.id), new)
    }

    /// Whether a pod of the class is on the node.
    pub(crate) fn is_on(&self, class: &PodClass, node: NodeId) -> bool {
        self.number_of(class).is_some_and(|number| self.classes.get(number).nodes.is_on(node))
    }

    /// Takes one pod of the class with this number off.
    pub(crate) fn remove(&mut self, number: u32, node: NodeId) {
        if self.classes.get_mut(number).nodes.remove(node) {
            let gone = self.classes.remove(number);
            self.wishing.swap_remove(&gone.class.id);
        }
    }

    /// The classes whose pods have wishes about other pods.
    pub(crate) fn wishing(&self) -> impl Iterator<Item = &PodClass> {
        self.wishing.values().map(|class| &**class)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }
}
