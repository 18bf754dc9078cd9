//! In which order the nodes stand in the columns.

use super::kernel::BLOCK;
use crate::scheduler::View;
use crate::scheduler::pipeline::index::by_name;
use crate::scheduler::pipeline::set::PluginSet;
use crate::scheduler::view::slots::NodeId;

/// Of a place where no node is, and of a node that has none.
pub(super) const NONE: u32 = u32::MAX;
/// So many nodes stand unsorted before all are sorted anew, and an eighth of the sorted ones more: so that a node that
/// comes costs the sorting of a few.
const UNSORTED: usize = 64;

/// The places of the nodes. First come those that win ties against all behind them, so that of equal ranks the first
/// place wins; then, unsorted, those that came since.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The node at each place.
    pub(super) nodes: Vec<u32>,
    /// The place of each node.
    places: Vec<u32>,
    /// The number by which the node at each place wins ties.
    ties: Vec<u32>,
    pub(super) sorted: usize,
    /// Places that their nodes have left.
    holes: usize,
}

impl Layout {
    /// All nodes of the view, sorted.
    pub(super) fn new(plugins: &PluginSet, view: &View) -> Self {
        let names = by_name(view);
        let tie = |id: NodeId| plugins.tie(view.slots().slot(id).hash);
        let mut nodes: Vec<(u32, u32)> = view.nodes().map(|n| (tie(n.id()), n.id().number())).collect();
        nodes.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| names(a.1, b.1)));
        let mut layout = Self { sorted: nodes.len(), ..Self::default() };
        for (tie, node) in nodes {
            layout.push(node, tie);
        }
        layout
    }

    fn push(&mut self, node: u32, tie: u32) {
        let index = node as usize;
        if self.places.len() <= index {
            self.places.resize((index + 1).next_power_of_two(), NONE);
        }
        self.places[index] = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(node);
        self.ties.push(tie);
    }

    /// The place of a node.
    pub(super) fn place(&self, id: NodeId) -> Option<usize> {
        self.places.get(id.index()).filter(|place| **place != NONE).map(|place| *place as usize)
    }

    /// How many blocks the places fill.
    pub(super) fn blocks(&self) -> usize {
        self.nodes.len().div_ceil(BLOCK)
    }

    /// A node is there, or another one has its number. Answers the place that is empty now, if that is so.
    pub(super) fn welcome(&mut self, plugins: &PluginSet, view: &View, id: NodeId) -> Option<usize> {
        let tie = plugins.tie(view.slots().slot(id).hash);
        let old = self.place(id);
        if old.is_some_and(|place| self.ties[place] == tie) {
            return None;
        }
        if let Some(place) = old {
            self.nodes[place] = NONE;
            self.holes += 1;
        }
        self.push(id.number(), tie);
        old
    }

    /// Whether it is time to sort anew.
    pub(super) fn is_disordered(&self) -> bool {
        self.nodes.len() - self.sorted + self.holes > UNSORTED + self.sorted / 8
    }

    /// Whether the node at place `a` wins ties against that at `b`.
    pub(super) fn wins(&self, view: &View, a: usize, b: usize) -> bool {
        let names = by_name(view);
        self.ties[a].cmp(&self.ties[b]).then_with(|| names(self.nodes[b], self.nodes[a])).is_gt()
    }
}
