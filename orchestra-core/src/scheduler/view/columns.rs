//! Resources of all nodes: what a node has, and what its pods take of it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{GPU, GPU_MILLI, Quantity, ResourceList, WHOLE_GPU};

/// How many resources are told apart. A real cluster knows a few dozen; a pod that asks for a resource beyond
/// the bound is taken to ask for something that no node has.
const MAX_RESOURCES: usize = 4096;

/// The largest amount of a resource, 2^48: 256 TiB, or 281 million million pieces. Larger ones count as this, so
/// that 32,768 of the largest requests fit into a sum.
const MAX_AMOUNT: i64 = 1 << 48;

/// A resource's number. The order is that of first sight; those of [`FIXED`] have the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ResourceId(u16);

impl ResourceId {
    /// In thousandths of a CPU.
    pub(crate) const CPU: Self = Self(0);
    /// In bytes.
    pub(crate) const MEMORY: Self = Self(1);
    /// How many pods.
    pub(crate) const PODS: Self = Self(2);
    /// Whole GPUs.
    pub(crate) const GPU: Self = Self(4);
    /// Thousandths of GPUs, whole ones included.
    pub(crate) const GPU_MILLI: Self = Self(5);
    /// A resource that no node has.
    const UNKNOWN: Self = Self(u16::MAX);

    #[inline]
    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The resources with fixed numbers.
const FIXED: [&str; 6] = ["cpu", "memory", "pods", "ephemeral-storage", GPU, GPU_MILLI];
/// So many of them are asked for by every pod.
const COMMON: usize = 3;

/// The amount of `quantity` of the resource called `name`: thousandths for `cpu`, whole units for all others.
pub(crate) fn amount(name: &str, quantity: Quantity) -> i64 {
    let amount = if name == "cpu" { quantity.milli() } else { quantity.value() };
    amount.clamp(0, MAX_AMOUNT)
}

/// Names of resources.
#[derive(Debug)]
pub(crate) struct ResourceNames {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, ResourceId>,
}

impl Default for ResourceNames {
    fn default() -> Self {
        let mut names = Self { names: Vec::new(), ids: HashMap::new() };
        for (name, id) in FIXED.into_iter().zip(0..) {
            let name: Arc<str> = name.into();
            names.names.push(Arc::clone(&name));
            names.ids.insert(name, ResourceId(id));
        }
        names
    }
}

impl ResourceNames {
    pub(crate) fn intern(&mut self, name: &str) -> ResourceId {
        if let Some(id) = self.get(name) {
            return id;
        }
        if self.names.len() >= MAX_RESOURCES {
            return ResourceId::UNKNOWN;
        }
        let id = ResourceId(u16::try_from(self.names.len()).unwrap_or(u16::MAX));
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }

    pub(crate) fn get(&self, name: &str) -> Option<ResourceId> {
        // What every pod asks for is known without a look.
        match name {
            "cpu" => return Some(ResourceId::CPU),
            "memory" => return Some(ResourceId::MEMORY),
            _ => {}
        }
        self.ids.get(name).copied()
    }

    pub(crate) fn name(&self, id: ResourceId) -> &str {
        self.names.get(id.index()).map_or("an unknown resource", |n| n)
    }
}

/// What pods request of a node for scoring: like the request, but at least
/// a little, so that pods without requests spread too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// In thousandths of a CPU.
    pub(crate) cpu: i64,
    /// In bytes.
    pub(crate) memory: i64,
}

/// What is true of few nodes and asked of all of them: read from here without touching the node object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether there is a node object.
    pub(crate) present: bool,
    pub(crate) cordoned: bool,
    pub(crate) tainted: bool,
    pub(crate) images: bool,
}

/// What is asked of a node for every pod, side by side: one line of memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Row {
    /// Of the resources that every pod asks for.
    allocatable: [i64; COMMON],
    used: [i64; COMMON],
    weight: Weight,
}

