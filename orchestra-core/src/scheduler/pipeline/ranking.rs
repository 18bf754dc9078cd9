//! How the nodes rank for one class of equal pods.

use smallvec::SmallVec;

use super::domains::Domains;
use super::index::{Context, Index};
use super::set::{Lasts, PluginSet};
use super::tree::Standing;
use crate::scheduler::explain::Reasons;
use crate::scheduler::preemption::Clearings;
use crate::scheduler::view::log;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::{Explanation, NodeView, PodInfo, Room, View};

/// The ranking of the nodes for one class of pods.
///
/// The standing of every node is kept in an [`Index`], which follows the view's log of changes.
#[derive(Debug)]
pub(super) struct Ranking {
    /// A pod of the class.
    pod: PodInfo,
    domains: Domains,
    reasons: Reasons,
    index: Option<Index>,
    versions: u64,
    /// How far the view's log has been followed.
    position: u64,
    /// Why no node can take such a pod, while nothing changes.
    no: Option<Explanation>,
    /// Whether the last answer was that no node can.
    found_none: bool,
    /// The versions of the view at which nobody could leave for such a pod.
    no_room: Option<(u64, u64)>,
    /// What it would cost to clear a node for such a pod.
    clearings: Clearings,
    pub(super) last_used: u64,
}

impl Ranking {
    pub(super) fn new(plugins: &PluginSet, view: &mut View, pod: &PodInfo) -> Self {
        let mut reasons = Reasons::default();
        Self {
            pod: pod.clone(),
            domains: Domains::new(&plugins.domains, view, pod, &mut reasons),
            reasons,
            index: None,
            versions: plugins.versions(pod, view),
            position: view.log().position(),
            no: None,
            found_none: false,
            no_room: None,
            clearings: Clearings::default(),
            last_used: 0,
        }
    }

    /// How many changes of the view it has not followed yet.
    pub(super) fn behind(&self, view: &View) -> u64 {
        view.log().position() - self.position
    }

    /// Whether the last pod of the class found no node: then the next one most often finds none either, which a scan finds
    /// out late.
    pub(super) fn found_none(&self) -> bool {
        self.found_none
    }

    /// Follows the view.
    pub(super) fn catch_up(&mut self, plugins: &PluginSet, view: &mut View) {
        let position = view.log().position();
        let versions = plugins.versions(&self.pod, view);
        if position == self.position && versions == self.versions {
            return;
        }
        self.no = None;
        let followed = versions == self.versions && self.follow(plugins, view);
        if !followed {
            let (last_used, found_none) = (self.last_used, self.found_none);
            *self = Self { last_used, found_none, ..Self::new(plugins, view, &self.pod) };
        }
        self.position = position;
    }

    /// Applies what changed. Answers whether that worked; if not, the ranking must be made anew.
    fn follow(&mut self, plugins: &PluginSet, view: &View) -> bool {
        let Some(changes) = view.log().since(self.position) else { return false };
        // Looking at every node anew is cheaper than following that many changes.
        if changes.len() > view.len().max(64) && self.domains.is_empty() {
            return false;
        }
        let mut touched: SmallVec<[(NodeId, bool); 4]> = SmallVec::new();
        for change in changes {
            match change {
                log::Entry::Namespace => return false,
                log::Entry::Room(_) => {}
                log::Entry::Node(id, diff) => {
                    if diff.intersects(log::NodeDiff::TOPOLOGY) && !self.domains.is_empty() {
                        return false;
                    }
                    touched.push((*id, true));
                }
                log::Entry::Pod(id, class, amount) => {
                    self.domains.count(view, self.pod.class(), *id, class, i64::from(*amount));
                    if touched.last().is_none_or(|(last, _)| last != id) {
                        touched.push((*id, false));
                    }
                }
            }
        }
        if self.domains.dirty.rules || self.domains.is_renumbered(view) {
            return false;
        }
        let dirty = std::mem::take(&mut self.domains.dirty);
        let Some(index) = &mut self.index else { return true };
        let cx = Context { plugins, view, pod: &self.pod };
        for (id, object) in touched {
            if index.update(cx, &self.domains, id, object, &mut self.reasons) {
                return false;
            }
        }
        if dirty.nodes {
            index.update_all(cx, &self.domains, &mut self.reasons);
        }
        if dirty.cells {
            index.cells_mut().judge_all(view, &self.domains);
        } else if !dirty.domains.is_empty() {
            let keys = self.domains.coarse_keys();
            for (key, domain) in dirty.domains {
                if let Some(key) = keys.iter().position(|k| *k == key) {
                    index.cells_mut().judge_domain(view, &self.domains, key, domain);
                }
            }
        }
        true
    }

    /// The index with all nodes checked.
    fn settled(&mut self, plugins: &PluginSet, view: &View) -> &Index {
        let cx = Context { plugins, view, pod: &self.pod };
        let index = self.index.get_or_insert_with(|| Index::new(cx, &self.domains, &mut self.reasons));
        index.settle(cx, &self.domains, &mut self.reasons);
        index
    }

    /// Why the nodes can't take such a pod.
    fn explain(&mut self, plugins: &PluginSet, view: &View) -> Explanation {
        let more = self.settled(plugins, view).rejected_cells();
        self.reasons.explain(view.len(), &more)
    }

