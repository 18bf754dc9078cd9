//! The ranks of all nodes at once, before any filter has looked at them.
//!
//! How full a node would be is arithmetic over columns, and what scores say of the node object is the same for all nodes
//! that nothing sets apart. So a ranking is begun without asking anybody about each node, and the filters are asked
//! about those nodes alone that come out on top.

use super::index::Context;
use super::kernel::{Amounts, BLOCK, OUT};
use super::scan::{MAX_WEIGHTS, wish};
use super::set::{Lasts, PluginSet};
use crate::scheduler::plugins::{has_images_somewhere, prefers_nodes, reads_nodes_alone};
use crate::scheduler::view::columns::Facts;
use crate::scheduler::view::slots::NodeId;

/// Whether nodes can be ranked before the filters are asked: a score that an application brings is promised to see only
/// nodes that passed.
pub(super) fn is_possible(plugins: &PluginSet) -> bool {
    let mut scores = plugins.scores.iter().filter(|score| score.weight > 0);
    let weights: u32 = plugins.allocations().map(|(_, weight)| u32::from(weight)).sum();
    scores.all(|score| score.allocation.is_some() || score.kind.is_some_and(reads_nodes_alone))
        && weights <= MAX_WEIGHTS
}

/// The points of each node by the scores that read nothing but the node object.
#[derive(Debug, Default)]
pub(super) struct NodePoints {
    /// Of a node that is not in the list.
    common: u32,
    each: Vec<u32>,
}

impl NodePoints {
    /// Those of all nodes.
    pub(super) fn of_all(cx: Context<'_>) -> Self {
        let (prefers, by_image) = (prefers_nodes(cx.pod), has_images_somewhere(cx.pod, cx.view));
        let alike = |facts: Facts| !(prefers || facts.tainted || (by_image && facts.images));
        let score = |id: NodeId| {
            cx.view.node(id).map_or(0, |node| cx.plugins.score(Lasts::NodeObject, cx.pod, &node))
        };
        let plain = cx.view.ids().find(|id| alike(cx.view.facts(*id)));
        let mut points = Self { common: plain.map_or(0, score), each: Vec::new() };
        for id in cx.view.ids().filter(|id| !alike(cx.view.facts(*id))) {
            points.set(id, score(id));
        }
        points
    }

    #[inline]
    pub(super) fn of(&self, id: NodeId) -> u32 {
        self.each.get(id.index()).copied().unwrap_or(self.common)
    }

    pub(super) fn set(&mut self, id: NodeId, points: u32) {
        if self.each.len() <= id.index() {
            if points == self.common {
                return;
            }
            self.each.resize((id.index() + 1).next_power_of_two(), self.common);
        }
        self.each[id.index()] = points;
    }
}

/// Tells `put` the points of every node by its number, but for those of rules about domains. Of numbers without a node too.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are whole numbers from 0 to 2^24"
)]
pub(super) fn each_rank(cx: Context<'_>, points: &NodePoints, mut put: impl FnMut(NodeId, u32)) {
    let wish = wish(cx.plugins, cx.pod);
    let (mut amounts, mut ranks) = (Amounts::default(), [OUT; BLOCK]);
    let mut rows = cx.view.amounts();
    let nodes = cx.view.slots().len();
    for first in (0..nodes).step_by(BLOCK) {
        for (lane, (allocatable, weight)) in rows.by_ref().take(BLOCK).enumerate() {
            amounts.allocatable[0][lane] = allocatable[0] as f32;
            amounts.allocatable[1][lane] = allocatable[1] as f32;
            amounts.used[0][lane] = weight.cpu as f32;
            amounts.used[1][lane] = weight.memory as f32;
        }
        amounts.ranks(wish, &mut ranks);
        for (number, rank) in (first..nodes).zip(ranks) {
            let id = NodeId::from_index(number);
            put(id, points.of(id).saturating_add(rank as u32));
        }
    }
}
