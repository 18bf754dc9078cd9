//! The standing of every node for one class of pods, kept while single nodes change.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::domains::Domains;
use super::set::{Lasts, PluginSet};
use super::tree::{Standing, Tournament};
use crate::scheduler::explain::Reasons;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::{NodeView, PodInfo, View};

/// In place of a reason: the node is feasible.
const FEASIBLE: u16 = u16::MAX;
/// In place of a reason: there is no node.
const ABSENT: u16 = u16::MAX - 1;
/// Not in any cell.
const NO_CELL: u32 = u32::MAX;

/// What is known of one node.
#[derive(Clone, Copy, Debug)]
struct NodeState {
    /// The points that last as long as the node object.
    points: u32,
    /// The reason that lasts as long as the node object, or [`FEASIBLE`], or [`ABSENT`].
    fixed: u16,
    /// The reason against it by rules about this node, or [`FEASIBLE`], or [`ABSENT`].
    reason: u16,
    tie: u32,
    cell: u32,
    leaf: u32,
}

const UNKNOWN: NodeState =
    NodeState { points: 0, fixed: ABSENT, reason: ABSENT, tie: 0, cell: NO_CELL, leaf: 0 };

/// Nodes that the rules about domains don't tell apart.
#[derive(Debug)]
struct Cell {
    /// In the order in which they joined.
    members: Vec<NodeId>,
    /// By their places among the members.
    tree: Tournament,
    feasible: usize,
    /// Any node of it: all of them are in the same domains.
    sample: NodeId,
    /// The points of its nodes, or the reason against them all.
    verdict: Result<u32, u16>,
}

/// What an index is made with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) plugins: &'a PluginSet,
    pub(super) view: &'a View,
    pub(super) pod: &'a PodInfo,
}

impl Cell {
    /// The best node.
    fn winner(&self, view: &View) -> Option<NodeId> {
        let names = |a: usize, b: usize| by_name(view, self.members[a], self.members[b]);
        self.tree.winner(&names).map(|place| self.members[place])
    }
}

/// Orders nodes by name.
pub(super) fn by_name(view: &View, a: NodeId, b: NodeId) -> Ordering {
    view.slots().slot(a).name.cmp(&view.slots().slot(b).name)
}

/// All nodes, ranked.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<NodeState>,
    cells: Vec<Cell>,
    /// The cells of each domain, for keys that divide the nodes into cells.
    cells_in: BTreeMap<(usize, u32), Vec<u32>>,
    keys: usize,
    /// The winners of the cells, with the points of their cells.
    top: Tournament,
}

impl Index {
    pub(super) fn new(cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) -> Self {
        reasons.clear();
        let keys = domains.coarse_keys();
        let mut index = Self {
            nodes: vec![UNKNOWN; cx.view.slots().len()],
            cells: Vec::new(),
            cells_in: BTreeMap::new(),
            keys: keys.len(),
            top: Tournament::default(),
        };
        let mut known: HashMap<SmallVec<[u32; 4]>, u32> = HashMap::new();
        for node in cx.view.nodes() {
            let id = node.id();
            let place: SmallVec<[u32; 4]> = keys.iter().map(|key| cx.view.key(*key).of(id.index())).collect();
            let cell = *known.entry(place).or_insert_with_key(|place| index.add_cell(id, place));
            index.join(id, cell);
        }
        if keys.is_empty() && index.cells.is_empty() {
            index.add_cell(NodeId::from_number(0), &[]);
        }
        for cell in &mut index.cells {
            cell.tree = Tournament::with_capacity(cell.members.len());
        }
        for node in cx.view.nodes() {
            index.assess_fixed(cx, &node, reasons);
            let standing = index.assess(cx, domains, &node, reasons);
            let state = index.nodes[node.id().index()];
            index.cells[state.cell as usize].tree.place(state.leaf as usize, standing);
        }
        index.top = Tournament::with_capacity(index.cells.len());
        for number in 0..index.cells.len() {
            index.cells[number].tree.play();
            index.judge_cell(cx, domains, number);
        }
        index
    }

    fn add_cell(&mut self, sample: NodeId, domains: &[u32]) -> u32 {
        let number = u32::try_from(self.cells.len()).unwrap_or(NO_CELL);
        let tree = Tournament::default();
        self.cells.push(Cell { members: Vec::new(), tree, feasible: 0, sample, verdict: Ok(0) });
        for (key, domain) in domains.iter().enumerate() {
            self.cells_in.entry((key, *domain)).or_default().push(number);
        }
        number
    }

    /// Makes a node the last member of a cell.
    fn join(&mut self, id: NodeId, cell: u32) {
        let members = &mut self.cells[cell as usize].members;
        let state = &mut self.nodes[id.index()];
        (state.cell, state.leaf) = (cell, u32::try_from(members.len()).unwrap_or(u32::MAX));
        members.push(id);
    }

    /// Works out what lasts as long as the node object.
    fn assess_fixed(&mut self, cx: Context<'_>, node: &NodeView<'_>, reasons: &mut Reasons) {
        let state = &mut self.nodes[node.id().index()];
        state.tie = cx.plugins.tie(cx.view.slots().slot(node.id()).hash);
        match cx.plugins.check(Lasts::NodeObject, cx.pod, node) {
            Ok(()) => {
                (state.fixed, state.points) = (FEASIBLE, cx.plugins.score(Lasts::NodeObject, cx.pod, node));
            }
            Err(rejected) => state.fixed = rejected.intern(cx.plugins, reasons),
        }
    }

