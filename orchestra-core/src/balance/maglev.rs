//! Equal keys to the same endpoint, found in a table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::endpoint::{Lease, Slot};
use super::members::{Dice, Members, identity, mix};
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// The largest table, as Envoy's: 20 MB.
const LARGEST_TABLE: u32 = 5_000_011;

/// How many other places of the table are looked at where the first one's endpoint is excluded, before all endpoints are
/// gone through in turn.
const PROBES: u64 = 16;

/// An entry of the table that is nobody's yet.
const NOBODY: u32 = u32::MAX;

/// How [`Maglev`] spreads keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaglevOptions {
    /// How many entries the table has: 2 to 5,000,011, raised to the next prime. Shares are even to one percent where it is a
    /// hundred times the number of endpoints. An entry takes four bytes.
    pub table_size: u32,
    /// Seeds the choices for requests without a key. The table is the same whatever it is, so that every proxy agrees.
    pub seed: u64,
}

impl Default for MaglevOptions {
    fn default() -> Self {
        // The smaller one of the paper's two sizes, and Envoy's: for some 650 endpoints.
        Self { table_size: 65_537, seed: 0 }
    }
}

impl MaglevOptions {
    /// Sets [`table_size`](Self::table_size).
    #[must_use]
    pub fn with_table_size(self, table_size: u32) -> Self {
        Self { table_size, ..self }
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// Sends requests of one key to one endpoint, found by one look into a table, however many endpoints there are.
///
/// Maglev hashing (Eisenbud et al., NSDI 2016), with weights as Envoy has them. Shares are more even than by
/// [`ConsistentHash`](super::ConsistentHash), and when endpoints come or go some few keys move that need not. The table is
/// made anew by the first pick after a change, which takes a millisecond or two. Requests without a key go to a random
/// endpoint.
#[derive(Debug)]
pub struct Maglev {
    pub(super) members: Members,
    dice: Dice,
    size: u32,
    /// How often the members have changed.
    changes: AtomicU64,
    table: ArcSwap<Table>,
    building: Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    /// Of which change it is.
    changes: u64,
    slots: Vec<Arc<Slot>>,
    /// Whose each entry is, as a place in `slots`; empty where there is nobody.
    entries: Box<[u32]>,
}

impl Default for Maglev {
    fn default() -> Self {
        Self::new(MaglevOptions::default())
    }
}

impl Maglev {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new(options: MaglevOptions) -> Self {
        Self {
            members: Members::default(),
            dice: Dice::new(options.seed),
            size: prime_from(options.table_size.clamp(2, LARGEST_TABLE)),
            changes: AtomicU64::new(0),
            table: ArcSwap::default(),
            building: Mutex::default(),
        }
    }

    /// The table of the members as they are.
    fn table(&self) -> Guard<Arc<Table>> {
        let table = self.table.load();
        if table.changes == self.changes.load(Ordering::Acquire) {
            return table;
        }
        let _one_at_a_time = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the members: they may then be newer, and the next pick builds again.
        let changes = self.changes.load(Ordering::Acquire);
        if self.table.load().changes != changes {
            let slots = self.members.load().to_vec();
            self.table.store(Arc::new(Table::build(slots, self.size, changes)));
        }
        self.table.load()
    }
}

impl Table {
    fn build(mut slots: Vec<Arc<Slot>>, size: u32, changes: u64) -> Self {
        // In an order that does not depend on who came first.
        slots.sort_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
        if slots.is_empty() {
            return Self { changes, ..Self::default() };
        }
        let most = slots.iter().map(|slot| u64::from(slot.endpoint.weight)).max().unwrap_or(1);
        let mut turns: Vec<Turns> = slots.iter().map(|slot| Turns::new(&slot.endpoint, size)).collect();
        let mut entries = vec![NOBODY; size as usize].into_boxed_slice();
        let mut left = entries.len();
        for round in 1.. {
            for (owner, turns) in (0u32..).zip(&mut turns) {
                // The heaviest has a turn in each round, the others in as many as their weights say.
                if round * turns.weight < turns.due {
                    continue;
                }
                turns.due += most;
                turns.take(&mut entries, owner);
                left -= 1;
                if left == 0 {
                    return Self { changes, slots, entries };
                }
            }
        }
        Self { changes, slots, entries }
    }

    fn owner(&self, key: u64) -> &Arc<Slot> {
        let at = usize::try_from(key % self.entries.len() as u64).unwrap_or(0);
        &self.slots[self.entries[at] as usize]
    }
}

/// The order in which an endpoint wants the entries.
struct Turns {
    next: u32,
    skip: u32,
    weight: u64,
    /// When its next turn is, in rounds times weight.
    due: u64,
}

impl Turns {
    fn new(endpoint: &Endpoint, size: u32) -> Self {
        let hash = mix(identity(&endpoint.id));
        let below = |hash: u64, bound: u32| u32::try_from(hash % u64::from(bound)).unwrap_or(0);
        let (next, skip) = (below(hash, size), 1 + below(mix(hash), size - 1));
        Self { next, skip, weight: endpoint.weight.into(), due: 0 }
    }

    /// Takes the entry that it wants most of those that are left. There is one: the size is a prime, so it comes by all.
    fn take(&mut self, entries: &mut [u32], owner: u32) {
        let size = entries.len() as u64;
        loop {
            let entry = &mut entries[self.next as usize];
            let next = (u64::from(self.next) + u64::from(self.skip)) % size;
            self.next = u32::try_from(next).unwrap_or(0);
            if *entry == NOBODY {
                *entry = owner;
                return;
            }
        }
    }
}

impl LoadBalancer for Maglev {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let table = self.table();
        if table.slots.is_empty() {
            return None;
        }
        let key = mix(request.hash.unwrap_or_else(|| self.dice.roll()));
        let first = table.owner(key);
        if request.allows(&first.endpoint.id) {
            return Some(Lease::new(first, request.now, None));
        }
        // The keys of one that is out are spread over all others.
        let spread = (1..=PROBES).map(|i| table.owner(mix(key.wrapping_add(i))));
        let allowed = |slot: &&Arc<Slot>| request.allows(&slot.endpoint.id);
        let slot = spread.into_iter().find(allowed).or_else(|| table.slots.iter().find(allowed))?;
        Some(Lease::new(slot, request.now, None))
    }

    fn insert(&self, endpoint: Endpoint) {
        self.members.insert(endpoint);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn remove(&self, id: &EndpointId) {
        self.members.remove(id);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.members.endpoints()
    }
}

/// The first prime that is not below `from`.
fn prime_from(from: u32) -> u32 {
    let is_prime = |n: u32| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (from.max(2)..).find(|n| is_prime(*n)).unwrap_or(LARGEST_TABLE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn endpoint(i: u8) -> Endpoint {
        Endpoint::new(format!("pod-{i}"), ([127, 0, 0, i], 80))
    }

    fn owner(balancer: &Maglev, key: u64) -> String {
        balancer.pick(&RequestKey::at(Duration::ZERO).hash(key)).unwrap().id().pod.to_string()
    }

    #[test]
    fn the_size_is_a_prime() {
        assert_eq!(
            [0, 2, 4, 100, 65_536, 65_537, 5_000_011].map(prime_from),
            [2, 2, 5, 101, 65_537, 65_537, 5_000_011]
        );
    }

    #[test]
    fn shares_of_the_table_are_even_and_as_the_weights_say() {
        let balancer = Maglev::default();
        (1..=50).for_each(|i| balancer.insert(endpoint(i).weight(if i <= 10 { 3 } else { 1 })));
        let table = balancer.table();
        let mut counts = vec![0u32; 50];
        table.entries.iter().for_each(|owner| counts[*owner as usize] += 1);
        for (slot, count) in table.slots.iter().zip(counts) {
            let fair = f64::from(slot.endpoint.weight) / 70.0 * 65_537.0;
            let off = (f64::from(count) - fair).abs() / fair;
            assert!(off < 0.01, "{:?} has {count} entries, {fair} are fair", slot.endpoint);
        }
    }

    #[test]
    fn an_excluded_endpoints_keys_are_spread_and_come_back_to_it() {
        let balancer = Maglev::default();
        (1..=4).for_each(|i| balancer.insert(endpoint(i)));
        let out = [endpoint(2).id];
        let mut others = std::collections::BTreeMap::<String, usize>::new();
        for key in (0..4000).filter(|key| owner(&balancer, *key) == "pod-2") {
            let request = RequestKey::at(Duration::ZERO).hash(key).exclude(&out);
            *others.entry(balancer.pick(&request).unwrap().id().pod.to_string()).or_default() += 1;
        }
        assert_eq!(others.len(), 3, "{others:?}");
        assert!(others.values().all(|keys| (220..450).contains(keys)), "{others:?}");
        let all: Vec<EndpointId> = (1..=4).map(|i| endpoint(i).id).collect();
        assert!(balancer.pick(&RequestKey::at(Duration::ZERO).exclude(&all)).is_none());
    }

    #[test]
    fn every_proxy_has_the_same_table_in_whatever_order_its_endpoints_came() {
        let (one, other) = (Maglev::default(), Maglev::new(MaglevOptions::default().with_seed(7)));
        (1..=9).for_each(|i| one.insert(endpoint(i)));
        (1..=9).rev().for_each(|i| other.insert(endpoint(i)));
        assert_eq!(one.table().entries, other.table().entries);
    }
}
