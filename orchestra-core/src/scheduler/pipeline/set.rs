//! The plugins of a pipeline, sorted by what they read.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::scheduler::explain::Reasons;
use crate::scheduler::plugins::{Allocation, NodeAffinityFilter, has_no_versions};
use crate::scheduler::view::slots::scatter;
use crate::scheduler::{Filter, NodeView, PodInfo, Reads, Score, Verdict, View};

/// The highest weight a score can have. With the 100 points of each score the ranks of more than 160 scores of
/// this weight add up without reaching the end of 32 bits, where ranks saturate.
pub const MAX_WEIGHT: u8 = u8::MAX;

/// How long an answer for a node stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// While the node object is the same.
    NodeObject,
    /// While the node and its pods are the same.
    NodeAndPods,
    /// Never: asked for every pod.
    No,
}

impl Lasts {
    fn of(reads: Reads) -> Self {
        if Reads::NODE.union(Reads::VOLUMES).contains(reads) {
            Self::NodeObject
        } else if reads.is_cacheable() {
            Self::NodeAndPods
        } else {
            Self::No
        }
    }
}

/// A plugin with its name and what it reads.
pub(super) struct Named<P: ?Sized> {
    pub(super) name: Arc<str>,
    pub(super) plugin: Box<P>,
    pub(super) reads: Reads,
    pub(super) lasts: Lasts,
    pub(super) weight: u8,
    /// What the score likes, where it is one of usage alone.
    pub(super) allocation: Option<Allocation>,
    /// Whether the plugin has versions, as far as is known.
    versioned: bool,
    /// The plugin's type, unless it was told to read something else than it does.
    pub(super) kind: Option<TypeId>,
}

impl<P: ?Sized> Named<P> {
    pub(super) fn new(name: &str, plugin: Box<P>, reads: Reads, weight: u8, kind: TypeId) -> Self {
        let (name, lasts) = (Arc::from(name), Lasts::of(reads));
        let (allocation, versioned) = (Allocation::of(kind), !has_no_versions(kind));
        Self { name, plugin, reads, lasts, weight, allocation, versioned, kind: Some(kind) }
    }

    pub(super) fn set_reads(&mut self, reads: Reads) {
        (self.reads, self.lasts) = (reads, Lasts::of(reads));
        (self.allocation, self.kind) = (None, None);
    }
}

/// How pods are kept beside, apart from and evenly among others.
#[derive(Clone, Debug)]
pub(super) struct DomainOptions {
    /// Whether pod affinity and anti-affinity must hold.
    pub(super) affinity: bool,
    /// Whether spread constraints must hold.
    pub(super) spread: bool,
    /// How much preferred affinity weighs; 0 for not at all.
    pub(super) affinity_weight: u8,
    /// How much soft spread constraints weigh; 0 for not at all.
    pub(super) spread_weight: u8,
    /// Soft constraints, key and maximum skew, for pods that have a controller and no constraint of their own.
    pub(super) default_spread: Vec<(String, u32)>,
}

/// Why a node was rejected: the filter's place in the set, and what it said.
pub(super) struct Rejected {
    pub(super) filter: usize,
    pub(super) text: Cow<'static, str>,
}

impl Rejected {
    /// The number of the reason.
    pub(super) fn intern(self, plugins: &PluginSet, reasons: &mut Reasons) -> u16 {
        let filter = &plugins.filters[self.filter];
        reasons.intern(&filter.name, self.text, filter.reads.helped_by())
    }
}

/// All plugins of a pipeline.
pub(super) struct PluginSet {
    pub(super) filters: Vec<Named<dyn Filter>>,
    pub(super) scores: Vec<Named<dyn Score>>,
    pub(super) domains: DomainOptions,
    pub(super) seed: u64,
}

impl PluginSet {
    /// Whether some plugin must be asked for every pod.
    pub(super) fn any_volatile(&self) -> bool {
        self.filters.iter().any(|f| f.lasts == Lasts::No)
            || self.scores.iter().any(|s| s.weight > 0 && s.lasts == Lasts::No)
    }

    /// A number that changes with the version of any plugin whose answers are kept.
    pub(super) fn versions(&self, pod: &PodInfo, view: &View) -> u64 {
        let filters = self.filters.iter().filter(|f| f.versioned && f.lasts != Lasts::No);
        let filters = filters.map(|f| f.plugin.version(pod, view));
        let scores = self.scores.iter().filter(|s| s.versioned && s.weight > 0 && s.lasts != Lasts::No);
        let scores = scores.map(|s| s.plugin.version(pod, view));
        filters.chain(scores).enumerate().fold(0, |all, (i, version)| {
            if version == 0 { all } else { scatter(all ^ scatter(version ^ ((i as u64) << 56))) }
        })
    }

    /// Asks the filters whose answers last as long as `lasts`.
    pub(super) fn check(&self, lasts: Lasts, pod: &PodInfo, node: &NodeView<'_>) -> Result<(), Rejected> {
        for (filter, named) in self.filters.iter().enumerate() {
            if named.lasts == lasts
                && let Verdict::Reject(text) = named.plugin.check(pod, node)
            {
                return Err(Rejected { filter, text });
            }
        }
        Ok(())
    }

    /// The weighted points of the scores whose answers last as long as `lasts`, in thousandths.
    pub(super) fn score(&self, lasts: Lasts, pod: &PodInfo, node: &NodeView<'_>) -> u32 {
        let scores = self.scores.iter().filter(|s| s.weight > 0 && s.lasts == lasts);
        scores.fold(0, |sum: u32, s| {
            sum.saturating_add(s.plugin.score(pod, node).as_millis().saturating_mul(s.weight.into()))
        })
    }

    /// The scores of usage, with their weights.
    pub(super) fn allocations(&self) -> impl Iterator<Item = (Allocation, u8)> {
        self.scores.iter().filter_map(|score| Some((score.allocation?, score.weight)))
    }

    /// Whether pods are kept to the nodes that their node affinity asks for.
    pub(super) fn minds_affinity(&self) -> bool {
        self.filters.iter().any(|filter| filter.kind == Some(TypeId::of::<NodeAffinityFilter>()))
    }

    /// The number by which the node with this name hash wins ties.
    pub(super) fn tie(&self, hash: u64) -> u32 {
        (scatter(self.seed ^ hash) >> 32) as u32
    }
}

impl fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSet")
            .field("filters", &self.filters.iter().map(|p| &p.name).collect::<Vec<_>>())
            .field("scores", &self.scores.iter().map(|p| (&p.name, p.weight)).collect::<Vec<_>>())
            .field("domains", &self.domains)
            .field("seed", &self.seed)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::scheduler::view::slots::{name_hash, scatter};

    #[test]
    fn ties_are_the_same_on_every_machine() {
        // The published test vectors of FNV-1a, and of SplitMix64 from seed 0.
        assert_eq!(name_hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(scatter(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }
}
