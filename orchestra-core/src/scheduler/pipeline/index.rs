//! The standing of every node for one class of pods, kept while single nodes change.
//!
//! Where the scores allow it nodes are ranked [ahead](super::ahead) of the filters, and these are asked about a node once it
//! is on top: most nodes never are. Once somebody asks for the verdict on every node, or the filters are against many nodes
//! in a row, all nodes are checked, and from then on with every change.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::ahead::{self, NodePoints};
use super::domains::Domains;
use super::set::{Lasts, PluginSet};
use super::tree::{Standing, Tournament};
use crate::scheduler::explain::Reasons;
use crate::scheduler::plugins::chooses;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::view::topology::KeyId;
use crate::scheduler::{NodeView, PodInfo, View};

/// In place of a reason: the node is feasible.
const FEASIBLE: u16 = u16::MAX;
/// In place of a reason: there is no node.
const ABSENT: u16 = u16::MAX - 1;
/// In place of a reason: nobody has looked yet.
const UNCHECKED: u16 = u16::MAX - 2;
/// Not in any cell.
const NO_CELL: u32 = u32::MAX;

/// The filters may be against so many nodes on top for one pod before all nodes are checked.
const MAX_MISSES: usize = 64;

/// What the filters say of one node.
#[derive(Clone, Copy, Debug)]
struct NodeState {
    /// The reason that lasts as long as the node object, or [`FEASIBLE`], [`UNCHECKED`] or [`ABSENT`].
    fixed: u16,
    /// The reason against it by rules about this node, or [`FEASIBLE`], [`UNCHECKED`] or [`ABSENT`].
    reason: u16,
}

const UNKNOWN: NodeState = NodeState { fixed: ABSENT, reason: ABSENT };

/// Nodes that the rules about domains don't tell apart.
#[derive(Debug)]
struct Cell {
    /// In the order in which they joined. Empty where one cell has all nodes: there each has its number as its place.
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
    fn member(&self, place: usize) -> NodeId {
        let number = || NodeId::from_number(u32::try_from(place).unwrap_or(u32::MAX));
        self.members.get(place).copied().unwrap_or_else(number)
    }

    /// The best node.
    fn winner(&self, view: &View) -> Option<NodeId> {
        let names = |a: usize, b: usize| view.slots().by_name(self.member(a), self.member(b));
        self.tree.winner(&names).map(|place| self.member(place))
    }
}

/// Where a node is: its cell, and its place there.
type Place = (u32, u32);

