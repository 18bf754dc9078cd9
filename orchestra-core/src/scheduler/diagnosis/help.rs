//! Finding what would help a pod that waits: by trying it out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::remedy::{CORDON, FIT, Help, Remedy, Shortage};
use super::{NodeReport, PodInfo};
use crate::model::{Labels, Node, Pod, PodSpec, Quantity, Taint, TaintEffect, UnsatisfiableAction};
use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::{NodeView, Scheduler, View};

/// How many different changes are tried for one pod: alone, and where none helps, two at a time. Each try is an
/// evaluation of all nodes.
pub const MAX_REMEDIES: usize = 12;
/// How many ways to help are told of one pod.
pub const MAX_HELP: usize = 8;
/// How many different taints are looked at.
const MAX_TAINTS: usize = 4;
/// How many kinds of node are tried as a new node.
const MAX_SHAPES: usize = 8;

/// What would help `pod`, of which `reports` speak.
pub(super) fn find(
    scheduler: &mut dyn Scheduler,
    view: &mut View,
    pod: &Arc<Pod>,
    reports: &[NodeReport],
) -> Vec<Help> {
    let remedies = remedies(view, &pod.spec, reports);
    let mut search = Search { scheduler, view, pod, reports };
    let mut found: Vec<Help> = remedies.iter().flat_map(|one| search.try_out(&[one])).collect();
    if found.is_empty() {
        for (i, one) in remedies.iter().enumerate() {
            found.extend(remedies[i + 1..].iter().flat_map(|two| search.try_out(&[one, two])));
        }
    }
    found.sort_by_key(|help| std::cmp::Reverse(help.nodes.len()));
    found.truncate(MAX_HELP - 1);
    found.extend(search.new_node());
    found
}

/// The changes that are worth a try, by who is against the nodes.
fn remedies(view: &View, spec: &PodSpec, reports: &[NodeReport]) -> Vec<Remedy> {
    let against = |plugin: &str| reports.iter().any(|r| r.rejections.iter().any(|x| &*x.plugin == plugin));
    let mut remedies = Vec::new();
    if against(FIT) {
        remedies.push(Remedy::Free(Vec::new()));
    }
    if against("NodeUnschedulable") {
        remedies.push(Remedy::Uncordon);
    }
    if against("TaintToleration") {
        remedies.extend(untolerated(view, spec).into_iter().map(Remedy::Tolerate));
    }
    if against("NodePorts") {
        remedies.push(Remedy::WithoutHostPorts);
    }
    let affinity = spec.affinity.clone().unwrap_or_default();
    if against("NodeAffinity") {
        let each = spec.node_selector.iter().map(|(key, value)| Labels::new().with(key, value));
        let all = (spec.node_selector.len() > 1).then(|| spec.node_selector.clone());
        remedies.extend(each.chain(all).map(Remedy::WithoutSelector));
        remedies.extend(affinity.node_affinity.and_then(|a| a.required).map(|_| Remedy::WithoutNodeAffinity));
    }
    if against("InterPodAffinity") {
        let required = |side: Option<crate::model::PodAffinity>| side.is_some_and(|s| !s.required.is_empty());
        remedies.extend(required(affinity.pod_affinity).then_some(Remedy::WithoutPodAffinity));
        remedies.extend(required(affinity.pod_anti_affinity).then_some(Remedy::WithoutPodAntiAffinity));
    }
    if against("PodTopologySpread") {
        let hard = spec.topology_spread_constraints.iter();
        let hard = hard.filter(|c| c.when_unsatisfiable == UnsatisfiableAction::DoNotSchedule);
        remedies.extend(hard.map(|c| Remedy::WithoutSpread(c.topology_key.clone())));
    }
    remedies.dedup();
    remedies.truncate(MAX_REMEDIES);
    remedies
}

