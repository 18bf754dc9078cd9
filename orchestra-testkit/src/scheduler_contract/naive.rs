//! The default scheduler's rules, written down as plainly as they can be: the oracle for the fast one.

use std::collections::{BTreeMap, BTreeSet};

use orchestra_core::model::{GPU_MILLI, HostPort, Labels, Node, Pod, PodAffinityTerm, Taint, TaintEffect};
use orchestra_core::scheduler::{Batch, Explanation, NodeId, PodInfo, Points, Scheduler, View};

use super::naive_domains::{affinity_allows, affinity_points, spread_allows, spread_points};
use super::naive_fragmentation::fragmentation_rank;
use super::naive_gpus::has_gpus;

/// Decides as `Pipeline::kubernetes()` does, and keeps nothing: for every pod it looks at every node and at every
/// pod on it.
///
/// It takes nothing from the view but the nodes and the lists of pods on them, so it is an independent check of
/// the pipeline. Slow: for small clusters in tests.
#[derive(Clone, Debug, Default)]
pub struct NaiveScheduler {
    /// What ties are broken by, as in `PipelineBuilder::seed`.
    pub seed: u64,
    /// Labels of the namespaces that have any.
    pub namespaces: BTreeMap<String, Labels>,
    /// Where there are some, it decides as `PipelineBuilder::fragmentation` does, with the default spread of Kubernetes: the
    /// typical pods, and which part of all pods each stands for.
    pub typical: Vec<(Pod, f64)>,
}

impl Scheduler for NaiveScheduler {
    fn schedule(&mut self, batch: &mut Batch<'_>) {
        while let Some(unit) = batch.next() {
            batch.place(&unit, |batch, pod| self.choose(batch.view(), pod));
        }
    }
}

/// Everything there is to know, as plain lists.
pub(super) struct World<'a> {
    pub(super) nodes: Vec<Place<'a>>,
    pub(super) namespaces: &'a BTreeMap<String, Labels>,
}

/// A node with its pods.
pub(super) struct Place<'a> {
    pub(super) id: NodeId,
    pub(super) node: &'a Node,
    pub(super) pods: Vec<&'a Pod>,
}

impl NaiveScheduler {
    /// The node for a pod.
    fn choose(&self, view: &View, pod: &PodInfo) -> Result<NodeId, Explanation> {
        let nodes = view.nodes().map(|n| Place {
            id: n.id(),
            node: n.node(),
            pods: n.pods().map(|p| &**p).collect(),
        });
        let world = World { nodes: nodes.collect(), namespaces: &self.namespaces };
        let feasible = world.nodes.iter().filter(|place| may_run(&world, pod.pod(), place));
        let best = feasible.max_by_key(|place| {
            let name = place.node.metadata.name.as_str();
            (rank(&world, pod.pod(), place, &self.typical), tie(self.seed, name), std::cmp::Reverse(name))
        });
        best.map(|place| place.id).ok_or_else(|| Explanation::from("no node is feasible"))
    }

    /// Whether `pod` may run on the node called `name`, with the pods that are on it.
    #[must_use]
    pub fn allows(&self, view: &View, pod: &Pod, name: &str) -> bool {
        let nodes = view.nodes().map(|n| Place {
            id: n.id(),
            node: n.node(),
            pods: n.pods().map(|p| &**p).filter(|p| p.metadata.uid != pod.metadata.uid).collect(),
        });
        let world = World { nodes: nodes.collect(), namespaces: &self.namespaces };
        world.nodes.iter().any(|place| place.node.metadata.name == name && may_run(&world, pod, place))
    }
}

fn may_run(world: &World<'_>, pod: &Pod, place: &Place<'_>) -> bool {
    let (spec, node) = (&pod.spec, place.node);
    let tolerated = |taint: &Taint| spec.tolerations.iter().any(|t| t.tolerates(taint));
    let cordon = Taint::new("node.kubernetes.io/unschedulable", "", TaintEffect::NoSchedule);
    let hard = |taint: &&Taint| taint.effect != TaintEffect::PreferNoSchedule;
    (!node.spec.unschedulable || tolerated(&cordon))
        && node.spec.taints.iter().filter(hard).all(tolerated)
        && node_chosen(pod, node)
        && fits(pod, place)
        && has_gpus(pod, place)
        && ports_free(pod, place)
        && spread_allows(world, pod, node)
        && affinity_allows(world, pod, node)
}

pub(super) fn node_chosen(pod: &Pod, node: &Node) -> bool {
    let (name, labels) = (&node.metadata.name, &node.metadata.labels);
    let required = pod.spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()?.required.as_ref());
    pod.spec.node_selector.iter().all(|(key, value)| labels.value(key) == Some(value))
        && required.is_none_or(|r| r.matches(name, labels))
}

pub(super) fn amounts(pod: &Pod) -> BTreeMap<String, i64> {
    let requests = pod.spec.requests().into_iter();
    let mut amounts: BTreeMap<String, i64> = requests
        .map(|(name, q)| {
            let amount = if name == "cpu" { q.milli() } else { q.value() };
            (name, amount)
        })
        .collect();
    amounts.insert("pods".into(), 1);
    // A node has no shares beside its GPUs: `has_gpus` counts both.
    amounts.remove(GPU_MILLI);
    amounts
}

fn fits(pod: &Pod, place: &Place<'_>) -> bool {
    amounts(pod).iter().filter(|(_, amount)| **amount > 0).all(|(name, amount)| {
        let used: i64 = place.pods.iter().map(|p| amounts(p).get(name).copied().unwrap_or(0)).sum();
        used + amount <= has(place.node, name)
    })
}

