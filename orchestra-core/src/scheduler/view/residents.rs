//! Where the pods of each class are.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use indexmap::IndexMap;

use super::class::PodClass;
use super::slots::{NodeId, scatter};

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

/// The pods of all classes.
#[derive(Debug, Default)]
pub(crate) struct Residents {
    classes: NumberMap<u64, Class>,
    /// Those whose pods have wishes about others.
    wishing: NumberMap<u64, Arc<PodClass>>,
}

impl Residents {
    pub(crate) fn add(&mut self, class: &Arc<PodClass>, node: NodeId) {
        if let Some(of_class) = self.classes.get_mut(&class.id) {
            of_class.nodes.add(node);
            return;
        }
        let nodes = Nodes::One(node, 1);
        self.classes.insert(class.id, Class { class: Arc::clone(class), nodes });
        if !class.terms.is_empty() {
            self.wishing.entry(class.id).or_insert_with(|| Arc::clone(class));
        }
    }

    /// Whether a pod of the class is on the node.
    pub(crate) fn is_on(&self, class: &PodClass, node: NodeId) -> bool {
        self.classes.get(&class.id).is_some_and(|of_class| of_class.nodes.is_on(node))
    }

    pub(crate) fn remove(&mut self, class: &PodClass, node: NodeId) {
        let Some(of_class) = self.classes.get_mut(&class.id) else { return };
        if of_class.nodes.remove(node) {
            self.classes.swap_remove(&class.id);
            self.wishing.swap_remove(&class.id);
        }
    }

    /// The classes whose pods have wishes about other pods.
    pub(crate) fn wishing(&self) -> impl Iterator<Item = &PodClass> {
        self.wishing.values().map(|class| &**class)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.values()
    }
}