    /// The best node for `pod`, or why there is none.
    pub(super) fn best(
        &mut self,
        plugins: &PluginSet,
        view: &View,
        pod: &PodInfo,
    ) -> Result<NodeId, Explanation> {
        let best = self.find_best(plugins, view, pod);
        self.found_none = best.is_err();
        best
    }

    fn find_best(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Result<NodeId, Explanation> {
        if plugins.any_volatile() {
            return self.best_volatile(plugins, view, pod);
        }
        if let Some(no) = &self.no {
            return Err(no.clone());
        }
        let cx = Context { plugins, view, pod: &self.pod };
        let index = self.index.get_or_insert_with(|| Index::new(cx, &self.domains, &mut self.reasons));
        if let Some(best) = index.best(cx, &self.domains, &mut self.reasons) {
            return Ok(best);
        }
        let no = self.explain(plugins, view);
        Err(self.no.insert(no).clone())
    }

    fn judge(&mut self, plugins: &PluginSet, view: &View, node: &NodeView<'_>) -> Result<u32, u16> {
        let mut rank = 0_u32;
        for lasts in [Lasts::NodeObject, Lasts::NodeAndPods] {
            let check = plugins.check(lasts, &self.pod, node);
            check.map_err(|rejected| rejected.intern(plugins, &mut self.reasons))?;
        }
        rank = rank.saturating_add(self.domains.judge_node(view, node.id())?);
        rank = rank.saturating_add(self.domains.judge_cell(view, node.id())?);
        for lasts in [Lasts::NodeObject, Lasts::NodeAndPods] {
            rank = rank.saturating_add(plugins.score(lasts, &self.pod, node));
        }
        Ok(rank)
    }

    /// The same with plugins that must be asked for every pod.
    fn best_volatile(
        &mut self,
        plugins: &PluginSet,
        view: &View,
        pod: &PodInfo,
    ) -> Result<NodeId, Explanation> {
        let index = self.settled(plugins, view);
        let (mut more, feasible) = (index.rejected_cells(), index.feasible().collect::<Vec<_>>());
        let mut best: Option<(Standing, NodeId)> = None;
        for (id, standing) in feasible {
            let Some(node) = view.node(id) else { continue };
            match plugins.check(Lasts::No, pod, &node) {
                Ok(()) => {
                    let points = plugins.score(Lasts::No, pod, &node);
                    let standing = standing.plus(points);
                    let wins = |(best, at): (Standing, NodeId)| {
                        standing.cmp(&best).then_with(|| view.slots().by_name(at, id)).is_gt()
                    };
                    if best.is_none_or(wins) {
                        best = Some((standing, id));
                    }
                }
                Err(rejected) => add(&mut more, rejected.intern(plugins, &mut self.reasons)),
            }
        }
        best.map(|(_, id)| id).ok_or_else(|| self.reasons.explain(view.len(), &more))
    }

    /// Whether the node can take `pod`.
    pub(super) fn accepts(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo, id: NodeId) -> bool {
        let Some(node) = view.node(id) else { return false };
        self.judge(plugins, view, &node).is_ok() && plugins.check(Lasts::No, pod, &node).is_ok()
    }

    /// Where others could leave for `pod`. The ranking is up to date.
    pub(super) fn room(&mut self, plugins: &PluginSet, view: &mut View, pod: &PodInfo) -> Option<Room> {
        let (seen, volatile) =
            (|view: &View| Some((view.version(), view.room_version())), plugins.any_volatile());
        if self.no_room == seen(view) && !volatile {
            return None;
        }
        let may_help = |node: &NodeView<'_>| plugins.check(Lasts::NodeObject, pod, node).is_ok();
        let mut clearings = std::mem::take(&mut self.clearings);
        let room = clearings.cheapest(view, pod, may_help, |view, node| {
            // All else than domains is worked out from the view as it is.
            if !self.domains.is_empty() {
                self.catch_up(plugins, view);
            }
            self.accepts(plugins, view, pod, node)
        });
        self.clearings = clearings;
        if room.is_none() && !volatile {
            self.no_room = seen(view);
        }
        room
    }

    /// All nodes that can take `pod`.
    pub(super) fn feasible(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Vec<NodeId> {
        let volatile = plugins.any_volatile();
        let accepts = |id: &NodeId| {
            !volatile || view.node(*id).is_some_and(|node| plugins.check(Lasts::No, pod, &node).is_ok())
        };
        self.settled(plugins, view).feasible().map(|(id, _)| id).filter(accepts).collect()
    }

    /// Why the nodes that can't take `pod` can't.
    pub(super) fn why_not(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Explanation {
        let index = self.settled(plugins, view);
        let (mut more, feasible) = (index.rejected_cells(), index.feasible().collect::<Vec<_>>());
        for (id, _) in feasible {
            if let Some(Err(rejected)) = view.node(id).map(|node| plugins.check(Lasts::No, pod, &node)) {
                add(&mut more, rejected.intern(plugins, &mut self.reasons));
            }
        }
        self.reasons.explain(view.len(), &more)
    }
}

/// Counts one node more for `reason`.
fn add(counts: &mut Vec<(u16, usize)>, reason: u16) {
    match counts.iter_mut().find(|(r, _)| *r == reason) {
        Some((_, nodes)) => *nodes += 1,
        None => counts.push((reason, 1)),
    }
}
