//! The best node for a pod that is like no other: all nodes ranked afresh, side by side.
//!
//! What follows from the node object is one column for all pods that the plugins call the same; how full a node would be
//! is arithmetic over columns. Of the best the remaining filters are asked one by one until one passes: most often the
//! first does.

mod layout;
mod shared;

use super::kernel::{self, BLOCK, Column, Columns, OUT, Wish, largest};
use layout::{Layout, NONE};
use shared::Shared;

use super::domains::is_concerned;
use super::set::PluginSet;
use crate::scheduler::plugins::Allocation;
use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::view::inverse;
use crate::scheduler::view::log::{Entry, NodeDiff};
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::{NodeView, PodInfo, View};

/// How many columns of shared points are kept: pods that differ in tolerations, node affinity or images have one each.
const MAX_SHARED: usize = 32;
/// After so many nodes that only seemed best the scan gives up: where most nodes are full, looking at all is cheaper.
const MAX_MISSES: usize = 64;
/// The sum of all weights up to which ranks are exact in a float: 167 times 100,000 is below 2^24.
pub(super) const MAX_WEIGHTS: u32 = 167;

/// All nodes in columns, following the view's log.
#[derive(Debug, Default)]
pub(super) struct Scan {
    layout: Layout,
    columns: Columns,
    shared: Vec<Shared>,
    /// The highest rank in each block: kept for its room.
    highest: Vec<f32>,
    /// How far the log has been followed; `None` before the first time.
    position: Option<u64>,
    uses: u64,
    /// How many pods were placed this way.
    pub(super) placed: u64,
}

