//! The default scheduler: filters say where a pod may go, scores say where it goes best.

mod ahead;
mod builder;
mod cells;
mod diagnose;
mod domains;
mod index;
mod kernel;
mod ranking;
mod scan;
mod set;
mod tree;

use std::fmt;
use std::sync::Arc;

pub use builder::PipelineBuilder;
use domains::is_concerned;
use ranking::Ranking;
use scan::Scan;
pub use set::MAX_WEIGHT;
use set::{Lasts, PluginSet};
use tree::Standing;

use super::plugins::Fragmentation;
use super::preemption::may_preempt;
use super::unit::{Gang, Unit};
use super::view::residents::NumberMap;
use super::{Batch, Change, Explanation, NodeId, NodeReport, NodeView, PodInfo, Room, Scheduler, View};

/// How many nodes all kept rankings together may speak of: about 16 bytes each, so 100 MB at most. Beyond it the
/// rankings that were not used for longest are dropped, and made again when they are needed.
const MAX_RANKED_NODES: usize = 6_000_000;
/// How many rankings are kept at least and at most, whatever the number of nodes.
const RANKINGS: std::ops::RangeInclusive<usize> = 8..=1024;

/// So many classes have a ranking from their first pod on: a cluster with few kinds of pods needs no columns.
const FEW_CLASSES: usize = 4;
/// So many pods of a class are placed by a scan of all nodes before a ranking is kept for it: making one costs as much.
const SCANS: u32 = 32;
/// How many nodes are scanned in the time in which one change is followed.
const NODES_PER_CHANGE: usize = 400;
/// How many classes are remembered that have no ranking yet.
const MAX_SIGHTINGS: usize = 4096;

/// How a [`Pipeline`] compares nodes. The placements are the same each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evaluation {
    /// Whichever costs less for the pod at hand.
    #[default]
    Cheapest,
    /// A ranking is kept for every class of equal pods.
    Rankings,
    /// All nodes are scanned for every pod, where its plugins allow that.
    Scans,
}

/// Places each pod on the node that passes all filters and has the highest sum of weighted scores.
///
/// [`kubernetes`](Self::kubernetes) has the rules and preferences of Kubernetes' default scheduler;
/// [`builder`](Self::builder) adds to them or changes them. All nodes are looked at, never a sample.
///
/// **Ties** between nodes of equal rank are broken by a number that is drawn for each node from the seed and the
/// node's name: the upper half of `scatter(seed ^ hash(name))`, with FNV-1a as `hash` and the last step of
/// `SplitMix64` as `scatter`; the larger number wins, and of two equal ones the name that sorts first. So a
/// decision depends on seed, nodes and pods alone, not on the order in which the view learned of them.
///
/// **Preemption.** Where no node can take a pod, pods of lower priority are made to leave the node where that costs
/// least, in Kubernetes' order: the lowest highest priority among them, then the smallest sum of priorities, then the
/// fewest, then the youngest; nobody whose disruption budget can't bear it, and nobody who could stay. The pod waits
/// for their end. A gang has others leave for all that it needs or for none of it, and waits together.
/// [`PipelineBuilder::preemption`] turns it off.
///
/// **Speed.** For each class of equal pods the pipeline keeps a ranking of the nodes; a change of one node or pod
/// costs a new look at one node, and the next equal pod is placed by looking at the top. Scores are absolute, so
/// that no change moves more than it touches. Where all scores are of this crate, filters are asked about a node once it is
/// the best, and about all nodes once a pod finds none. For pods of which few are equal, all nodes are scanned, a column at a time:
/// that takes pods without rules about other pods, and scores that are those of usage here or say which pods are the
/// [`same`](super::Score::same) to them.
///
/// ```
/// use orchestra_core::scheduler::{Pipeline, Reads};
///
/// let scheduler = Pipeline::builder()
///     .filter("quiet", |pod, node| pod.priority() > 0 || node.label("tier") != Some("fast"))
///     .score("price", 20, |_pod, node| 100.0 - node.label("price").and_then(|p| p.parse().ok()).unwrap_or(100.0))
///     .reads(Reads::NODE)
///     .build();
/// ```
pub struct Pipeline {
    plugins: PluginSet,
    preempts: bool,
    rankings: NumberMap<u64, Ranking>,
    /// The view that the rankings are about.
    identity: Option<Arc<()>>,
    uses: u64,
    by: Evaluation,
    scan: Scan,
    /// How many pods of a class without a ranking were placed.
    sightings: NumberMap<u64, u32>,
}

impl Pipeline {
    /// Kubernetes' default scheduler.
    #[must_use]
    pub fn kubernetes() -> Self {
        PipelineBuilder::kubernetes().build()
    }

