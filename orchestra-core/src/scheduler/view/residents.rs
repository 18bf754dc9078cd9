//! Where the pods of each class are, and what nodes keep of each.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use indexmap::IndexMap;

use super::class::PodClass;
use super::slots::{NodeId, scatter};
use crate::model::Timestamp;

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
    classes: Vec<Option<Class>>,
    free: Vec<u32>,
    /// By the classes' identities.
    numbers: HashTable<u32>,
    /// Those whose pods have wishes about others.
    wishing: NumberMap<u64, Arc<PodClass>>,
}

const IN_USE: &str = "numbers in use have a class";

impl Residents {
    fn number_of(&self, class: &PodClass) -> Option<u32> {
        self.numbers.find(scatter(class.id), |number| self.class(*number).id == class.id).copied()
    }

    fn of_class_mut(&mut self, number: u32) -> &mut Class {
        self.classes[number as usize].as_mut().expect(IN_USE)
    }

    /// The class with a number that is in use.
    #[inline]
    pub(crate) fn class(&self, number: u32) -> &Arc<PodClass> {
        &self.classes[number as usize].as_ref().expect(IN_USE).class
    }

    /// Adds a pod. Answers the number of its class.
    pub(crate) fn add(&mut self, class: &Arc<PodClass>, node: NodeId) -> u32 {
        if let Some(number) = self.number_of(class) {
            self.of_class_mut(number).nodes.add(node);
            return number;
        }
        let new = Some(Class { class: Arc::clone(class), nodes: Nodes::One(node, 1) });
        let number = if let Some(number) = self.free.pop() {
            self.classes[number as usize] = new;
            number
        } else {
            self.classes.push(new);
            u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
        };
        let classes = &self.classes;
        let hash_of = |number: &u32| classes[*number as usize].as_ref().map_or(0, |of| scatter(of.class.id));
        self.numbers.insert_unique(scatter(class.id), number, hash_of);
        if !class.terms.is_empty() {
            self.wishing.entry(class.id).or_insert_with(|| Arc::clone(class));
        }
        number
    }

    /// Whether a pod of the class is on the node.
    pub(crate) fn is_on(&self, class: &PodClass, node: NodeId) -> bool {
        let of_class = self.number_of(class).and_then(|number| self.classes[number as usize].as_ref());
        of_class.is_some_and(|of_class| of_class.nodes.is_on(node))
    }

    /// Takes one pod of the class with this number off.
    pub(crate) fn remove(&mut self, number: u32, node: NodeId) {
        let of_class = self.of_class_mut(number);
        if !of_class.nodes.remove(node) {
            return;
        }
        let id = of_class.class.id;
        if let Ok(known) = self.numbers.find_entry(scatter(id), |other| *other == number) {
            known.remove();
        }
        self.classes[number as usize] = None;
        self.free.push(number);
        self.wishing.swap_remove(&id);
    }

    /// The classes whose pods have wishes about other pods.
    pub(crate) fn wishing(&self) -> impl Iterator<Item = &PodClass> {
        self.wishing.values().map(|class| &**class)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().flatten()
    }
}