/// The sets of taints that keep the pod from a node, the most frequent first.
fn untolerated(view: &View, spec: &PodSpec) -> Vec<Vec<Taint>> {
    let keeps_away = |taint: &&Taint| {
        taint.effect != TaintEffect::PreferNoSchedule
            && taint.key != CORDON
            && !spec.tolerations.iter().any(|t| t.tolerates(taint))
    };
    let mut sets: Vec<(Vec<Taint>, usize)> = Vec::new();
    for node in view.nodes() {
        let taints: Vec<&Taint> = node.node().spec.taints.iter().filter(keeps_away).collect();
        if taints.is_empty() {
            continue;
        }
        match sets.iter().position(|(known, _)| known.iter().eq(taints.iter().copied())) {
            Some(known) => sets[known].1 += 1,
            // Where every node has a taint of its own, a few will do.
            None if sets.len() < 16 * MAX_TAINTS => sets.push((taints.into_iter().cloned().collect(), 1)),
            None => {}
        }
    }
    sets.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
    sets.into_iter().map(|(taints, _)| taints).take(MAX_TAINTS).collect()
}

struct Search<'a> {
    scheduler: &'a mut dyn Scheduler,
    view: &'a mut View,
    pod: &'a Arc<Pod>,
    reports: &'a [NodeReport],
}

impl Search<'_> {
    /// What these changes together open.
    fn try_out(&mut self, remedies: &[&Remedy]) -> Vec<Help> {
        let answered = |plugin: &str| remedies.iter().any(|r| r.answers().contains(&plugin));
        if !self.reports.iter().any(|report| report.rejections.iter().all(|r| answered(&r.plugin))) {
            return Vec::new();
        }
        let mut changed = Pod::clone(self.pod);
        remedies.iter().for_each(|remedy| remedy.apply(changed.spec_mut()));
        let info = self.view.pod_info(&Arc::new(changed));
        let room = remedies.iter().any(|remedy| matches!(remedy, Remedy::Free(_)));
        let reports = self.scheduler.explain(self.view, &info);
        let fits = |report: &&NodeReport| report.rejections.iter().all(|r| room && &*r.plugin == FIT);
        let open: Vec<Arc<str>> = reports.iter().filter(fits).map(|r| Arc::clone(&r.node)).collect();
        let rest = || remedies.iter().filter(|r| !matches!(r, Remedy::Free(_))).copied().cloned();
        let with = |(remedy, nodes)| Help { remedies: rest().chain([remedy]).collect(), nodes };
        match open.is_empty() {
            true => Vec::new(),
            false if room => shortages(self.view, &info, &open).into_iter().map(with).collect(),
            false => vec![Help { remedies: rest().collect(), nodes: open }],
        }
    }

    /// Which kind of node would do as a new one, where there is no room.
    fn new_node(&mut self) -> Option<Help> {
        let against = |report: &NodeReport, plugins: &[&str]| {
            report.rejections.iter().any(|rejection| plugins.contains(&&*rejection.plugin))
        };
        let mut shapes: Vec<Arc<Node>> = Vec::new();
        for report in self.reports {
            let Some(node) = self.view.node_named(&report.node) else { continue };
            if against(report, &[FIT])
                && !against(report, &["NodeAffinity", "TaintToleration"])
                && !shapes.iter().any(|shape| alike(shape, node.node()))
            {
                shapes.push(Arc::clone(node.node()));
                if shapes.len() == MAX_SHAPES {
                    break;
                }
            }
        }
        let (view, scheduler, pod) = (&mut *self.view, &mut *self.scheduler, self.pod);
        let fits = |like: &&Arc<Node>| {
            view.what_if(|view| {
                let copy = copy(like);
                view.node_changed(&copy);
                let info = view.pod_info(pod);
                let reports = scheduler.explain(view, &info);
                reports.iter().any(|r| r.is_feasible() && *r.node == *copy.metadata.name)
            })
        };
        let node = shapes.iter().find(fits)?.metadata.name.as_str();
        Some(Help { remedies: vec![Remedy::NodeLike(node.into())], nodes: Vec::new() })
    }
}

