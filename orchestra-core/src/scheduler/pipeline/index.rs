//! The standing of every node for one class of pods, kept while single nodes change.
//!
//! Where the scores allow it nodes are ranked [ahead](super::ahead) of the filters, and these are asked about a node once it
//! is on top: most nodes never are. Once somebody asks for the verdict on every node, or the filters are against many nodes
//! in a row, all nodes are checked, and from then on with every change.

use super::ahead::{self, NodePoints};
use super::cells::Cells;
use super::domains::Domains;
use super::set::{Lasts, PluginSet};
use super::tree::Standing;
use crate::scheduler::explain::Reasons;
use crate::scheduler::plugins::chooses;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::{NodeView, PodInfo, View};

/// In place of a reason: the node is feasible.
const FEASIBLE: u16 = u16::MAX;
/// In place of a reason: there is no node.
const ABSENT: u16 = u16::MAX - 1;
/// In place of a reason: nobody has looked yet.
const UNCHECKED: u16 = u16::MAX - 2;

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

/// What an index is made with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) plugins: &'a PluginSet,
    pub(super) view: &'a View,
    pub(super) pod: &'a PodInfo,
}

/// All nodes, ranked.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<NodeState>,
    points: NodePoints,
    /// Whether nodes are ranked ahead of the filters.
    ahead: bool,
    cells: Cells,
}

impl Index {
    pub(super) fn new(cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) -> Self {
        reasons.clear();
        let mut index = Self {
            nodes: vec![UNKNOWN; cx.view.slots().len()],
            points: NodePoints::default(),
            ahead: ahead::is_possible(cx.plugins),
            cells: Cells::new(cx.view, &domains.coarse_keys()),
        };
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
                index.cells.put(node.id(), standing);
            }
        }
        index.cells.play();
        index.cells.judge_all(cx.view, domains);
        index
    }

    pub(super) fn cells_mut(&mut self) -> &mut Cells {
        &mut self.cells
    }

    /// Sets the standing of every node ahead of the filters, without playing.
    fn rank_ahead(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        let points = std::mem::take(&mut self.points);
        ahead::each_rank(cx, &points, |id, rank| {
            if cx.view.facts(id).present {
                let reason = self.reason_ahead(id);
                self.set_reason(id, reason, reasons);
                self.cells.put(id, stand(cx, domains, id, reason, || rank));
            }
        });
        self.points = points;
    }

    /// The reason against a node as far as it was looked at, or [`UNCHECKED`].
    #[inline]
    fn reason_ahead(&self, id: NodeId) -> u16 {
        match self.nodes[id.index()].fixed {
            FEASIBLE | UNCHECKED => UNCHECKED,
            against => against,
        }
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
        let reason =
            if self.ahead { self.reason_ahead(id) } else { self.verdict(cx, domains, node, reasons) };
        self.set_reason(id, reason, reasons);
        if object && [FEASIBLE, UNCHECKED].contains(&self.nodes[id.index()].fixed) {
            self.points.set(id, cx.plugins.score(Lasts::NodeObject, cx.pod, node));
        }
        let points = self.points.of(id);
        stand(cx, domains, id, reason, || {
            points.saturating_add(cx.plugins.score(Lasts::NodeAndPods, cx.pod, node))
        })
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
        match old {
            FEASIBLE => self.cells.set_feasible(id, false),
            ABSENT | UNCHECKED => {}
            reason => reasons.uncount(reason),
        }
        match reason {
            FEASIBLE => self.cells.set_feasible(id, true),
            ABSENT | UNCHECKED => {}
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
        let node = cx.view.node(id);
        // Only without cells is there any: with them, a node that comes makes the rules new.
        if !self.cells.have_room_for(id) {
            return node.is_some();
        }
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
        self.cells.update(id, standing);
        false
    }

    /// Looks at every node's changing part again.
    pub(super) fn update_all(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        if self.ahead {
            self.rank_ahead(cx, domains, reasons);
        } else {
            for node in cx.view.nodes() {
                let standing = self.assess(cx, domains, &node, false, reasons);
                self.cells.put(node.id(), standing);
            }
        }
        self.cells.play();
    }

    /// Has the filters asked about all nodes, now and with every change from now on.
    pub(super) fn settle(&mut self, cx: Context<'_>, domains: &Domains, reasons: &mut Reasons) {
        if !std::mem::take(&mut self.ahead) {
            return;
        }
        for node in cx.view.nodes() {
            let unchecked = self.nodes[node.id().index()].reason == UNCHECKED;
            if unchecked && !self.check(cx, domains, &node, reasons) {
                self.cells.put(node.id(), Standing::OUT);
            }
        }
        self.cells.play();
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

    /// The best node.
    pub(super) fn best(
        &mut self,
        cx: Context<'_>,
        domains: &Domains,
        reasons: &mut Reasons,
    ) -> Option<NodeId> {
        for _ in 0..MAX_MISSES {
            let id = self.cells.winner(cx.view)?;
            cx.view.read_ahead(cx.pod, id);
            let unchecked = self.nodes[id.index()].reason == UNCHECKED;
            let Some(node) = cx.view.node(id).filter(|_| unchecked) else { return Some(id) };
            if self.check(cx, domains, &node, reasons) {
                return Some(id);
            }
            self.cells.update(id, Standing::OUT);
        }
        self.settle(cx, domains, reasons);
        self.cells.winner(cx.view)
    }

    /// All feasible nodes with their standing. The index is settled.
    pub(super) fn feasible(&self) -> impl Iterator<Item = (NodeId, Standing)> {
        let feasible = self.nodes.iter().enumerate().filter(|(_, state)| state.reason == FEASIBLE);
        let ids = feasible.map(|(i, _)| NodeId::from_index(i));
        ids.filter_map(|id| Some((id, self.cells.standing(id)?)))
    }

    /// How many nodes were rejected by the rules of their cell, by reason. The index is settled.
    pub(super) fn rejected_cells(&self) -> Vec<(u16, usize)> {
        self.cells.rejected()
    }
}

/// The reason against a node that lasts as long as the node object, or [`FEASIBLE`].
fn fixed(cx: Context<'_>, node: &NodeView<'_>, reasons: &mut Reasons) -> u16 {
    let check = cx.plugins.check(Lasts::NodeObject, cx.pod, node);
    check.map_or_else(|rejected| rejected.intern(cx.plugins, reasons), |()| FEASIBLE)
}

/// The standing of a node without the points of its cell; out where the reason or rules about this node are against it.
#[inline]
fn stand(
    cx: Context<'_>,
    domains: &Domains,
    id: NodeId,
    reason: u16,
    rank: impl FnOnce() -> u32,
) -> Standing {
    if ![FEASIBLE, UNCHECKED].contains(&reason) {
        return Standing::OUT;
    }
    let points = domains.judge_node(cx.view, id);
    let tie = cx.plugins.tie(cx.view.slots().hash(id));
    points.map_or(Standing::OUT, |points| Standing::new(rank().saturating_add(points), tie))
}