impl Scan {
    /// The best node for `pod`; `None` where there is none, or where this is not the way to find out.
    pub(super) fn best(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Option<NodeId> {
        let weights: u32 = plugins.scores.iter().map(|s| u32::from(s.weight)).sum();
        if weights > MAX_WEIGHTS || is_concerned(&plugins.domains, view, pod.class()) {
            return None;
        }
        self.catch_up(plugins, view);
        let shared = self.shared_by(plugins, view, pod)?;
        let base = &self.shared[shared];
        let wish = wish(plugins, pod);
        self.columns.highest(&base.points, wish, &mut self.highest);
        let mut misses: Vec<usize> = Vec::new();
        let found = loop {
            let place = best_place(&self.columns, &self.layout, base, wish, &self.highest, &misses, view)?;
            let id = NodeId::from_number(self.layout.nodes[place]);
            if base.accepts_rest(plugins, view, pod, id) {
                break id;
            }
            misses.push(place);
            if misses.len() > MAX_MISSES {
                return None;
            }
            let block = place / BLOCK;
            self.highest[block] = largest(&ranks(&self.columns, base, wish, block, &misses));
        };
        self.placed += 1;
        Some(found)
    }

    /// Forgets the nodes: what comes is another view.
    pub(super) fn forget(&mut self) {
        *self = Self { placed: self.placed, ..Self::default() };
    }

    /// Follows the view.
    fn catch_up(&mut self, plugins: &PluginSet, view: &View) {
        let log = view.log();
        let changes = self.position.and_then(|position| log.since(position));
        let Some(changes) = changes.filter(|changes| changes.len() <= view.len().max(BLOCK)) else {
            self.shared.clear();
            self.lay_out(plugins, view);
            return;
        };
        for change in changes {
            match change {
                Entry::Namespace | Entry::Room(_) => {}
                Entry::Pod(id, ..) => self.set_usage(view, *id),
                Entry::Node(id, diff) => {
                    if diff.intersects(NodeDiff::PRESENCE) && view.node(*id).is_some() {
                        let emptied = self.layout.welcome(plugins, view, *id);
                        for shared in &mut self.shared {
                            emptied.iter().for_each(|place| shared.points.set(*place, OUT));
                        }
                    }
                    self.set_usage(view, *id);
                    for shared in &mut self.shared {
                        shared.update(plugins, view, &self.layout, *id);
                    }
                }
            }
        }
        self.position = Some(log.position());
        if self.layout.is_disordered() {
            self.lay_out(plugins, view);
        }
    }

    /// Sorts all nodes, and fills all columns.
    fn lay_out(&mut self, plugins: &PluginSet, view: &View) {
        self.layout = Layout::new(plugins, view);
        self.columns = Columns::default();
        self.columns.resize(self.layout.blocks());
        for node in view.nodes() {
            let Some(place) = self.layout.place(node.id()) else { continue };
            for (i, (used, inverse)) in usage(&node).into_iter().enumerate() {
                self.columns.used[i][place / BLOCK][place % BLOCK] = used;
                self.columns.inverse[i].place(place, inverse);
            }
        }
        self.columns.inverse.iter_mut().for_each(Column::settle);
        for shared in &mut self.shared {
            shared.work_out(plugins, view, &self.layout);
        }
        self.position = Some(view.log().position());
    }

    /// Looks again at how full a node is.
    fn set_usage(&mut self, view: &View, id: NodeId) {
        let (Some(place), Some(node)) = (self.layout.place(id), view.node(id)) else { return };
        self.columns.resize(self.layout.blocks());
        for (i, (used, inverse)) in usage(&node).into_iter().enumerate() {
            self.columns.used[i][place / BLOCK][place % BLOCK] = used;
            self.columns.inverse[i].set(place, inverse);
        }
    }

    /// The number of the column of shared points for `pod`, up to date.
    fn shared_by(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Option<usize> {
        self.uses += 1;
        let found = self.shared.iter().position(|shared| shared.is_for(plugins, pod));
        let number = match found {
            Some(number) => number,
            None => {
                let shared = Shared::new(plugins, view, &self.layout, pod)?;
                if self.shared.len() >= MAX_SHARED {
                    let oldest = (0..self.shared.len()).min_by_key(|i| self.shared[*i].last_used)?;
                    self.shared.swap_remove(oldest);
                }
                self.shared.push(shared);
                self.shared.len() - 1
            }
        };
        let shared = &mut self.shared[number];
        shared.last_used = self.uses;
        shared.renew(plugins, view, &self.layout);
        shared.points.resize(self.layout.blocks(), OUT);
        Some(number)
    }
}

/// What is used of CPU and memory, as scores count, and one part of what there is.
#[allow(clippy::cast_precision_loss, reason = "scores need no more digits")]
fn usage(node: &NodeView<'_>) -> [(f32, f32); 2] {
    let used = node.weight();
    [(used.cpu, ResourceId::CPU), (used.memory, ResourceId::MEMORY)]
        .map(|(used, resource)| (used as f32, inverse(node.allocatable_of(resource))))
}

#[allow(clippy::cast_precision_loss, reason = "scores need no more digits")]
pub(super) fn wish(plugins: &PluginSet, pod: &PodInfo) -> Wish {
    let weight = pod.class().weight;
    let weigh = |like: Allocation| {
        plugins.allocations().filter(|(kind, _)| *kind == like).map(|(_, weight)| f32::from(weight)).sum()
    };
    Wish {
        more: [weight.cpu as f32, weight.memory as f32],
        weights: [weigh(Allocation::Least), weigh(Allocation::Most), weigh(Allocation::Balanced)],
    }
}

/// The ranks in a block, but for the places that missed.
fn ranks(columns: &Columns, base: &Shared, wish: Wish, block: usize, misses: &[usize]) -> kernel::Block {
    let mut ranks = [OUT; BLOCK];
    columns.ranks(block, &base.points, wish, &mut ranks);
    for place in misses.iter().filter(|place| **place / BLOCK == block) {
        ranks[place % BLOCK] = OUT;
    }
    ranks
}

/// The place with the highest rank that wins all ties, unless all are out.
fn best_place(
    columns: &Columns,
    layout: &Layout,
    base: &Shared,
    wish: Wish,
    highest: &[f32],
    misses: &[usize],
    view: &View,
) -> Option<usize> {
    let best = largest(highest);
    if best == OUT {
        return None;
    }
    let equal = |block: usize| {
        let ranks = ranks(columns, base, wish, block, misses);
        (0..BLOCK).filter(move |lane| ranks[*lane] == best).map(move |lane| block * BLOCK + lane)
    };
    let sorted = layout.sections.iter().filter_map(|section| {
        let first = highest[section.clone()].iter().position(|rank| *rank == best)?;
        equal(section.start + first).next()
    });
    let unsorted = layout.unsorted().filter(|block| highest[*block] == best).flat_map(equal);
    let winner = sorted.chain(unsorted).reduce(|a, b| if layout.wins(view, b, a) { b } else { a });
    winner.filter(|place| layout.nodes[*place] != NONE)
}

#[cfg(test)]
mod tests;
