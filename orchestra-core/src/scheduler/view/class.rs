//! Equal pods: what they ask for, worked out once for all of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::{SmallVec, smallvec};

use super::columns::{ResourceId, ResourceNames, Weight, amount};
use super::terms::PodTerms;
use crate::model::{
    GPU, GPU_DEVICES, GPU_MILLI, GpuRequest, HostPort, Labels, NodeSelector, Pod, PodSpec, Uid, WHOLE_GPU,
};

/// What a pod without a request for CPU counts for in scores, in thousandths of a CPU: Kubernetes' figure.
const LEAST_CPU: i64 = 100;
/// What a pod without a request for memory counts for in scores, in bytes: Kubernetes' figure.
const LEAST_MEMORY: i64 = 200 * 1024 * 1024;

/// A pod that names more nodes than this is one that any node might take.
const MAX_NODE_NAMES: usize = 16;

/// Unused classes are dropped when there are twice as many as were in use at the last look, and this many more.
const SPARE_CLASSES: usize = 1024;

/// Amounts of resources, sorted; more than most pods ask for take an allocation.
type Requests = SmallVec<[(ResourceId, i64); 4]>;

/// All pods with the same namespace, labels, annotations, spec and controller: no plugin that keeps its answers
/// can tell them apart. Pods that are being deleted are in classes of their own.
#[derive(Debug)]
pub(crate) struct PodClass {
    /// Never used for another class.
    pub(crate) id: u64,
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    annotations: Labels,
    pub(crate) spec: Arc<PodSpec>,
    pub(crate) controller: Option<Uid>,
    pub(crate) terminating: bool,
    pub(crate) priority: i32,
    /// What is set aside on the node, the place for one pod included; nothing that is zero.
    pub(crate) requests: Requests,
    pub(crate) weight: Weight,
    pub(crate) gpus: GpuRequest,
    pub(crate) ports: Box<[HostPort]>,
    /// The claims on volumes that it uses, by name.
    pub(crate) claims: Box<[String]>,
    pub(crate) terms: PodTerms,
    /// The names of which one must be its node's; empty where it asks for none, or for many.
    pub(crate) node_names: Box<[Arc<str>]>,
}

impl PodClass {
    fn new(id: u64, pod: &Pod, resources: &mut ResourceNames) -> Self {
        let meta = &pod.metadata;
        let mut requests: Requests = smallvec![(ResourceId::PODS, 1)];
        let (mut whole, mut milli) = (0, 0);
        for (name, quantity) in &*pod.spec.requests_in_all() {
            let amount = amount(name, *quantity);
            if amount > 0 && name != "pods" {
                requests.push((resources.intern(name), amount));
                match &**name {
                    GPU => whole = amount,
                    GPU_MILLI => milli = amount,
                    _ => {}
                }
            }
        }
        if whole > 0 {
            // Counted by shares too, so that what shares leave of a device is no whole one.
            requests.retain(|(resource, _)| *resource != ResourceId::GPU_MILLI);
            requests.push((ResourceId::GPU_MILLI, milli + whole * i64::from(WHOLE_GPU)));
        }
        // CPU and memory are what nodes run out of first, and the order is that of the explanations.
        requests.sort_unstable();
        let request = |resource| requests.iter().find(|(r, _)| *r == resource).map(|(_, amount)| *amount);
        Self {
            id,
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: annotations(pod).into_owned(),
            gpus: GpuRequest::new(whole, milli),
            spec: Arc::clone(&pod.spec),
            controller: meta.controller().map(|owner| owner.uid.clone()),
            terminating: pod.is_terminating(),
            priority: pod.spec.importance(),
            weight: Weight {
                cpu: request(ResourceId::CPU).unwrap_or(LEAST_CPU),
                memory: request(ResourceId::MEMORY).unwrap_or(LEAST_MEMORY),
            },
            requests,
            ports: pod.spec.host_ports().collect(),
            claims: pod.spec.claims().collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect(),
            terms: PodTerms::new(meta, &pod.spec),
            node_names: node_names(&pod.spec),
        }
    }

    pub(crate) fn request(&self, resource: ResourceId) -> i64 {
        self.requests.iter().find(|(r, _)| *r == resource).map_or(0, |(_, amount)| *amount)
    }

    /// Whether `pod` is of this class, as far as a glance tells: it shares these parts with one that is.
    fn has_by(&self, spec: &Arc<PodSpec>, labels: &Labels, annotations: &Labels, pod: &Pod) -> bool {
        let meta = &pod.metadata;
        Arc::ptr_eq(spec, &pod.spec)
            && labels.is_shared_with(&meta.labels)
            && annotations.is_shared_with(&meta.annotations)
            && self.namespace == meta.namespace
            && self.terminating == pod.is_terminating()
            && self.controller.as_ref() == meta.controller().map(|owner| &owner.uid)
    }

    /// The same beside `like`, which is of this class.
    pub(super) fn has_like(&self, like: &Pod, pod: &Pod) -> bool {
        self.has_by(&like.spec, &like.metadata.labels, &like.metadata.annotations, pod)
    }

    fn has(&self, pod: &Pod) -> bool {
        let meta = &pod.metadata;
        (Arc::ptr_eq(&self.spec, &pod.spec) || self.spec == pod.spec)
            && self.namespace == meta.namespace
            && self.labels == meta.labels
            && self.annotations == *annotations(pod)
            && self.terminating == pod.is_terminating()
            && self.controller.as_ref() == meta.controller().map(|owner| &owner.uid)
    }
}

