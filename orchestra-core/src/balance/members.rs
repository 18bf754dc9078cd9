//! The endpoints of a balancer: read without locks, changed one at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::endpoint::{Slot, SlotLoad};
use super::{Endpoint, EndpointId};

/// The members, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Members {
    slots: ArcSwap<Vec<Arc<Slot>>>,
    writer: Mutex<()>,
}

impl Members {
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Vec<Arc<Slot>>>> {
        self.slots.load()
    }

    pub(super) fn insert(&self, endpoint: Endpoint) {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = (**self.slots.load()).clone();
        match slots.iter_mut().find(|slot| slot.endpoint.id == endpoint.id) {
            Some(slot) => *slot = Arc::new(Slot { endpoint, load: Arc::clone(&slot.load) }),
            None => slots.push(Arc::new(Slot { endpoint, load: Arc::<SlotLoad>::default() })),
        }
        self.slots.store(Arc::new(slots));
    }

    pub(super) fn remove(&self, id: &EndpointId) {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = (**self.slots.load()).clone();
        slots.retain(|slot| slot.endpoint.id != *id);
        self.slots.store(Arc::new(slots));
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.slots.load().iter().map(|slot| slot.endpoint.clone()).collect()
    }
}

/// A number for an endpoint, the same on every machine, so that every proxy agrees: FNV-1a.
pub(super) fn identity(id: &EndpointId) -> u64 {
    let port = id.address.port().to_be_bytes();
    id.pod
        .as_str()
        .bytes()
        .chain(port)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Numbers that look random and follow from a seed: SplitMix64 (Steele, Lea, Flood, 2014) over a counter, so
/// that many threads can draw without a lock.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn roll(&self) -> u64 {
        mix(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// A number in `0..bound`; `bound` is not 0.
    pub(super) fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.roll()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// Spreads the bits of a number over all 64.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
