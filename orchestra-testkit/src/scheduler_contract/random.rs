//! Random clusters with a history: nodes come, change and go, pods are bound, fail to be bound, end, are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::{
    Affinity, Container, ContainerImage, ContainerPort, GPU, GPU_MILLI, LabelOperator, LabelSelector, Labels,
    Namespace, Node, NodeAffinity, NodeInclusionPolicy, NodeSelector, NodeSelectorOperator,
    NodeSelectorRequirement, NodeSelectorTerm, OwnerReference, Pod, PodAffinity, PodAffinityTerm, PodPhase,
    PodSpec, PreferredSchedulingTerm, Taint, TaintEffect, Timestamp, Toleration, TopologySpreadConstraint,
    Uid, UnsatisfiableAction, WeightedPodAffinityTerm,
};
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{Decision, Outcome, View};

use super::{HOSTNAME, NaiveScheduler, ZONE};

/// Says of a node that its resources were made smaller under its pods.
const SHRANK: &str = "test/shrank";

/// Whether a node may be overcommitted because its resources were made smaller under its pods, or because pods
/// were bound to it by somebody else.
#[must_use]
pub fn shrank(node: &Node) -> bool {
    node.metadata.labels.contains_key(SHRANK)
}

fn pick<'a, T>(rng: &Rng, from: &'a [T]) -> &'a T {
    &from[below(rng, from.len())]
}

fn below(rng: &Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap_or(0)
}

/// A cluster: its view, and the objects that the view was told of.
#[derive(Debug)]
pub struct Cluster {
    /// The view, told of every change.
    pub view: View,
    /// The nodes that are there.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// The pods that are on nodes, assumed or bound, by name, each with its node's name.
    pub pods: BTreeMap<String, (Arc<Pod>, Arc<str>)>,
    /// The labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    templates: Vec<Pod>,
    made: usize,
}

