//! How the nodes rank for one class of equal pods.

use super::domains::Domains;
use super::index::{Context, Index, by_name};
use super::set::{Lasts, PluginSet};
use super::tree::{Entry, Standing, better};
use crate::scheduler::explain::Reasons;
use crate::scheduler::view::log;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::{Explanation, NodeView, PodInfo, View};

/// The ranking of the nodes for one class of pods.
///
/// The first pod of a class is placed by looking at every node once. From the second on the standing of every
/// node is kept in an [`Index`], which follows the view's log of changes.
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
    /// Whether a pod of the class was asked about before.
    used: bool,
    /// Why no node can take such a pod, while nothing changes.
    no: Option<Explanation>,
    /// The versions of the view at which nobody could leave for such a pod.
    pub(super) no_room: Option<(u64, u64)>,
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
            used: false,
            no: None,
            no_room: None,
            last_used: 0,
        }
    }

    /// How many changes of the view it has not followed yet.
    pub(super) fn behind(&self, view: &View) -> u64 {
        view.log().position() - self.position
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
            let (last_used, used) = (self.last_used, self.used);
            *self = Self { last_used, used, ..Self::new(plugins, view, &self.pod) };
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
        let mut touched: Vec<(NodeId, bool)> = Vec::new();
        for change in changes {
            match change {
                log::Entry::Namespace => return false,
                log::Entry::Node(id, diff) => {
                    if diff.intersects(log::NodeDiff::TOPOLOGY) && !self.domains.is_empty() {
                        return false;
                    }
                    touched.push((*id, true));
                }
                log::Entry::Pod(id, class, amount) => {
                    self.domains.count(view, self.pod.class(), *id, class, *amount);
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
            index.judge_cells(cx, &self.domains);
        } else if !dirty.domains.is_empty() {
            let keys = self.domains.coarse_keys();
            for (key, domain) in dirty.domains {
                if let Some(key) = keys.iter().position(|k| *k == key) {
                    index.judge_domain(cx, &self.domains, key, domain);
                }
            }
        }
        true
    }

    fn ensure_index(&mut self, plugins: &PluginSet, view: &View) {
        if self.index.is_none() {
            let cx = Context { plugins, view, pod: &self.pod };
            self.index = Some(Index::new(cx, &self.domains, &mut self.reasons));
        }
    }

    /// The best node for `pod`, or why there is none.
    pub(super) fn best(
        &mut self,
        plugins: &PluginSet,
        view: &View,
        pod: &PodInfo,
    ) -> Result<NodeId, Explanation> {
        if plugins.any_volatile() {
            return self.best_volatile(plugins, view, pod);
        }
        if let Some(no) = &self.no {
            return Err(no.clone());
        }
        let best = if std::mem::replace(&mut self.used, true) {
            self.ensure_index(plugins, view);
            self.index.as_ref().and_then(Index::best)
        } else {
            self.scan(plugins, view)
        };
        best.ok_or_else(|| {
            let more = self.index.as_ref().map(Index::rejected_cells).unwrap_or_default();
            self.no.insert(self.reasons.explain(view.len(), &more)).clone()
        })
    }

    /// The best node by looking at each, without keeping anything about them.
    fn scan(&mut self, plugins: &PluginSet, view: &View) -> Option<NodeId> {
        self.reasons.clear();
        let names = by_name(view);
        let mut best: Option<Entry> = None;
        for node in view.nodes() {
            match self.judge(plugins, view, &node) {
                Ok(rank) => {
                    let tie = plugins.tie(view.slots().slot(node.id()).hash);
                    let entry = Entry { standing: Standing::new(rank, tie), node: node.id().number() };
                    best = Some(best.map_or(entry, |best| better(best, entry, &names)));
                }
                Err(reason) => self.reasons.count(reason),
            }
        }
        best.map(|entry| NodeId::from_number(entry.node))
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
        self.ensure_index(plugins, view);
        let Some(index) = &self.index else { return Err(Explanation::default()) };
        let names = by_name(view);
        let (mut best, mut more) = (None, index.rejected_cells());
        for (id, standing) in index.feasible() {
            let Some(node) = view.node(id) else { continue };
            match plugins.check(Lasts::No, pod, &node) {
                Ok(()) => {
                    let points = plugins.score(Lasts::No, pod, &node);
                    let entry = Entry { standing: standing.plus(points), node: id.number() };
                    best = Some(best.map_or(entry, |best| better(best, entry, &names)));
                }
                Err(rejected) => add(&mut more, rejected.intern(plugins, &mut self.reasons)),
            }
        }
        best.map(|entry| NodeId::from_number(entry.node))
            .ok_or_else(|| self.reasons.explain(view.len(), &more))
    }

    /// Whether the node can take `pod`.
    pub(super) fn accepts(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo, id: NodeId) -> bool {
        let Some(node) = view.node(id) else { return false };
        self.judge(plugins, view, &node).is_ok() && plugins.check(Lasts::No, pod, &node).is_ok()
    }

    /// All nodes that can take `pod`.
    pub(super) fn feasible(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Vec<NodeId> {
        self.ensure_index(plugins, view);
        let volatile = plugins.any_volatile();
        let accepts = |id: &NodeId| {
            !volatile || view.node(*id).is_some_and(|node| plugins.check(Lasts::No, pod, &node).is_ok())
        };
        let feasible = self.index.iter().flat_map(Index::feasible).map(|(id, _)| id);
        feasible.filter(accepts).collect()
    }

    /// Why the nodes that can't take `pod` can't.
    pub(super) fn why_not(&mut self, plugins: &PluginSet, view: &View, pod: &PodInfo) -> Explanation {
        self.ensure_index(plugins, view);
        let Some(index) = &self.index else { return Explanation::default() };
        let mut more = index.rejected_cells();
        for (id, _) in index.feasible() {
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