/// All nodes, ranked.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<NodeState>,
    points: NodePoints,
    /// Whether nodes are ranked ahead of the filters.
    ahead: bool,
    /// Of each node. Empty where there is one cell.
    places: Vec<Place>,
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
        let (keys, nodes) = (domains.coarse_keys(), cx.view.slots().len());
        let mut index = Self {
            nodes: vec![UNKNOWN; nodes],
            points: NodePoints::default(),
            ahead: ahead::is_possible(cx.plugins),
            places: Vec::new(),
            cells: Vec::new(),
            cells_in: BTreeMap::new(),
            keys: keys.len(),
            top: Tournament::default(),
        };
        if keys.is_empty() {
            // Some room for nodes that come.
            let number = index.add_cell(NodeId::from_number(0), &[]);
            index.cells[number as usize].tree = Tournament::with_capacity(nodes + nodes / 8 + 64);
        } else {
            index.divide(cx.view, &keys);
        }
        if index.ahead {
            index.points = NodePoints::of_all(cx);
            // Of many that the pod does not choose none shall come out on top.
            let choosy = chooses(cx.pod.spec()) || !cx.pod.class().claims.is_empty();
            for id in cx.view.ids() {
                let chosen = if choosy { cx.view.node(id) } else { None };
                let chosen = chosen.map(|node| fixed(cx, &node, reasons));
                index.nodes[id.index()] = NodeState { fixed: chosen.unwrap_or(UNCHECKED), reason: UNCHECKED };
            }
            index.rank_ahead(cx, domains, reasons);
        } else {
            for node in cx.view.nodes() {
                let standing = index.assess(cx, domains, &node, true, reasons);
                index.put(node.id(), standing);
            }
        }
        index.top = Tournament::with_capacity(index.cells.len());
        for number in 0..index.cells.len() {
            index.cells[number].tree.play();
            index.judge_cell(cx, domains, number);
        }
        index
    }

    /// Makes the cells, each with its members.
    fn divide(&mut self, view: &View, keys: &[KeyId]) {
        self.places = vec![(NO_CELL, 0); self.nodes.len()];
        let mut known: HashMap<SmallVec<[u32; 4]>, u32> = HashMap::new();
        // Most often there is one key.
        let mut by_domain: Vec<u32> = Vec::new();
        for id in view.ids() {
            let cell = if let [key] = keys {
                let domain = view.key(*key).of(id.index());
                // The domain of those that have none is the first.
                let at = domain.wrapping_add(1) as usize;
                if by_domain.len() <= at {
                    by_domain.resize(at + 1, NO_CELL);
                }
                if by_domain[at] == NO_CELL {
                    by_domain[at] = self.add_cell(id, &[domain]);
                }
                by_domain[at]
            } else {
                let domains = keys.iter().map(|key| view.key(*key).of(id.index())).collect();
                *known.entry(domains).or_insert_with_key(|domains| self.add_cell(id, domains))
            };
            let members = &mut self.cells[cell as usize].members;
            self.places[id.index()] = (cell, u32::try_from(members.len()).unwrap_or(u32::MAX));
            members.push(id);
        }
        for cell in &mut self.cells {
            cell.tree = Tournament::with_capacity(cell.members.len());
        }
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

    /// Where a node is; `None` where there is no room for it.
    #[inline]
    fn place(&self, id: NodeId) -> Option<(usize, usize)> {
        if self.keys == 0 {
            return (id.index() < self.cells[0].tree.capacity()).then_some((0, id.index()));
        }
        let (cell, leaf) = self.places.get(id.index()).filter(|(cell, _)| *cell != NO_CELL)?;
        Some((*cell as usize, *leaf as usize))
    }

    /// Sets a node's standing without playing.
    fn put(&mut self, id: NodeId, standing: Standing) {
        if let Some((cell, leaf)) = self.place(id) {
            self.cells[cell].tree.place(leaf, standing);
        }
    }

    /// Sets the standing of every node ahead of the filters, without playing.
    fn rank_ahead(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        let points = std::mem::take(&mut self.points);
        ahead::each_rank(cx, &points, |id, rank| {
            if cx.view.facts(id).present {
                let standing = self.stand_ahead(cx, domains, id, rank, reasons);
                self.put(id, standing);
            }
        });
        self.points = points;
    }

    /// The standing of a node with `rank`, but for the points by rules about domains, ahead of the filters.
    #[inline]
    fn stand_ahead(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        id: NodeId,
        rank: u32,
        reasons: &mut Reasons,
    ) -> Standing {
        let fixed = self.nodes[id.index()].fixed;
        if ![FEASIBLE, UNCHECKED].contains(&fixed) {
            self.set_reason(id, fixed, reasons);
            return Standing::OUT;
        }
        self.set_reason(id, UNCHECKED, reasons);
        stand(cx, domains, id, rank)
    }

    /// Works out what is to be said about one node; with `object`, also what lasts as long as the node object. The standing
    /// must go to its leaf.
    fn assess(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        node: &NodeView<'_>,
        object: bool,
        reasons: &mut Reasons,
    ) -> Standing {
        let id = node.id();
        if object {
            self.nodes[id.index()].fixed = UNCHECKED;
        }
        if !self.ahead {
            let verdict = self.verdict(cx, domains, node, reasons);
            self.set_reason(id, verdict, reasons);
            let accepted = self.nodes[id.index()].fixed == FEASIBLE;
            if object && accepted {
                self.points.set(id, cx.plugins.score(Lasts::NodeObject, cx.pod, node));
            }
            if verdict != FEASIBLE {
                return Standing::OUT;
            }
        } else if object {
            self.points.set(id, cx.plugins.score(Lasts::NodeObject, cx.pod, node));
        }
        let rank = self.points.of(id).saturating_add(cx.plugins.score(Lasts::NodeAndPods, cx.pod, node));
        if self.ahead {
            self.stand_ahead(cx, domains, id, rank, reasons)
        } else {
            stand(cx, domains, id, rank)
        }
    }

    /// The reason against a node by rules about this node, or [`FEASIBLE`].
    fn verdict(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        node: &NodeView<'_>,
        reasons: &mut Reasons,
    ) -> u16 {
        let state = &mut self.nodes[node.id().index()];
        if state.fixed == UNCHECKED {
            state.fixed = fixed(cx, node, reasons);
        }
        if state.fixed != FEASIBLE {
            return state.fixed;
        }
        match cx.plugins.check(Lasts::NodeAndPods, cx.pod, node) {
            Ok(()) => domains.judge_node(cx.view, node.id()).err().unwrap_or(FEASIBLE),
            Err(rejected) => rejected.intern(cx.plugins, reasons),
        }
    }

    fn set_reason(&mut self, id: NodeId, reason: u16, reasons: &mut Reasons) {
        let old = std::mem::replace(&mut self.nodes[id.index()].reason, reason);
        if old == reason {
            return;
        }
        let cell = self.place(id).map(|(cell, _)| &mut self.cells[cell].feasible);
        match (old, cell) {
            (FEASIBLE, Some(feasible)) => *feasible -= 1,
            (FEASIBLE | ABSENT | UNCHECKED, _) => {}
            (reason, _) => reasons.uncount(reason),
        }
        let cell = self.place(id).map(|(cell, _)| &mut self.cells[cell].feasible);
        match (reason, cell) {
            (FEASIBLE, Some(feasible)) => *feasible += 1,
            (FEASIBLE | ABSENT | UNCHECKED, _) => {}
            (reason, _) => reasons.count(reason),
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
        let node = cx.view.node(id);
        // Only without cells is there any: with them, a node that comes makes the rules new.
        let Some((cell, leaf)) = self.place(id) else { return node.is_some() };
        if self.nodes.len() <= id.index() {
            self.nodes.resize(id.index() + 1, UNKNOWN);
        }
        let standing = if let Some(node) = node {
            self.assess(cx, domains, &node, object, reasons)
        } else {
            self.nodes[id.index()].fixed = ABSENT;
            self.set_reason(id, ABSENT, reasons);
            Standing::OUT
        };
        self.cells[cell].tree.update(leaf, standing);
        self.update_top(cell);
        false
    }

    /// Looks at every node's changing part again.
    pub(super) fn update_all(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        if self.ahead {
            self.rank_ahead(cx, domains, reasons);
        } else {
            for node in cx.view.nodes() {
                let standing = self.assess(cx, domains, &node, false, reasons);
                self.put(node.id(), standing);
            }
        }
        self.play();
    }

    /// Plays all matches.
    fn play(&mut self) {
        for number in 0..self.cells.len() {
            self.cells[number].tree.play();
            self.update_top(number);
        }
    }

    /// Has the filters asked about all nodes, now and with every change from now on.
    pub(super) fn settle(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        if !std::mem::take(&mut self.ahead) {
            return;
        }
        for node in cx.view.nodes() {
            if self.nodes[node.id().index()].reason == UNCHECKED && !self.check(cx, domains, &node, reasons) {
                self.put(node.id(), Standing::OUT);
            }
        }
        self.play();
    }

    /// Asks the filters about a node.
    fn check(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        node: &NodeView<'_>,
        reasons: &mut Reasons,
    ) -> bool {
        let verdict = self.verdict(cx, domains, node, reasons);
        self.set_reason(node.id(), verdict, reasons);
        verdict == FEASIBLE
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

    /// The node on top.
    fn winner(&self, view: &View) -> Option<NodeId> {
        let winner = |cell: usize| self.cells[cell].winner(view);
        let names = |a: usize, b: usize| match (winner(a), winner(b)) {
            (Some(a), Some(b)) => view.slots().by_name(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        winner(self.top.winner(&names)?)
    }

    /// The best node.
    pub(super) fn best(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        reasons: &mut Reasons,
    ) -> Option<NodeId> {
        for _ in 0..MAX_MISSES {
            let id = self.winner(cx.view)?;
            cx.view.read_ahead(cx.pod, id);
            let unchecked = self.nodes[id.index()].reason == UNCHECKED;
            let Some(node) = cx.view.node(id).filter(|_| unchecked) else { return Some(id) };
            if self.check(cx, domains, &node, reasons) {
                return Some(id);
            }
            let (cell, leaf) = self.place(id)?;
            self.cells[cell].tree.update(leaf, Standing::OUT);
            self.update_top(cell);
        }
        self.settle(cx, domains, reasons);
        self.winner(cx.view)
    }

    /// All feasible nodes with their standing. The index is settled.
    pub(super) fn feasible(&self) -> impl Iterator<Item = (NodeId, Standing)> {
        self.nodes.iter().enumerate().filter(|(_, state)| state.reason == FEASIBLE).filter_map(|(i, _)| {
            let id = NodeId::from_number(u32::try_from(i).ok()?);
            let (cell, leaf) = self.place(id)?;
            let cell = &self.cells[cell];
            Some((id, cell.tree.standing(leaf).plus(cell.verdict.ok()?)))
        })
    }

    /// How many nodes were rejected by the rules of their cell, by reason. The index is settled.
    pub(super) fn rejected_cells(&self) -> Vec<(u16, usize)> {
        self.cells.iter().filter_map(|cell| Some((cell.verdict.err()?, cell.feasible))).collect()
    }
}

/// The reason against a node that lasts as long as the node object, or [`FEASIBLE`].
fn fixed(cx: Context<'_>, node: &NodeView<'_>, reasons: &mut Reasons) -> u16 {
    let check = cx.plugins.check(Lasts::NodeObject, cx.pod, node);
    check.map_or_else(|rejected| rejected.intern(cx.plugins, reasons), |()| FEASIBLE)
}

/// The standing of a node with `rank`, without the points of its cell; out where rules about this node are against it.
#[inline]
fn stand(cx: Context<'_>, domains: &Domains, id: NodeId, rank: u32) -> Standing {
    let points = domains.judge_node(cx.view, id);
    let tie = cx.plugins.tie(cx.view.slots().hash(id));
    points.map_or(Standing::OUT, |points| Standing::new(rank.saturating_add(points), tie))
}