/// Whether new nodes like these would be alike.
fn alike(a: &Node, b: &Node) -> bool {
    let labels = |node: &Node| {
        let other = |(_, value): &(&String, &String)| **value != node.metadata.name;
        node.metadata.labels.iter().filter(other).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>()
    };
    a.status.allocatable == b.status.allocatable && a.spec.taints == b.spec.taints && labels(a) == labels(b)
}

/// A new node like this one.
fn copy(node: &Node) -> Arc<Node> {
    let mut copy = node.clone();
    let name = format!("like {}", node.metadata.name);
    for (_, value) in copy.metadata.labels.iter_mut().filter(|(_, value)| **value == node.metadata.name) {
        value.clone_from(&name);
    }
    copy.metadata.name = name;
    copy.spec.unschedulable = false;
    Arc::new(copy)
}

/// How much is missing of each of some resources on a node.
type Missing = (Vec<i64>, Arc<str>);

/// What is missing on nodes that have too little room, by which resources they lack: the least amounts, and the nodes on
/// which no more is missing. Where none is large enough even empty, what the largest have.
fn shortages(view: &View, pod: &PodInfo, open: &[Arc<str>]) -> Vec<(Remedy, Vec<Arc<str>>)> {
    let requests = &pod.class().requests;
    let nodes = || open.iter().filter_map(|name| view.node_named(name));
    let large = |node: &NodeView<'_>| requests.iter().all(|(r, amount)| node.allocatable_of(*r) >= *amount);
    let mut groups: BTreeMap<Vec<ResourceId>, Vec<Missing>> = BTreeMap::new();
    for node in nodes().filter(large) {
        let free = |r: ResourceId| node.allocatable_of(r) - node.used_of(r);
        let sums = requests.iter().filter(|(r, _)| ![ResourceId::GPU, ResourceId::GPU_MILLI].contains(r));
        let missing =
            sums.filter(|(r, amount)| *amount > free(*r)).map(|(r, amount)| (*r, amount - free(*r)));
        let (resources, amounts) = missing.chain(node.missing_gpus(pod)).unzip();
        groups.entry(resources).or_default().push((amounts, node.name().into()));
    }
    if groups.is_empty() {
        let largest = |r: ResourceId| nodes().map(|node| node.allocatable_of(r)).max().unwrap_or(0);
        let mut short: Vec<&(ResourceId, i64)> =
            requests.iter().filter(|(r, amount)| largest(*r) < *amount).collect();
        if short.is_empty() {
            // Each resource is on some node, never all on one.
            short = requests.iter().filter(|(r, _)| *r != ResourceId::PODS).collect();
        }
        let shortage = |(r, amount): &(ResourceId, i64)| Shortage {
            resource: view.resource_name(*r).into(),
            requested: quantity(view, *r, *amount),
            largest: quantity(view, *r, largest(*r)),
        };
        return vec![(Remedy::LargerNode(short.into_iter().map(shortage).collect()), Vec::new())];
    }
    let least = |(resources, nodes): (Vec<ResourceId>, Vec<Missing>)| {
        let amounts = nodes.iter().map(|(amounts, _)| amounts).min().cloned().unwrap_or_default();
        let enough =
            |missing: &[i64]| missing.iter().zip(&amounts).all(|(missing, amount)| missing <= amount);
        let nodes = nodes.iter().filter(|(missing, _)| enough(missing)).map(|(_, node)| Arc::clone(node));
        let named = resources.iter().zip(&amounts);
        let named = named.map(|(r, amount)| (view.resource_name(*r).into(), quantity(view, *r, *amount)));
        (Remedy::Free(named.collect()), nodes.collect())
    };
    groups.into_iter().map(least).collect()
}

/// An amount as people write it.
fn quantity(view: &View, resource: ResourceId, amount: i64) -> Quantity {
    match view.resource_name(resource) {
        "cpu" => Quantity::from_milli(amount),
        "memory" | "ephemeral-storage" => Quantity::from_bytes(amount),
        name if name.starts_with("hugepages-") => Quantity::from_bytes(amount),
        _ => Quantity::from_units(amount),
    }
}
