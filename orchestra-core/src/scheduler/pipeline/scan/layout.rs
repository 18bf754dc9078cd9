//! In which order the nodes stand in the columns.

use std::ops::Range;

use crate::scheduler::View;
use crate::scheduler::pipeline::kernel::BLOCK;
use crate::scheduler::pipeline::set::PluginSet;
use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::view::slots::NodeId;

/// Of a place where no node is, and of a node that has none.
pub(super) const NONE: u32 = u32::MAX;
/// So many nodes stand unsorted before all are sorted anew, and an eighth of the sorted ones more: so that a node that
/// comes costs the sorting of a few.
const UNSORTED: usize = 64;

/// So many shapes of nodes have a section of their own; all others share one.
const MAX_SHAPES: usize = 15;

/// The places of the nodes. First come sections of nodes that have the same amounts of CPU and memory, each in whole
/// blocks and sorted: of equal ranks in it the first place wins. Then, unsorted, come those that came since.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The node at each place.
    pub(super) nodes: Vec<u32>,
    /// The place of each node.
    places: Vec<u32>,
    /// The number by which the node at each place wins ties.
    ties: Vec<u32>,
    /// The blocks of each section.
    pub(super) sections: Vec<Range<usize>>,
    /// How many places the sections have.
    sorted: usize,
    /// Places that their nodes have left.
    holes: usize,
}

impl Layout {
    /// All nodes of the view, sorted.
    pub(super) fn new(plugins: &PluginSet, view: &View) -> Self {
        let mut shapes: Vec<[i64; 2]> = Vec::new();
        let mut sections: Vec<Vec<(u32, u32)>> = vec![Vec::new(); MAX_SHAPES + 1];
        for node in view.nodes() {
            let shape = [ResourceId::CPU, ResourceId::MEMORY].map(|resource| node.allocatable_of(resource));
            let section = shapes.iter().position(|known| *known == shape).unwrap_or_else(|| {
                let new = shapes.len();
                if new < MAX_SHAPES {
                    shapes.push(shape);
                }
                new
            });
            let tie = plugins.tie(view.slots().hash(node.id()));
            // Those that win ties first.
            sections[section].push((!tie, node.id().number()));
        }
        let mut layout = Self::default();
        for mut section in sections.into_iter().filter(|section| !section.is_empty()) {
            section.sort_unstable();
            for equal in section.chunk_by_mut(|a, b| a.0 == b.0) {
                let id = |of: &(u32, u32)| NodeId::from_number(of.1);
                equal.sort_unstable_by(|a, b| view.slots().by_name(id(a), id(b)));
            }
            let first = layout.blocks();
            for (tie, node) in section {
                layout.push(node, !tie);
            }
            let end = layout.blocks();
            layout.nodes.resize(end * BLOCK, NONE);
            layout.ties.resize(end * BLOCK, 0);
            layout.sections.push(first..end);
        }
        layout.sorted = layout.nodes.len();
        layout
    }

    /// The blocks behind the sections.
    pub(super) fn unsorted(&self) -> Range<usize> {
        self.sorted / BLOCK..self.blocks()
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
        let tie = plugins.tie(view.slots().hash(id));
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
        let id = |place: usize| NodeId::from_number(self.nodes[place]);
        self.ties[a].cmp(&self.ties[b]).then_with(|| view.slots().by_name(id(b), id(a))).is_gt()
    }
}