pub(super) fn has(node: &Node, resource: &str) -> i64 {
    let status = &node.status;
    let list = if status.allocatable.is_empty() { &status.capacity } else { &status.allocatable };
    list.get(resource).map_or(0, |q| if resource == "cpu" { q.milli() } else { q.value() })
}

fn ports_free(pod: &Pod, place: &Place<'_>) -> bool {
    let taken: Vec<HostPort> = place.pods.iter().flat_map(|p| p.spec.host_ports()).collect();
    pod.spec.host_ports().all(|port| !taken.iter().any(|t| t.conflicts_with(&port)))
}

/// Weighted points in thousandths.
fn rank(world: &World<'_>, pod: &Pod, place: &Place<'_>, typical: &[(Pod, f64)]) -> u64 {
    let (spec, node) = (&pod.spec, place.node);
    let tolerated = |taint: &Taint| spec.tolerations.iter().any(|t| t.tolerates(taint));
    let soft = node.spec.taints.iter().filter(|t| t.effect == TaintEffect::PreferNoSchedule && !tolerated(t));
    let taints = Points::fraction(1.0 / (1.0 + 3.0 * soft.count() as f64));

    let preferred = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()).map(|a| &a.preferred);
    let terms = preferred.into_iter().flatten();
    let all: u64 = terms.clone().map(|t| u64::from(t.weight)).sum();
    let matching = terms.filter(|t| t.preference.matches(&node.metadata.name, &node.metadata.labels));
    let node_affinity = (100_000 * matching.map(|t| u64::from(t.weight)).sum::<u64>()).checked_div(all);

    let cpu = fraction(pod, place, "cpu", 100);
    let memory = fraction(pod, place, "memory", 200 * 1024 * 1024);
    let least = thousandths(((1.0 - cpu) + (1.0 - memory)) * 50_000.0);
    let balanced = thousandths(100_000.0 - (cpu - memory).abs() * 50_000.0);
    let others = 3 * u64::from(taints.as_millis())
        + 2 * node_affinity.unwrap_or(0)
        + u64::from(images(world, pod, node).as_millis())
        + 2 * spread_points(world, pod, node)
        + 2 * affinity_points(world, pod, node);
    if typical.is_empty() {
        others + least + balanced
    } else {
        55 * others + fragmentation_rank(pod, place, typical)
    }
}

/// Points of usage are rounded to the nearest thousandth, of two to the even one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "points are 0 to 100,000")]
fn thousandths(points: f32) -> u64 {
    points.round_ties_even() as u64
}

/// How full the node would be. Pods that request nothing count for `least`. In 32-bit floats, operation by operation as
/// the scheduler specifies it.
fn fraction(pod: &Pod, place: &Place<'_>, resource: &str, least: i64) -> f32 {
    let counted = |p: &Pod| match amounts(p).get(resource) {
        Some(amount) if *amount > 0 => *amount,
        _ => least,
    };
    let used = place.pods.iter().map(|p| counted(p)).sum::<i64>();
    match has(place.node, resource) {
        0 => 1.0,
        whole => ((used as f32 + counted(pod) as f32) * (1.0 / whole as f32)).min(1.0),
    }
}

fn images(world: &World<'_>, pod: &Pod, node: &Node) -> Points {
    const MIB: f64 = 1024.0 * 1024.0;
    let on = |node: &Node, image: &str| {
        let found = node.status.images.iter().find(|i| i.names.iter().any(|n| n == image));
        found.map(|i| i.size_bytes as f64)
    };
    let containers: Vec<_> = pod.spec.init_containers.iter().chain(&pod.spec.containers).collect();
    let mut sum = 0.0;
    for container in containers.iter().filter(|c| !c.image.is_empty()) {
        let nodes = world.nodes.iter().filter(|p| on(p.node, &container.image).is_some()).count();
        if let Some(size) = on(node, &container.image) {
            sum += size * nodes as f64 / world.nodes.len() as f64;
        }
    }
    let most = 1000.0 * MIB * containers.len().max(1) as f64;
    if node.status.images.is_empty() {
        return Points::ZERO;
    }
    Points::fraction((sum - 23.0 * MIB) / (most - 23.0 * MIB))
}

/// The number by which a node wins ties, as `Pipeline` documents it.
fn tie(seed: u64, name: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    let mut n = seed ^ hash;
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (n ^ (n >> 31)) >> 32
}

/// Whether a term of `owner` speaks of `other`.
pub(super) fn speaks_of(world: &World<'_>, owner: &Pod, term: &PodAffinityTerm, other: &Pod) -> bool {
    let Some(selector) = &term.label_selector else { return false };
    let labels = |key: &String| owner.metadata.labels.value(key);
    let alike = |key: &String| labels(key).is_none_or(|v| other.metadata.labels.value(key) == Some(v));
    let unlike = |key: &String| labels(key).is_none_or(|v| other.metadata.labels.value(key) != Some(v));
    let of_namespace = world.namespaces.get(&other.metadata.namespace).cloned().unwrap_or_default();
    let of_namespace = of_namespace.with("kubernetes.io/metadata.name", other.metadata.namespace.as_str());
    let mut namespaces: BTreeSet<&str> = term.namespaces.iter().map(String::as_str).collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.insert(&owner.metadata.namespace);
    }
    selector.matches(&other.metadata.labels)
        && term.match_label_keys.iter().all(alike)
        && term.mismatch_label_keys.iter().all(unlike)
        && (namespaces.contains(other.metadata.namespace.as_str())
            || term.namespace_selector.as_ref().is_some_and(|s| s.matches(&of_namespace)))
}