const NOTHING: Row =
    Row { allocatable: [0; COMMON], used: [0; COMMON], weight: Weight { cpu: 0, memory: 0 } };

/// A row for each node, and columns for the resources that few have: they exist from the first amount in them that is
/// not zero.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    rows: Vec<Row>,
    facts: Vec<Facts>,
    allocatable: Vec<Vec<i64>>,
    used: Vec<Vec<i64>>,
}

/// The cell of a resource that is not in the rows.
fn cell(columns: &mut Vec<Vec<i64>>, resource: ResourceId, node: usize) -> &mut i64 {
    let index = resource.index() - COMMON;
    if columns.len() <= index {
        columns.resize_with(index + 1, Vec::new);
    }
    let column = &mut columns[index];
    if column.len() <= node {
        // Doubling, because nodes come one by one.
        column.resize((node + 1).next_power_of_two(), 0);
    }
    &mut column[node]
}

fn at(columns: &[Vec<i64>], resource: ResourceId, node: usize) -> i64 {
    columns.get(resource.index() - COMMON).and_then(|c| c.get(node)).copied().unwrap_or(0)
}

impl Columns {
    #[inline]
    pub(crate) fn allocatable(&self, resource: ResourceId, node: usize) -> i64 {
        match resource.index() {
            common @ 0..COMMON => self.row(node).map_or(0, |row| row.allocatable[common]),
            _ => at(&self.allocatable, resource, node),
        }
    }

    #[inline]
    pub(crate) fn used(&self, resource: ResourceId, node: usize) -> i64 {
        match resource.index() {
            common @ 0..COMMON => self.row(node).map_or(0, |row| row.used[common]),
            _ => at(&self.used, resource, node),
        }
    }

    #[inline]
    fn row(&self, node: usize) -> Option<&Row> {
        self.rows.get(node)
    }

    #[inline]
    fn row_mut(&mut self, node: usize) -> &mut Row {
        if self.rows.len() <= node {
            self.rows.resize((node + 1).next_power_of_two(), NOTHING);
        }
        &mut self.rows[node]
    }

    #[inline]
    pub(crate) fn weight(&self, node: usize) -> Weight {
        self.row(node).map_or_else(Weight::default, |row| row.weight)
    }

    /// CPU and memory of the nodes, by number: what they have, and how pods there weigh.
    #[inline]
    pub(crate) fn amounts(&self) -> impl Iterator<Item = ([i64; 2], Weight)> {
        self.rows.iter().map(|row| ([row.allocatable[0], row.allocatable[1]], row.weight))
    }

    #[inline]
    pub(crate) fn facts(&self, node: usize) -> Facts {
        self.facts.get(node).copied().unwrap_or_default()
    }

    /// The nodes that have a node object.
    pub(crate) fn present(&self) -> impl Iterator<Item = usize> {
        self.facts.iter().enumerate().filter(|(_, facts)| facts.present).map(|(node, _)| node)
    }

    pub(crate) fn set_facts(&mut self, node: usize, facts: Facts) {
        if self.facts.len() <= node {
            self.facts.resize((node + 1).next_power_of_two(), Facts::default());
        }
        self.facts[node] = facts;
    }

    /// Sets what `node` has. Resources that are not in the list become 0.
    pub(crate) fn set_allocatable(&mut self, node: usize, list: &ResourceList, names: &mut ResourceNames) {
        self.row_mut(node).allocatable = Default::default();
        for column in &mut self.allocatable {
            if let Some(amount) = column.get_mut(node) {
                *amount = 0;
            }
        }
        for (name, quantity) in list {
            let (resource, amount) = (names.intern(name), amount(name, *quantity));
            // How much of GPUs can be shared follows from how many there are.
            if [ResourceId::UNKNOWN, ResourceId::GPU_MILLI].contains(&resource) {
                continue;
            }
            if let Some(cell) = self.row_mut(node).allocatable.get_mut(resource.index()) {
                *cell = amount;
            } else if amount > 0 {
                *cell(&mut self.allocatable, resource, node) = amount;
            }
        }
        let gpus = self.allocatable(ResourceId::GPU, node);
        if gpus > 0 {
            *cell(&mut self.allocatable, ResourceId::GPU_MILLI, node) =
                (gpus * i64::from(WHOLE_GPU)).min(MAX_AMOUNT);
        }
    }

