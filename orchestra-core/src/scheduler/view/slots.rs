//! Nodes by number and by name.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::residents::Resident;
use crate::model::{HostPort, Node};

/// A node's number in its [`View`](super::View). It stays the same while the node or one of its pods is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// By the number of a place that there is.
    #[inline]
    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    #[inline]
    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A node's place. It is kept while there is a node object or a pod that is bound to the node.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    /// The node object; `None` where pods are bound to a node that is unknown or gone.
    pub(crate) object: Option<Arc<Node>>,
    /// The pods here.
    pub(crate) pods: SmallVec<[Resident; 1]>,
    /// Host ports in use, with the number of pods that use each.
    pub(crate) ports: Vec<(HostPort, u32)>,
}

/// All places.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// Of the name of each: what ties are broken by.
    hashes: Vec<u64>,
    free: Vec<u32>,
    names: HashMap<Arc<str>, NodeId>,
    present: usize,
}

impl Slots {
    /// The number of places, free ones included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many places have a node object.
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    #[inline]
    pub(crate) fn get(&self, id: NodeId) -> Option<&Slot> {
        self.slots.get(id.index())
    }

    #[inline]
    pub(crate) fn slot(&self, id: NodeId) -> &Slot {
        &self.slots[id.index()]
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, id: NodeId) -> &mut Slot {
        &mut self.slots[id.index()]
    }

    /// Of the node's name: what ties are broken by.
    #[inline]
    pub(crate) fn hash(&self, id: NodeId) -> u64 {
        self.hashes[id.index()]
    }

    /// Orders nodes by name.
    pub(crate) fn by_name(&self, a: NodeId, b: NodeId) -> Ordering {
        self.slot(a).name.cmp(&self.slot(b).name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Slot)> {
        self.slots.iter().enumerate().map(|(i, slot)| (NodeId::from_index(i), slot))
    }

    /// The place of the node called `name`, made where there is none.
    pub(crate) fn ensure(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let name: Arc<str> = name.into();
        let slot = Slot { name: Arc::clone(&name), object: None, pods: SmallVec::new(), ports: Vec::new() };
        let id = if let Some(number) = self.free.pop() {
            self.slots[number as usize] = slot;
            self.hashes[number as usize] = name_hash(&name);
            NodeId(number)
        } else {
            self.slots.push(slot);
            self.hashes.push(name_hash(&name));
            NodeId::from_index(self.slots.len() - 1)
        };
        self.names.insert(name, id);
        id
    }

    pub(crate) fn set_object(&mut self, id: NodeId, object: Option<Arc<Node>>) -> Option<Arc<Node>> {
        self.present += usize::from(object.is_some());
        let old = std::mem::replace(&mut self.slots[id.index()].object, object);
        self.present -= usize::from(old.is_some());
        old
    }

    /// Frees the place where nothing is left in it.
    pub(crate) fn release(&mut self, id: NodeId) {
        let slot = &mut self.slots[id.index()];
        if slot.object.is_none() && slot.pods.is_empty() && self.names.remove(&slot.name).is_some() {
            slot.name = Arc::from("");
            self.free.push(id.0);
        }
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which std's hashers don't promise.
pub(crate) fn name_hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Scatters `n` over all 64 bits: the last step of Vigna's `SplitMix64`.
pub(crate) fn scatter(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