impl Cluster {
    /// A cluster of up to 12 nodes, with a few templates to make pods of.
    #[must_use]
    pub fn new(rng: &Rng) -> Self {
        let mut cluster = Self {
            view: View::new(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            templates: (0..1 + below(rng, 6)).map(|i| template(rng, i)).collect(),
            made: 0,
        };
        for _ in 0..below(rng, 13) {
            cluster.add_node(rng);
        }
        cluster
    }

    /// The oracle for this cluster.
    #[must_use]
    pub fn oracle(&self, seed: u64) -> NaiveScheduler {
        NaiveScheduler { seed, namespaces: self.namespaces.clone(), ..NaiveScheduler::default() }
    }

    /// A view that is told of the same objects from nothing.
    #[must_use]
    pub fn rebuilt(&self) -> View {
        let mut view = View::new();
        for (name, labels) in &self.namespaces {
            let mut namespace = Namespace::new(name.as_str());
            namespace.metadata.labels = labels.clone();
            view.namespace_changed(&namespace);
        }
        for node in self.nodes.values() {
            view.node_changed(node);
        }
        for (pod, node) in self.pods.values() {
            view.pod_changed(&Arc::new(Pod::clone(pod).node(Arc::clone(node))));
        }
        view
    }

    /// Up to 12 pods that wait.
    pub fn pending(&mut self, rng: &Rng) -> Vec<Arc<Pod>> {
        let mut pods = Vec::new();
        while pods.len() < 12 && !rng.chance(0.1) {
            let template = pick(rng, &self.templates).clone();
            for _ in 0..1 + below(rng, 4) {
                self.made += 1;
                let mut pod = template.clone();
                pod.metadata.name = format!("pod-{:04}", self.made);
                pod.metadata.uid = Uid::from(pod.metadata.name.as_str());
                let created = i64::try_from(rng.below(3)).unwrap_or(0);
                pod.metadata.creation_timestamp = Some(Timestamp::from_micros(created));
                pods.push(Arc::new(pod));
            }
        }
        pods
    }

    /// Binds most of the assigned pods, and forgets the others. Of those that wait for others to leave most see them
    /// leave, and are pending again.
    pub fn confirm(&mut self, rng: &Rng, decisions: &[Decision]) {
        for decision in decisions {
            if let Outcome::Preempting { victims, .. } = &decision.outcome {
                for victim in victims {
                    if rng.chance(0.8) {
                        self.view.pod_removed(&victim.metadata.uid);
                        self.pods.remove(&victim.metadata.name);
                    } else {
                        self.view.spare(&victim.metadata.uid);
                    }
                }
                self.view.forget(&decision.pod.metadata.uid);
                continue;
            }
            let Outcome::Assigned(node) = &decision.outcome else { continue };
            let name = &decision.pod.metadata.name;
            if rng.chance(0.1) {
                self.view.forget(&decision.pod.metadata.uid);
                continue;
            }
            if rng.chance(0.7) {
                self.view.pod_changed(&Arc::new(Pod::clone(&decision.pod).node(Arc::clone(node))));
            }
            self.pods.insert(name.clone(), (Arc::clone(&decision.pod), Arc::clone(node)));
        }
    }

    /// A few random changes.
    pub fn change(&mut self, rng: &Rng) {
        for _ in 0..below(rng, 5) {
            match rng.below(8) {
                0 => self.add_node(rng),
                1 => self.remove_node(rng),
                2 | 3 => self.edit_node(rng),
                4 | 5 => self.remove_pod(rng),
                6 => self.delete_pod(rng),
                _ => self.label_namespace(rng),
            }
        }
    }

    /// Whether those constraints of a placed pod hold that later placements can't break: selectors, taints and
    /// anti-affinity. Pods that were preempted are taken to be gone.
    pub fn lasting_constraints_hold(&mut self, pod: &Arc<Pod>, node: &str) -> bool {
        let mut alone = Pod::clone(pod);
        if let Some(affinity) = &mut alone.spec_mut().affinity {
            affinity.pod_affinity = None;
        }
        alone.spec_mut().topology_spread_constraints.clear();
        let oracle = self.oracle(0);
        let preempted = self.view.pods().map(|(pod, _)| pod.metadata.uid.clone());
        let preempted: Vec<Uid> = preempted.filter(|uid| self.view.is_preempted(uid)).collect();
        self.view.what_if(|view| {
            for uid in &preempted {
                view.pod_removed(uid);
            }
            oracle.allows(view, &alone, node)
        })
    }

    fn set_node(&mut self, node: Node) {
        let node = Arc::new(node);
        self.view.node_changed(&node);
        self.nodes.insert(node.metadata.name.clone(), node);
    }

    fn add_node(&mut self, rng: &Rng) {
        let name = format!("node-{}", rng.below(16));
        let mut node = Node::new(name.as_str());
        if rng.chance(0.9) {
            node = node.label(HOSTNAME, name.as_str());
        }
        if rng.chance(0.8) {
            node = node.label(ZONE, *pick(rng, &["a", "b", "c"]));
        }
        node = node.label("disk", *pick(rng, &["ssd", "hdd"]));
        let cpu = *pick(rng, &["1", "2", "2", "4"]);
        node = node.capacity("cpu", cpu).capacity("memory", *pick(rng, &["2Gi", "4Gi"]));
        node = node.capacity("pods", *pick(rng, &["2", "5", "110"]));
        if rng.chance(0.3) {
            node = node.capacity("example.com/gpu", "2");
        }
        if rng.chance(0.4) {
            node = node.capacity(GPU, *pick(rng, &["1", "2", "4"]));
        }
        if self.pods.values().any(|(_, at)| **at == *name) {
            node = node.label(SHRANK, "true");
        }
        self.set_node(mutate(rng, node));
    }

    fn any_node(&self, rng: &Rng) -> Option<Arc<Node>> {
        let nodes: Vec<_> = self.nodes.values().collect();
        (!nodes.is_empty()).then(|| Arc::clone(nodes[below(rng, nodes.len())]))
    }

    fn remove_node(&mut self, rng: &Rng) {
        if let Some(node) = self.any_node(rng) {
            self.nodes.remove(&node.metadata.name);
            self.view.node_removed(&node.metadata.name);
        }
    }

    fn edit_node(&mut self, rng: &Rng) {
        if let Some(node) = self.any_node(rng) {
            self.set_node(mutate(rng, Node::clone(&node)));
        }
    }

    fn any_pod(&self, rng: &Rng) -> Option<(Arc<Pod>, Arc<str>)> {
        let pods: Vec<_> = self.pods.values().collect();
        (!pods.is_empty()).then(|| pods[below(rng, pods.len())].clone())
    }

    fn remove_pod(&mut self, rng: &Rng) {
        let Some((pod, node)) = self.any_pod(rng) else { return };
        self.pods.remove(&pod.metadata.name);
        if rng.chance(0.5) {
            self.view.pod_removed(&pod.metadata.uid);
        } else {
            let mut ended = Pod::clone(&pod).node(node);
            ended.status.phase = *pick(rng, &[PodPhase::Failed, PodPhase::Succeeded]);
            self.view.pod_changed(&Arc::new(ended));
        }
    }

    fn delete_pod(&mut self, rng: &Rng) {
        let Some((pod, node)) = self.any_pod(rng) else { return };
        let mut deleted = Pod::clone(&pod).node(Arc::clone(&node));
        deleted.metadata.deletion_timestamp = Some(Timestamp::EPOCH);
        let deleted = Arc::new(deleted);
        self.view.pod_changed(&deleted);
        self.pods.insert(pod.metadata.name.clone(), (deleted, node));
    }

    fn label_namespace(&mut self, rng: &Rng) {
        let name = *pick(rng, &["x", "y"]);
        if rng.chance(0.2) {
            self.namespaces.remove(name);
            self.view.namespace_removed(name);
            return;
        }
        let namespace = Namespace::new(name).label("team", *pick(rng, &["red", "blue"]));
        self.view.namespace_changed(&namespace);
        self.namespaces.insert(name.to_owned(), namespace.metadata.labels);
    }
}

/// Of a node: what it has and what is used of each resource, what is left of its GPUs, and its pods.
pub type Content = (Vec<(String, i64, i64)>, Vec<u16>, Vec<String>);

/// All that can be seen of a view, by node; pods are listed under their own names too, in case their node is unknown.
#[must_use]
pub fn content(view: &View) -> BTreeMap<String, Content> {
    let resources = ["cpu", "memory", "ephemeral-storage", "pods", "example.com/gpu", GPU, GPU_MILLI];
    let nodes = view.nodes().map(|node| {
        let amounts = resources.iter().map(|r| ((*r).to_owned(), node.allocatable(r), node.used(r)));
        let mut pods: Vec<String> =
            node.pods().map(|p| format!("{}/{:?}", p.metadata.name, p.metadata.deletion_timestamp)).collect();
        pods.sort();
        (node.name().to_owned(), (amounts.collect(), node.gpus().collect(), pods))
    });
    let homeless =
        view.pods().map(|(pod, node)| (format!("{} at {node}", pod.metadata.name), Default::default()));
    nodes.chain(homeless).collect()
}

fn mutate(rng: &Rng, mut node: Node) -> Node {
    match rng.below(8) {
        0 => node.spec.unschedulable = !node.spec.unschedulable,
        1 => {
            let effects = [TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::NoExecute];
            node.spec.taints = vec![Taint::new(*pick(rng, &["t", "u"]), "v", *pick(rng, &effects))];
        }
        2 => node.spec.taints.clear(),
        3 => node = node.label(ZONE, *pick(rng, &["a", "b", "c"])),
        4 => node = node.label("disk", *pick(rng, &["ssd", "hdd"])),
        5 => node = node.capacity("cpu", *pick(rng, &["1", "4"])).label(SHRANK, "true"),
        6 if rng.chance(0.3) => node = node.capacity(GPU, *pick(rng, &["1", "4"])).label(SHRANK, "true"),
        6 => {
            let size_bytes = *pick(rng, &[10 << 20, 300 << 20, 2000 << 20]);
            let names = vec![(*pick(rng, &["app:1", "other:1"])).to_owned()];
            node.status.images = vec![ContainerImage { names, size_bytes, ..ContainerImage::default() }];
        }
        _ => {}
    }
    node
}

fn selector(rng: &Rng) -> LabelSelector {
    match rng.below(4) {
        0 => LabelSelector::default().require("app", LabelOperator::In, ["a", "b"]),
        1 => LabelSelector::default().require("app", LabelOperator::Exists, Vec::<String>::new()),
        _ => LabelSelector::labels([("app", *pick(rng, &["a", "b", "c"]))]),
    }
}

fn term(rng: &Rng) -> PodAffinityTerm {
    let mut term = PodAffinityTerm {
        label_selector: Some(selector(rng)),
        topology_key: (*pick(rng, &[HOSTNAME, ZONE, "disk"])).to_owned(),
        ..PodAffinityTerm::default()
    };
    match rng.below(6) {
        0 => term.namespaces = vec!["x".into(), "y".into()],
        1 => term.namespace_selector = Some(LabelSelector::default()),
        2 => term.namespace_selector = Some(LabelSelector::labels([("team", "red")])),
        3 => term.match_label_keys = vec!["version".into()],
        _ => {}
    }
    term
}

fn pod_affinity(rng: &Rng) -> PodAffinity {
    let mut side = PodAffinity::default();
    if rng.chance(0.6) {
        side.required.push(term(rng));
    }
    for _ in 0..below(rng, 3) {
        let weight = *pick(rng, &[1, 10, 100]);
        side.preferred.push(WeightedPodAffinityTerm {
            weight,
            pod_affinity_term: term(rng),
            ..WeightedPodAffinityTerm::default()
        });
    }
    side
}

fn disk(value: &str) -> NodeSelectorTerm {
    let requirement = NodeSelectorRequirement {
        key: "disk".into(),
        operator: NodeSelectorOperator::In,
        values: vec![value.into()],
        ..NodeSelectorRequirement::default()
    };
    NodeSelectorTerm { match_expressions: vec![requirement], ..NodeSelectorTerm::default() }
}

fn spread(rng: &Rng) -> TopologySpreadConstraint {
    let policies = [None, Some(NodeInclusionPolicy::Honor), Some(NodeInclusionPolicy::Ignore)];
    TopologySpreadConstraint {
        max_skew: *pick(rng, &[1, 2]),
        topology_key: (*pick(rng, &[HOSTNAME, ZONE, "disk"])).to_owned(),
        when_unsatisfiable: *pick(
            rng,
            &[UnsatisfiableAction::DoNotSchedule, UnsatisfiableAction::ScheduleAnyway],
        ),
        label_selector: Some(selector(rng)),
        min_domains: *pick(rng, &[None, None, Some(2), Some(3)]),
        node_affinity_policy: *pick(rng, &policies),
        node_taints_policy: *pick(rng, &policies),
        ..TopologySpreadConstraint::default()
    }
}

/// A pod to make others of.
fn template(rng: &Rng, number: usize) -> Pod {
    let mut container = Container::new("main", *pick(rng, &["app:1", "other:1"]));
    if rng.chance(0.8) {
        container = container.request("cpu", *pick(rng, &["100m", "500m", "1"]));
    }
    if rng.chance(0.5) {
        container = container.request("memory", *pick(rng, &["100Mi", "1Gi"]));
    }
    if rng.chance(0.1) {
        container = container.request("example.com/gpu", "1");
    }
    match rng.below(8) {
        0 => container = container.request(GPU, *pick(rng, &["1", "2"])),
        1 | 2 => container = container.request(GPU_MILLI, *pick(rng, &["200", "450", "600"])),
        _ => {}
    }
    if rng.chance(0.1) {
        container.ports.push(ContainerPort { container_port: 80, host_port: 80, ..ContainerPort::default() });
    }
    let mut spec = PodSpec::new(container);
    spec.priority = *pick(rng, &[None, None, Some(1), Some(5)]);
    if rng.chance(0.15) {
        spec.node_selector.insert("disk".into(), "ssd".into());
    }
    if rng.chance(0.3) {
        spec.tolerations
            .push(Toleration::exists(*pick(rng, &["t", "u", "node.kubernetes.io/unschedulable"])));
    }
    for _ in 0..below(rng, 3) * below(rng, 2) {
        spec.topology_spread_constraints.push(spread(rng));
    }
    if rng.chance(0.5) {
        let mut affinity = Affinity::default();
        if rng.chance(0.4) {
            let required = NodeSelector { node_selector_terms: vec![disk("ssd")], ..NodeSelector::default() };
            let value = *pick::<&str>(rng, &["ssd", "hdd"]);
            let preference = disk(value);
            affinity.node_affinity = Some(NodeAffinity {
                required: rng.chance(0.3).then_some(required),
                preferred: vec![PreferredSchedulingTerm {
                    weight: 10,
                    preference,
                    ..PreferredSchedulingTerm::default()
                }],
                ..NodeAffinity::default()
            });
        }
        affinity.pod_affinity = rng.chance(0.4).then(|| pod_affinity(rng));
        affinity.pod_anti_affinity = rng.chance(0.4).then(|| pod_affinity(rng));
        spec.affinity = Some(affinity);
    }
    let mut pod = Pod::new("template").namespace(*pick(rng, &["x", "y"])).spec(spec);
    pod = pod.label("app", *pick(rng, &["a", "b", "c"])).label("version", *pick(rng, &["1", "2"]));
    if rng.chance(0.4) {
        let uid = Uid::from(format!("set-{number}"));
        let owner =
            OwnerReference { kind: "ReplicaSet".into(), controller: true, uid, ..OwnerReference::default() };
        pod.metadata.owner_references.push(owner);
    }
    pod
}