    /// Adds (`sign` 1) or takes off (-1) what a pod requests.
    pub(crate) fn charge(&mut self, node: usize, requests: &[(ResourceId, i64)], weight: Weight, sign: i64) {
        let row = self.row_mut(node);
        row.weight.cpu += sign * weight.cpu;
        row.weight.memory += sign * weight.memory;
        // Sorted: those that every pod asks for are the first.
        let mut rest = requests;
        while let [(resource, amount), more @ ..] = rest
            && let Some(cell) = row.used.get_mut(resource.index())
        {
            *cell += sign * amount;
            rest = more;
        }
        for (resource, amount) in rest.iter().filter(|(resource, _)| *resource != ResourceId::UNKNOWN) {
            *cell(&mut self.used, *resource, node) += sign * amount;
        }
    }

    /// Reads the line of memory that a node's row takes.
    pub(crate) fn read_ahead(&self, node: usize) -> usize {
        let row = self.row(node).unwrap_or(&NOTHING);
        usize::from(row.used[0] == 0)
    }

    /// The first requested resource of which `node` has too little left.
    pub(crate) fn lacking(&self, node: usize, requests: &[(ResourceId, i64)]) -> Option<ResourceId> {
        let row = self.row(node).unwrap_or(&NOTHING);
        let free = |resource: ResourceId| match row.allocatable.get(resource.index()) {
            Some(allocatable) => allocatable - row.used[resource.index()],
            None => self.allocatable(resource, node) - self.used(resource, node),
        };
        requests.iter().find(|(resource, amount)| *amount > free(*resource)).map(|(resource, _)| *resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_can_be_taken_off_again() {
        let (mut names, mut columns) = (ResourceNames::default(), Columns::default());
        let gpu = names.intern("nvidia.com/gpu");
        let list = ResourceList::from([
            ("cpu".to_owned(), "4".parse().unwrap()),
            ("nvidia.com/gpu".to_owned(), "2".parse().unwrap()),
        ]);
        columns.set_allocatable(3, &list, &mut names);
        let requests = [(ResourceId::CPU, 3000), (gpu, 2)];
        assert_eq!(columns.lacking(3, &requests), None);
        columns.charge(3, &requests, Weight { cpu: 3000, memory: 1 }, 1);
        assert_eq!(columns.lacking(3, &requests), Some(ResourceId::CPU));
        assert_eq!(columns.lacking(3, &[(ResourceId::CPU, 1000), (gpu, 1)]), Some(gpu));
        columns.charge(3, &requests, Weight { cpu: 3000, memory: 1 }, -1);
        assert_eq!(columns.lacking(3, &requests), None);
        assert_eq!(columns.weight(3), Weight::default());
        columns.set_allocatable(3, &ResourceList::new(), &mut names);
        assert_eq!(columns.allocatable(ResourceId::CPU, 3), 0);
    }

    #[test]
    fn the_number_of_resources_is_bounded() {
        let (mut names, mut columns) = (ResourceNames::default(), Columns::default());
        let last = (0..=MAX_RESOURCES).map(|i| names.intern(&format!("example.com/{i}"))).last().unwrap();
        assert_eq!(last, ResourceId::UNKNOWN);
        columns.charge(0, &[(last, 1)], Weight::default(), 1);
        assert_eq!(columns.lacking(0, &[(last, 1)]), Some(last));
        assert_eq!(columns.lacking(0, &[(last, 0)]), None);
    }
}
