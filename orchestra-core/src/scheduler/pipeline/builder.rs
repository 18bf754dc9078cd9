//! Putting a pipeline together.

use std::any::TypeId;

use super::set::{DomainOptions, Named, PluginSet};
use super::{Evaluation, Pipeline};
use crate::model::{HOSTNAME, ZONE};
use crate::scheduler::plugin::Closure;
use crate::scheduler::plugins::{
    BalancedAllocation, BestFit, Fragmentation, HostPorts, ImageLocality, LeastAllocated, NodeAffinityFilter,
    NodeAffinityScore, ResourceFit, TaintFilter, TaintScore, Unschedulable, VolumeBinding,
};
use crate::scheduler::{Filter, NodeView, PodInfo, Points, Reads, Score, Verdict};

/// The soft constraints of Kubernetes' default scheduler for pods that say nothing: key and maximum skew.
const DEFAULT_SPREAD: [(&str, u32); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// How much fragments weigh against the best fit. Enough that only near ties are decided by it; of what was tried on public
/// traces from 1 to 1,000, values about this one allocate most.
const FRAGMENTATION: u8 = 55;

/// Builds a [`Pipeline`]. Filters are asked in the order in which they were added, those that read only the node
/// object first; what counts in an explanation is the first that says no.
#[derive(Debug)]
pub struct PipelineBuilder {
    set: PluginSet,
    /// Whether the plugin added last was a score.
    last_was_score: bool,
    preempts: bool,
    by: Evaluation,
}

impl PipelineBuilder {
    /// No filters and no scores: every node is as good as any other. Even so a pod is never given to a node
    /// that has no room for it.
    #[must_use]
    pub fn empty() -> Self {
        let domains = DomainOptions {
            affinity: false,
            spread: false,
            affinity_weight: 0,
            spread_weight: 0,
            default_spread: Vec::new(),
        };
        let set = PluginSet { filters: Vec::new(), scores: Vec::new(), domains, seed: 0 };
        Self { set, last_was_score: false, preempts: false, by: Evaluation::Cheapest }
            .with_filter("NodeResourcesFit", ResourceFit)
            .with_filter("NodePorts", HostPorts)
    }

    /// The hard constraints of Kubernetes' default scheduler, and no scores.
    pub(super) fn constraints() -> Self {
        let mut builder = Self::empty()
            .with_filter("NodeUnschedulable", Unschedulable)
            .with_filter("TaintToleration", TaintFilter)
            .with_filter("NodeAffinity", NodeAffinityFilter)
            .with_filter("VolumeBinding", VolumeBinding);
        (builder.set.domains.affinity, builder.set.domains.spread) = (true, true);
        builder
    }

    /// The filters of Kubernetes' default scheduler, and its scores with their weights.
    #[must_use]
    pub fn kubernetes() -> Self {
        Self::constraints()
            .preemption(true)
            .with_score("TaintToleration", 3, TaintScore)
            .with_score("NodeAffinity", 2, NodeAffinityScore)
            .with_score("NodeResourcesFit", 1, LeastAllocated)
            .with_score("NodeResourcesBalancedAllocation", 1, BalancedAllocation)
            .with_score("ImageLocality", 1, ImageLocality)
            .inter_pod_affinity(2)
            .topology_spread(2)
            .default_spread(DEFAULT_SPREAD)
    }

    /// Kubernetes' rules with `score` and [`BestFit`] in place of its scores of usage. All other preferences keep their
    /// proportions to those: what pods wish by affinity, tolerations and spread constraints outweighs fragments. Pods of a
    /// controller are not spread unless they say so.
    #[must_use]
    pub fn fragmentation(score: Fragmentation) -> Self {
        Self::constraints()
            .preemption(true)
            .with_score("TaintToleration", 3 * FRAGMENTATION, TaintScore)
            .with_score("NodeAffinity", 2 * FRAGMENTATION, NodeAffinityScore)
            .with_score("Fragmentation", FRAGMENTATION, score)
            .with_score("BestFit", 1, BestFit)
            .with_score("ImageLocality", FRAGMENTATION, ImageLocality)
            .inter_pod_affinity(2 * FRAGMENTATION)
            .topology_spread(2 * FRAGMENTATION)
    }

    /// Adds a rule: `check` answers whether a pod may go to a node, as a `bool` or a [`Verdict`]. Say with
    /// [`reads`](Self::reads) what it looks at.
    #[must_use]
    pub fn filter<V: Into<Verdict> + 'static>(
        self,
        name: &str,
        check: impl Fn(&PodInfo, &NodeView<'_>) -> V + Send + Sync + 'static,
    ) -> Self {
        self.with_filter(name, Closure::new(check))
    }

    /// Adds a preference: `score` answers how good a node is for a pod, as [`Points`] or as a number from 0 to
    /// 100. Say with [`reads`](Self::reads) what it looks at.
    #[must_use]
    pub fn score<P: Into<Points> + 'static>(
        self,
        name: &str,
        weight: u8,
        score: impl Fn(&PodInfo, &NodeView<'_>) -> P + Send + Sync + 'static,
    ) -> Self {
        self.with_score(name, weight, Closure::new(score))
    }

    /// Declares what the plugin added last looks at beside the pod's template, so that its answers can be kept.
    #[must_use]
    pub fn reads(mut self, reads: Reads) -> Self {
        match (self.last_was_score, self.set.scores.last_mut(), self.set.filters.last_mut()) {
            (true, Some(score), _) => score.set_reads(reads),
            (false, _, Some(filter)) => filter.set_reads(reads),
            _ => {}
        }
        self
    }

    /// Adds a filter, or replaces the one of this name.
    #[must_use]
    pub fn with_filter<F: Filter>(mut self, name: &str, filter: F) -> Self {
        self.set.filters.retain(|f| &*f.name != name);
        let reads = filter.reads();
        self.set.filters.push(Named::new(name, Box::new(filter), reads, 0, TypeId::of::<F>()));
        self.last_was_score = false;
        self
    }

    /// Adds a score, or replaces the one of this name.
    #[must_use]
    pub fn with_score<S: Score>(mut self, name: &str, weight: u8, score: S) -> Self {
        self.set.scores.retain(|s| &*s.name != name);
        let reads = score.reads();
        self.set.scores.push(Named::new(name, Box::new(score), reads, weight, TypeId::of::<S>()));
        self.last_was_score = true;
        self
    }

    /// Takes out the score of this name.
    #[must_use]
    pub fn without_score(mut self, name: &str) -> Self {
        self.set.scores.retain(|s| &*s.name != name);
        self
    }

    /// How much preferred pod affinity and anti-affinity weigh; 0 for not at all.
    #[must_use]
    pub fn inter_pod_affinity(mut self, weight: u8) -> Self {
        self.set.domains.affinity_weight = weight;
        self
    }

    /// How much soft spread constraints weigh; 0 for not at all.
    #[must_use]
    pub fn topology_spread(mut self, weight: u8) -> Self {
        self.set.domains.spread_weight = weight;
        self
    }

    /// Soft spread constraints, topology key and maximum skew, for pods that have a controller and no constraint
    /// of their own. They spread over the pods of the same controller.
    #[must_use]
    pub fn default_spread<K: Into<String>>(
        mut self,
        constraints: impl IntoIterator<Item = (K, u32)>,
    ) -> Self {
        self.set.domains.default_spread = constraints.into_iter().map(|(k, skew)| (k.into(), skew)).collect();
        self
    }

    /// Whether pods of lower priority leave for those that no node can take.
    #[must_use]
    pub fn preemption(mut self, preempts: bool) -> Self {
        self.preempts = preempts;
        self
    }

    /// How nodes are compared. The placements are the same each way: this is for tests and measurements.
    #[must_use]
    pub fn evaluation(mut self, by: Evaluation) -> Self {
        self.by = by;
        self
    }

    /// What ties are broken by; see [`Pipeline`]. 0 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.set.seed = seed;
        self
    }

    /// The scheduler.
    #[must_use]
    pub fn build(self) -> Pipeline {
        Pipeline::new(self.set, self.preempts, self.by)
    }
}
