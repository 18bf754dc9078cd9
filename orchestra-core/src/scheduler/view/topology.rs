//! Topology: which nodes share a zone, a rack, a host, by the values of a label.

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::model::{HOSTNAME, Labels, ZONE};

/// How many label keys can divide the nodes at one time. A cluster uses a handful. Pods whose constraints name
/// a key beyond the bound find no domain under it.
const MAX_KEYS: usize = 256;

/// Values that no node has any more are kept up to this number more than the live ones before they are dropped.
const SPARE_VALUES: usize = 1024;

/// A topology key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(u16);

impl KeyId {
    /// A key under which no node is in any domain.
    const NONE: Self = Self(u16::MAX);

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The domain of a node that lacks the label.
pub(crate) const NO_DOMAIN: u32 = u32::MAX;

/// One key: the domain of every node.
#[derive(Debug, Default)]
pub(crate) struct Key {
    of: Vec<u32>,
    values: HashMap<String, u32>,
    /// How many nodes are in each domain.
    population: Vec<u32>,
    /// How many domains have more than one node.
    shared: usize,
    /// How many domains have any node.
    live: usize,
    /// Grows when domains are numbered anew.
    generation: u64,
}

impl Key {
    fn set(&mut self, node: usize, value: Option<&str>) {
        if self.of.len() <= node {
            self.of.resize((node + 1).next_power_of_two(), NO_DOMAIN);
        }
        let old = self.of[node];
        let new = value.map_or(NO_DOMAIN, |v| self.domain(v));
        if old == new {
            return;
        }
        self.of[node] = new;
        if let Some(population) = self.population.get_mut(old as usize) {
            *population -= 1;
            self.shared -= usize::from(*population == 1);
            self.live -= usize::from(*population == 0);
        }
        if let Some(population) = self.population.get_mut(new as usize) {
            *population += 1;
            self.shared += usize::from(*population == 2);
            self.live += usize::from(*population == 1);
        }
    }

    fn domain(&mut self, value: &str) -> u32 {
        if let Some(domain) = self.values.get(value) {
            return *domain;
        }
        let domain = u32::try_from(self.population.len()).unwrap_or(NO_DOMAIN);
        self.population.push(0);
        self.values.insert(value.to_owned(), domain);
        domain
    }

    /// The node's domain, or [`NO_DOMAIN`].
    #[inline]
    pub(crate) fn of(&self, node: usize) -> u32 {
        self.of.get(node).copied().unwrap_or(NO_DOMAIN)
    }

    /// How many domains have had a number.
    pub(crate) fn domains(&self) -> usize {
        self.population.len()
    }

    /// Whether every domain is a single node, as with `kubernetes.io/hostname`.
    pub(crate) fn is_fine(&self) -> bool {
        self.shared == 0
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// The keys that nearly every cluster has constraints by. They are followed from the start, as reading the label of
/// every node costs more than following it.
const WELL_KNOWN: [&str; 3] = [HOSTNAME, ZONE, "topology.kubernetes.io/region"];

/// The well-known keys, and those that some pod's constraints name.
#[derive(Debug)]
pub(crate) struct Topology {
    keys: Vec<Key>,
    names: BTreeMap<String, KeyId>,
    /// What unknown keys look like.
    nothing: Key,
}

impl Default for Topology {
    fn default() -> Self {
        let mut topology = Self { keys: Vec::new(), names: BTreeMap::new(), nothing: Key::default() };
        for name in WELL_KNOWN {
            topology.key(name, std::iter::empty());
        }
        topology
    }
}

impl Topology {
    /// The number of the key called `name`. `nodes` gives number and labels of every node.
    pub(crate) fn key<'a>(&mut self, name: &str, nodes: impl Iterator<Item = (usize, &'a Labels)>) -> KeyId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        if self.keys.len() >= MAX_KEYS {
            return KeyId::NONE;
        }
        let id = KeyId(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
        let mut key = Key::default();
        for (node, labels) in nodes {
            key.set(node, labels.value(name));
        }
        self.keys.push(key);
        self.names.insert(name.to_owned(), id);
        id
    }

    #[inline]
    pub(crate) fn get(&self, id: KeyId) -> &Key {
        self.keys.get(id.index()).unwrap_or(&self.nothing)
    }

    /// Moves a node to the domains that `labels` say; to none where it has gone.
    pub(crate) fn set_node(&mut self, node: usize, labels: Option<&Labels>) {
        for (name, id) in &self.names {
            self.keys[id.index()].set(node, labels.and_then(|l| l.value(name)));
        }
    }

    /// Numbers the domains anew where most of them have no node any more.
    pub(crate) fn compact<'a, I: Iterator<Item = (usize, &'a Labels)>>(&mut self, nodes: impl Fn() -> I) {
        for (name, id) in &self.names {
            let key = &mut self.keys[id.index()];
            if key.population.len() > 2 * key.live + SPARE_VALUES {
                let mut fresh = Key { generation: key.generation + 1, ..Key::default() };
                for (node, labels) in nodes() {
                    fresh.set(node, labels.value(name));
                }
                *key = fresh;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(zone: &str) -> Labels {
        Labels::from([("zone", zone)])
    }

    #[test]
    fn nodes_move_between_domains() {
        let mut topology = Topology::default();
        let (a, b) = (labels("a"), labels("b"));
        let zone = topology.key("zone", [(0, &a), (1, &b)].into_iter());
        assert!(topology.get(zone).is_fine());
        topology.set_node(2, Some(&a));
        assert!(!topology.get(zone).is_fine());
        assert_eq!(topology.get(zone).of(2), topology.get(zone).of(0));
        topology.set_node(0, None);
        assert!(topology.get(zone).is_fine());
        assert_eq!(topology.get(zone).of(0), NO_DOMAIN);
        assert_eq!(topology.get(zone).of(99), NO_DOMAIN);
    }

    #[test]
    fn dead_domains_are_dropped_and_keys_are_bounded() {
        let mut topology = Topology::default();
        let zone = topology.key("zone", std::iter::empty());
        for i in 0..=SPARE_VALUES + 2 {
            topology.set_node(0, Some(&labels(&i.to_string())));
        }
        let last = labels("last");
        topology.set_node(0, Some(&last));
        topology.compact(|| [(0, &last)].into_iter());
        assert_eq!((topology.get(zone).domains(), topology.get(zone).generation()), (1, 1));
        let beyond = (0..=MAX_KEYS).map(|i| topology.key(&i.to_string(), std::iter::empty())).last().unwrap();
        assert_eq!(topology.get(beyond).of(0), NO_DOMAIN);
    }
}