    /// Works out the rest about one node, and counts it. The standing must go to its leaf.
    fn assess(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        node: &NodeView<'_>,
        reasons: &mut Reasons,
    ) -> Standing {
        let id = node.id();
        let state = self.nodes[id.index()];
        let rank = rank(cx, domains, node, state, reasons);
        let (reason, standing) = match rank {
            Ok(rank) => (FEASIBLE, Standing::new(rank, state.tie)),
            Err(reason) => (reason, Standing::OUT),
        };
        self.set_reason(id, reason, reasons);
        standing
    }

    fn set_reason(&mut self, id: NodeId, reason: u16, reasons: &mut Reasons) {
        let state = &mut self.nodes[id.index()];
        let old = std::mem::replace(&mut state.reason, reason);
        if old == reason {
            return;
        }
        let cell = &mut self.cells[state.cell as usize];
        match old {
            FEASIBLE => cell.feasible -= 1,
            ABSENT => {}
            reason => reasons.uncount(reason),
        }
        match reason {
            FEASIBLE => cell.feasible += 1,
            ABSENT => {}
            reason => reasons.count(reason),
        }
    }

    /// Looks at one node again; with `object`, also at what lasts as long as the node object. Answers whether
    /// there is no room for a node that has come.
    #[must_use]
    pub(super) fn update(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        id: NodeId,
        object: bool,
        reasons: &mut Reasons,
    ) -> bool {
        if self.nodes.len() <= id.index() {
            self.nodes.resize(id.index() + 1, UNKNOWN);
        }
        let node = cx.view.node(id);
        if self.nodes[id.index()].cell == NO_CELL {
            if node.is_none() {
                return false;
            }
            // Only without cells: with them, a node that comes makes the rules new.
            let cell = &self.cells[0];
            if self.keys > 0 || cell.members.len() >= cell.tree.capacity() {
                return true;
            }
            self.join(id, 0);
        }
        let standing = if let Some(node) = node {
            if object {
                self.assess_fixed(cx, &node, reasons);
            }
            self.assess(cx, domains, &node, reasons)
        } else {
            self.nodes[id.index()].fixed = ABSENT;
            self.set_reason(id, ABSENT, reasons);
            Standing::OUT
        };
        let state = self.nodes[id.index()];
        self.cells[state.cell as usize].tree.update(state.leaf as usize, standing);
        self.update_top(state.cell as usize);
        false
    }

    /// Looks at every node's changing part again.
    pub(super) fn update_all(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        for node in cx.view.nodes() {
            let state = self.nodes[node.id().index()];
            if state.cell != NO_CELL {
                let standing = self.assess(cx, domains, &node, reasons);
                self.cells[state.cell as usize].tree.place(state.leaf as usize, standing);
            }
        }
        for number in 0..self.cells.len() {
            self.cells[number].tree.play();
            self.update_top(number);
        }
    }

    /// Judges the cells of one domain again; `key` counts within the keys that divide nodes into cells.
    pub(super) fn judge_domain(&mut self, cx: Context<'_>, domains: &Domains, key: usize, domain: u32) {
        for cell in self.cells_in.get(&(key, domain)).cloned().unwrap_or_default() {
            self.judge_cell(cx, domains, cell as usize);
        }
    }

    /// Judges all cells again.
    pub(super) fn judge_cells(&mut self, cx: Context<'_>, domains: &Domains) {
        for cell in 0..self.cells.len() {
            self.judge_cell(cx, domains, cell);
        }
    }

    fn judge_cell(&mut self, cx: Context<'_>, domains: &Domains, number: usize) {
        let cell = &mut self.cells[number];
        cell.verdict = domains.judge_cell(cx.view, cell.sample);
        self.update_top(number);
    }

    fn update_top(&mut self, number: usize) {
        let cell = &self.cells[number];
        let best = cell.tree.best();
        let standing = match cell.verdict {
            Ok(points) if !best.is_out() => best.plus(points),
            _ => Standing::OUT,
        };
        self.top.update(number, standing);
    }

    /// The best node.
    pub(super) fn best(&self, view: &View) -> Option<NodeId> {
        let winner = |cell: usize| self.cells[cell].winner(view);
        let names = |a: usize, b: usize| match (winner(a), winner(b)) {
            (Some(a), Some(b)) => by_name(view, a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        winner(self.top.winner(&names)?)
    }

    /// All feasible nodes with their standing.
    pub(super) fn feasible(&self) -> impl Iterator<Item = (NodeId, Standing)> {
        self.nodes.iter().enumerate().filter(|(_, state)| state.reason == FEASIBLE).filter_map(
            |(i, state)| {
                let cell = &self.cells[state.cell as usize];
                let standing = cell.tree.standing(state.leaf as usize).plus(cell.verdict.ok()?);
                Some((NodeId::from_number(u32::try_from(i).ok()?), standing))
            },
        )
    }

    /// How many nodes were rejected by the rules of their cell, by reason.
    pub(super) fn rejected_cells(&self) -> Vec<(u16, usize)> {
        self.cells.iter().filter_map(|cell| Some((cell.verdict.err()?, cell.feasible))).collect()
    }
}

/// The rank of a node without the points of its cell, or the reason against it.
fn rank(
    cx: Context<'_>,
    domains: &Domains,
    node: &NodeView<'_>,
    state: NodeState,
    reasons: &mut Reasons,
) -> Result<u32, u16> {
    if state.fixed != FEASIBLE {
        return Err(state.fixed);
    }
    let check = cx.plugins.check(Lasts::NodeAndPods, cx.pod, node);
    check.map_err(|rejected| rejected.intern(cx.plugins, reasons))?;
    let points = domains.judge_node(cx.view, node.id())?;
    let scores = cx.plugins.score(Lasts::NodeAndPods, cx.pod, node);
    Ok(state.points.saturating_add(points).saturating_add(scores))
}
