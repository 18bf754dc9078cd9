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
    /// How many are on which node; never 0.
    pub(crate) nodes: NumberMap<NodeId, u32>,
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
        let entry = self.classes.entry(class.id);
        let of_class =
            entry.or_insert_with(|| Class { class: Arc::clone(class), nodes: NumberMap::default() });
        *of_class.nodes.entry(node).or_insert(0) += 1;
        if !class.terms.is_empty() {
            self.wishing.entry(class.id).or_insert_with(|| Arc::clone(class));
        }
    }

    pub(crate) fn remove(&mut self, class: &PodClass, node: NodeId) {
        let Some(of_class) = self.classes.get_mut(&class.id) else { return };
        if let Some(count) = of_class.nodes.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                of_class.nodes.swap_remove(&node);
            }
        }
        if of_class.nodes.is_empty() {
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