    /// Kubernetes' rules, and nodes chosen so that what is left of GPUs, or of CPU and memory where there are none, stays of use
    /// for the pods that come most: those that the view has learnt from. See
    /// [`PipelineBuilder::fragmentation`] for typical pods given by hand.
    #[must_use]
    pub fn fragmentation() -> Self {
        PipelineBuilder::fragmentation(Fragmentation::learning()).build()
    }

    /// A builder that starts from Kubernetes' default scheduler.
    #[must_use]
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::kubernetes()
    }

    /// Only the hard constraints of Kubernetes' default scheduler.
    pub(crate) fn constraints() -> Self {
        PipelineBuilder::constraints().build()
    }

    fn new(plugins: PluginSet, preempts: bool, by: Evaluation) -> Self {
        Self {
            plugins,
            preempts,
            rankings: NumberMap::default(),
            identity: None,
            uses: 0,
            by,
            scan: Scan::default(),
            sightings: NumberMap::default(),
        }
    }

    /// How many pods were placed by scanning all nodes.
    #[must_use]
    pub fn scanned(&self) -> u64 {
        self.scan.placed
    }

    /// The node that `pod` goes to, [read ahead](View::read_ahead), or why it waits.
    fn choose(&mut self, view: &mut View, pod: &PodInfo) -> Result<NodeId, Explanation> {
        self.meet(view);
        let mut found = self.best_named(view, pod);
        if found.is_none() && self.scans(view, pod) {
            found = self.scan.best(&self.plugins, view, pod);
        }
        if let Some(node) = found {
            view.read_ahead(pod, node);
            return Ok(node);
        }
        let (ranking, plugins) = self.ranking(view, pod);
        ranking.best(plugins, view, pod)
    }

    /// The best node for a pod that asks for a few nodes by name, as those of daemon sets do: these are looked at one by one.
    /// `None` where none of them can take it, or where this is not the way to find out.
    fn best_named(&self, view: &View, pod: &PodInfo) -> Option<NodeId> {
        let names = &pod.class().node_names;
        let is_the_way = !names.is_empty()
            && self.by == Evaluation::Cheapest
            && self.plugins.minds_affinity()
            && !is_concerned(&self.plugins.domains, view, pod.class());
        if !is_the_way {
            return None;
        }
        let every = [Lasts::NodeObject, Lasts::NodeAndPods, Lasts::No];
        let standing = |node: NodeView<'_>| {
            if every.iter().any(|lasts| self.plugins.check(*lasts, pod, &node).is_err()) {
                return None;
            }
            let points = every.map(|lasts| self.plugins.score(lasts, pod, &node));
            let tie = self.plugins.tie(view.slots().hash(node.id()));
            Some((Standing::new(points.into_iter().fold(0, u32::saturating_add), tie), node.id()))
        };
        let nodes = names.iter().filter_map(|name| view.node_named(name));
        let order = |(a, at): &(Standing, NodeId), (b, or): &(Standing, NodeId)| {
            a.cmp(b).then_with(|| view.slots().by_name(*or, *at))
        };
        nodes.filter_map(standing).max_by(order).map(|(_, id)| id)
    }

    /// Whether a scan of all nodes costs less than the ranking of the pod's class.
    fn scans(&mut self, view: &View, pod: &PodInfo) -> bool {
        match self.by {
            Evaluation::Rankings => return false,
            Evaluation::Scans => return true,
            Evaluation::Cheapest => {}
        }
        let class = pod.class().id;
        if let Some(ranking) = self.rankings.get(&class) {
            let behind = usize::try_from(ranking.behind(view)).unwrap_or(usize::MAX);
            return !ranking.found_none() && behind.saturating_mul(NODES_PER_CHANGE) > view.len();
        }
        if self.rankings.len() < FEW_CLASSES {
            return false;
        }
        if self.sightings.len() >= MAX_SIGHTINGS {
            self.sightings.clear();
        }
        let seen = self.sightings.entry(class).or_insert(0);
        *seen += 1;
        *seen <= SCANS
    }

    /// Forgets what was kept about another view.
    fn meet(&mut self, view: &mut View) {
        if !self.identity.as_ref().is_some_and(|identity| Arc::ptr_eq(identity, view.identity())) {
            self.rankings.clear();
            self.sightings.clear();
            self.scan.forget();
            self.identity = Some(Arc::clone(view.identity()));
            self.plugins.scores.iter().for_each(|score| score.plugin.prepare(view));
        }
    }

    pub(crate) fn feasible(&mut self, view: &mut View, pod: &PodInfo) -> Vec<NodeId> {
        let (ranking, plugins) = self.ranking(view, pod);
        ranking.feasible(plugins, view, pod)
    }

    /// Whether `node` can take `pod`.
    pub(crate) fn accepts(&mut self, view: &mut View, pod: &PodInfo, node: NodeId) -> bool {
        let (ranking, plugins) = self.ranking(view, pod);
        ranking.accepts(plugins, view, pod, node)
    }

    pub(crate) fn why_not(&mut self, view: &mut View, pod: &PodInfo) -> Explanation {
        let (ranking, plugins) = self.ranking(view, pod);
        ranking.why_not(plugins, view, pod)
    }

    /// Places a pod that is looked at as `seen`.
    fn put(&mut self, batch: &mut Batch<'_>, pod: &PodInfo, seen: &PodInfo) -> Result<(), Explanation> {
        let node = self.choose(batch.view_mut(), seen)?;
        batch.assign_read(pod, node).map_err(Explanation::from)
    }

    /// Places a pod, and has others leave for it where that helps.
    fn put_or_preempt(
        &mut self,
        batch: &mut Batch<'_>,
        pod: &PodInfo,
        seen: &PodInfo,
    ) -> Result<(), Explanation> {
        match self.choose(batch.view_mut(), seen) {
            Ok(node) => batch.assign_read(pod, node).map_err(Explanation::from),
            // Nobody leaves for whom that can't help.
            Err(why) if why.helped_by().intersects(Change::FREED) => {
                match self.room_for(batch.view_mut(), seen) {
                    Some(room) => batch.preempt(pod, &room).map_err(Explanation::from),
                    None => Err(why),
                }
            }
            Err(why) => Err(why),
        }
    }

    /// Places a gang, and has others leave for all of it where that helps: none of them goes unless enough of the gang can
    /// then be placed.
    fn place_gang(&mut self, batch: &mut Batch<'_>, unit: &Unit, gang: &Gang) {
        let placed = batch.place_gang(unit, gang, false, &mut |b, pod, seen| self.put(b, pod, seen));
        let Err(why) = placed else { return };
        let forced = self.preempts
            && why.helped_by().intersects(Change::FREED)
            && unit.pods.iter().any(|pod| may_preempt(batch.view(), pod))
            && batch
                .place_gang(unit, gang, true, &mut |b, pod, seen| self.put_or_preempt(b, pod, seen))
                .is_ok();
        if !forced {
            unit.pods.iter().for_each(|pod| batch.defer(pod, why.clone()));
        }
    }

    /// Where others could leave for `pod`.
    pub(crate) fn room_for(&mut self, view: &mut View, pod: &PodInfo) -> Option<Room> {
        if !may_preempt(view, pod) {
            return None;
        }
        let (ranking, plugins) = self.ranking(view, pod);
        ranking.room(plugins, view, pod)
    }

    /// The ranking of the pod's class, up to date.
    fn ranking(&mut self, view: &mut View, pod: &PodInfo) -> (&mut Ranking, &PluginSet) {
        self.meet(view);
        self.uses += 1;
        let (id, uses) = (pod.class().id, self.uses);
        if !self.rankings.contains_key(&id) {
            self.make_room(view);
        }
        let entry = self.rankings.entry(id);
        let plugins = &self.plugins;
        let ranking = match entry {
            indexmap::map::Entry::Occupied(entry) => {
                let ranking = entry.into_mut();
                ranking.catch_up(plugins, view);
                ranking
            }
            indexmap::map::Entry::Vacant(entry) => entry.insert(Ranking::new(plugins, view, pod)),
        };
        ranking.last_used = uses;
        (ranking, plugins)
    }

    /// Drops the half of the rankings that was not used for longest, where there are too many.
    fn make_room(&mut self, view: &View) {
        let most = (MAX_RANKED_NODES / view.slots().len().max(1)).clamp(*RANKINGS.start(), *RANKINGS.end());
        if self.rankings.len() >= most {
            let mut last_uses: Vec<u64> = self.rankings.values().map(|r| r.last_used).collect();
            last_uses.sort_unstable();
            let middle = last_uses[last_uses.len() / 2];
            self.rankings.retain(|_, ranking| ranking.last_used > middle);
        }
    }
}

impl Scheduler for Pipeline {
    fn schedule(&mut self, batch: &mut Batch<'_>) {
        while let Some(unit) = batch.next() {
            if let Some(gang) = &unit.gang {
                self.place_gang(batch, &unit, gang);
                continue;
            }
            for pod in unit.pods() {
                let placed = match self.preempts {
                    true => self.put_or_preempt(batch, pod, pod),
                    false => self.put(batch, pod, pod),
                };
                if let Err(why) = placed {
                    batch.defer(pod, why);
                }
            }
        }
    }

    fn explain(&mut self, view: &mut View, pod: &PodInfo) -> Vec<NodeReport> {
        self.report(view, pod)
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("plugins", &self.plugins).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