/// The names of which one must be that of the pod's node, by its required node affinity, where they are few.
fn node_names(spec: &PodSpec) -> Box<[Arc<str>]> {
    let required = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()?.required.as_ref());
    let mut names = required.and_then(NodeSelector::names).unwrap_or_default();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_NODE_NAMES { Box::default() } else { names.into_iter().map(Arc::from).collect() }
}

/// The annotations that tell pods apart: which GPUs a pod was given does not.
fn annotations(pod: &Pod) -> Cow<'_, Labels> {
    let all = &pod.metadata.annotations;
    if !all.contains_key(GPU_DEVICES) {
        return Cow::Borrowed(all);
    }
    let mut rest = all.clone();
    rest.remove(GPU_DEVICES);
    Cow::Owned(if rest.is_empty() { Labels::new() } else { rest })
}

/// A number that equal pods share and others mostly don't.
fn digest(pod: &Pod, mut hasher: impl Hasher) -> u64 {
    let (meta, spec) = (&pod.metadata, &pod.spec);
    meta.namespace.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    annotations(pod).hash(&mut hasher);
    pod.is_terminating().hash(&mut hasher);
    meta.controller().map(|owner| &owner.uid).hash(&mut hasher);
    for container in spec.containers.iter().chain(&spec.init_containers) {
        (&container.name, &container.image, &container.command, &container.args).hash(&mut hasher);
        container.resources.requests.hash(&mut hasher);
        for variable in &container.env {
            (&variable.name, &variable.value).hash(&mut hasher);
        }
    }
    spec.node_selector.hash(&mut hasher);
    spec.priority.hash(&mut hasher);
    spec.claims().for_each(|claim| claim.hash(&mut hasher));
    hasher.finish()
}

/// A pod's parts that make its class, as they were seen.
#[derive(Debug)]
struct Seen {
    spec: Arc<PodSpec>,
    labels: Labels,
    annotations: Labels,
    class: Arc<PodClass>,
}

impl Seen {
    fn new(pod: &Pod, class: &Arc<PodClass>) -> Self {
        let meta = &pod.metadata;
        Self {
            spec: Arc::clone(&pod.spec),
            labels: meta.labels.clone(),
            annotations: meta.annotations.clone(),
            class: Arc::clone(class),
        }
    }

    /// Whether `pod` has the same parts, as far as a glance tells.
    fn has(&self, pod: &Pod) -> bool {
        self.class.has_by(&self.spec, &self.labels, &self.annotations, pod)
    }
}

/// The classes of all pods that are on nodes or being placed.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// By digest.
    known: HashTable<(u64, Arc<PodClass>)>,
    hasher: DefaultHashBuilder,
    /// The last one asked for: runs of pods that share their parts end here.
    last: Option<Seen>,
    sweep_at: usize,
    next: u64,
}

impl Classes {
    /// The class of `pod`.
    pub(crate) fn of(&mut self, pod: &Pod, resources: &mut ResourceNames) -> Arc<PodClass> {
        if let Some(last) = self.last.as_ref().filter(|last| last.has(pod)) {
            return Arc::clone(&last.class);
        }
        let digest = digest(pod, self.hasher.build_hasher());
        let found = self.known.find(digest, |(of, class)| *of == digest && class.has(pod));
        let found = found.map(|(_, class)| Arc::clone(class));
        let class = found.unwrap_or_else(|| self.add(digest, pod, resources));
        self.last = Some(Seen::new(pod, &class));
        class
    }

    fn add(&mut self, digest: u64, pod: &Pod, resources: &mut ResourceNames) -> Arc<PodClass> {
        if self.known.len() >= self.sweep_at + SPARE_CLASSES {
            self.known.retain(|(_, class)| Arc::strong_count(class) > 1);
            self.sweep_at = 2 * self.known.len();
        }
        let class = Arc::new(PodClass::new(self.next, pod, resources));
        self.next += 1;
        self.known.insert_unique(digest, (digest, Arc::clone(&class)), |(digest, _)| *digest);
        class
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Container, ObjectMeta};

    fn pod(name: &str, args: &[&str]) -> Pod {
        let container =
            Container { args: args.iter().map(|a| (*a).to_owned()).collect(), ..Container::default() };
        let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
        Pod { metadata: ObjectMeta::named(name), spec: Arc::new(spec), ..Pod::default() }
    }

    #[test]
    fn equal_pods_share_a_class_also_without_sharing_a_spec() {
        let (mut classes, mut resources) = (Classes::default(), ResourceNames::default());
        let a = classes.of(&pod("a", &[]), &mut resources);
        let other = classes.of(&pod("other", &["x"]), &mut resources);
        let b = classes.of(&pod("b", &[]), &mut resources);
        assert!(Arc::ptr_eq(&a, &b));
        assert_ne!(a.id, other.id);
        let mut deleted = pod("b", &[]);
        deleted.metadata.deletion_timestamp = Some(crate::model::Timestamp::EPOCH);
        assert_ne!(classes.of(&deleted, &mut resources).id, a.id);
    }

    #[test]
    fn classes_that_nobody_uses_are_dropped() {
        let (mut classes, mut resources) = (Classes::default(), ResourceNames::default());
        let kept = classes.of(&pod("kept", &[]), &mut resources);
        for i in 0..3 * SPARE_CLASSES {
            classes.of(&pod("x", &[&i.to_string()]), &mut resources);
        }
        assert!(classes.known.len() <= SPARE_CLASSES + 2);
        assert!(Arc::ptr_eq(&classes.of(&pod("again", &[]), &mut resources), &kept));
    }
}
