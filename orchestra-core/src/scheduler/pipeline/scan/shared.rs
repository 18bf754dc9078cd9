//! What follows from the node objects alone, worked out once for all pods that the plugins call the same.

use super::layout::Layout;
use crate::scheduler::pipeline::kernel::{Column, OUT};
use crate::scheduler::pipeline::set::{Lasts, Named, PluginSet};
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::{Filter, PodInfo, Score, View};

/// The points of every node by what reads nothing but the node object.
#[derive(Debug)]
pub(super) struct Shared {
    /// One of the pods.
    pod: PodInfo,
    /// For each filter, whether its answers are in here.
    filters: Vec<bool>,
    versions: u64,
    pub(super) points: Column,
    pub(super) last_used: u64,
}

impl Shared {
    /// For `pod`; `None` where a score does not tell which pods it calls the same.
    pub(super) fn new(plugins: &PluginSet, view: &View, layout: &Layout, pod: &PodInfo) -> Option<Self> {
        if scores(plugins).any(|s| s.lasts != Lasts::NodeObject || !s.plugin.same(pod, pod)) {
            return None;
        }
        let shares = |f: &Named<dyn Filter>| f.lasts == Lasts::NodeObject && f.plugin.same(pod, pod);
        let filters = plugins.filters.iter().map(shares).collect();
        let versions = plugins.versions(pod, view);
        let mut shared =
            Self { pod: pod.clone(), filters, versions, points: Column::default(), last_used: 0 };
        shared.work_out(plugins, view, layout);
        Some(shared)
    }

    /// Whether the plugins call `pod` the same as these.
    pub(super) fn is_for(&self, plugins: &PluginSet, pod: &PodInfo) -> bool {
        self.filters(plugins, true).all(|filter| filter.same(&self.pod, pod))
            && scores(plugins).all(|score| score.plugin.same(&self.pod, pod))
    }

    /// Works out all points anew where what the plugins read beside the nodes has changed.
    pub(super) fn renew(&mut self, plugins: &PluginSet, view: &View, layout: &Layout) {
        let versions = plugins.versions(&self.pod, view);
        if versions != self.versions {
            self.versions = versions;
            self.work_out(plugins, view, layout);
        }
    }

    pub(super) fn work_out(&mut self, plugins: &PluginSet, view: &View, layout: &Layout) {
        self.points.clear();
        self.points.resize(layout.blocks(), OUT);
        for node in view.nodes() {
            if let Some(place) = layout.place(node.id()) {
                self.points.place(place, self.points_of(plugins, view, node.id()));
            }
        }
        self.points.settle();
    }

    /// Works out the points of one node.
    pub(super) fn update(&mut self, plugins: &PluginSet, view: &View, layout: &Layout, id: NodeId) {
        let Some(place) = layout.place(id) else { return };
        self.points.resize(layout.blocks(), OUT);
        self.points.set(place, self.points_of(plugins, view, id));
    }

    #[allow(clippy::cast_precision_loss, reason = "who scans has seen to it that ranks are below 2^24")]
    fn points_of(&self, plugins: &PluginSet, view: &View, id: NodeId) -> f32 {
        let Some(node) = view.node(id) else { return OUT };
        if !self.filters(plugins, true).all(|filter| filter.check(&self.pod, &node).is_accept()) {
            return OUT;
        }
        plugins.score(Lasts::NodeObject, &self.pod, &node) as f32
    }

    /// Whether the filters that are not in here accept the node.
    pub(super) fn accepts_rest(&self, plugins: &PluginSet, view: &View, pod: &PodInfo, id: NodeId) -> bool {
        let Some(node) = view.node(id) else { return false };
        self.filters(plugins, false).all(|filter| filter.check(pod, &node).is_accept())
    }

    /// The filters whose answers are in here, or those whose are not.
    fn filters<'p>(&self, plugins: &'p PluginSet, shared: bool) -> impl Iterator<Item = &'p dyn Filter> {
        let all = plugins.filters.iter().zip(&self.filters);
        all.filter(move |(_, is_in)| **is_in == shared).map(|(filter, _)| &*filter.plugin)
    }
}

/// The scores that count, but for those of usage: the columns have these.
fn scores(plugins: &PluginSet) -> impl Iterator<Item = &Named<dyn Score>> {
    plugins.scores.iter().filter(|s| s.weight > 0 && s.allocation.is_none())
}
