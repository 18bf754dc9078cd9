//! The pods that come most often: what a fragmentation score takes the room of nodes to be for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::View;
use super::class::PodClass;
use super::columns::{ResourceId, ResourceNames, amount};
use super::undo::Undo;
use crate::model::{GPU, GPU_MILLI, GpuRequest, Pod, ResourceList};

/// How many shapes of pods are told apart. Beyond it, those of the fewest pods are left out.
const MAX_SHAPES: usize = 128;
/// The first time, pods are learnt from when there are so many.
const LEAST_PODS: usize = 16;

/// What some pods ask for, and how many they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    /// In the order of [`TypicalPods::resources`].
    pub(crate) amounts: Box<[i64]>,
    pub(crate) gpus: GpuRequest,
    /// The part of all pods, 0.0 to 1.0.
    pub(crate) popularity: f64,
}

/// What pods ask for, and how often such pods come. Pods that ask for the same count together; beyond 128 different
/// ones, the rarest are left out. A clone shares the shapes.
///
/// ```
/// # use orchestra_core::model::{Container, Pod, PodSpec};
/// use orchestra_core::scheduler::TypicalPods;
///
/// let pod = |name: &str, gpu| Pod::new(name).spec(PodSpec::new(Container::new("main", "app").request("nvidia.com/gpu", gpu)));
/// let (small, large) = (pod("small", "1"), pod("large", "8"));
/// let typical = TypicalPods::weighted([(&small, 0.9), (&large, 0.1)]);
/// assert_eq!(typical.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TypicalPods(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    resources: Vec<(Arc<str>, Option<ResourceId>)>,
    shapes: Vec<Shape>,
}

/// Amounts by name, without GPUs; and GPUs.
type Request = (BTreeMap<Arc<str>, i64>, GpuRequest);

impl TypicalPods {
    /// What these pods ask for, each as often as it comes up.
    #[must_use]
    pub fn of<'p>(pods: impl IntoIterator<Item = &'p Pod>) -> Self {
        Self::weighted(pods.into_iter().map(|pod| (pod, 1.0)))
    }

    /// What these pods ask for, with how often each comes: any positive numbers, of which the sum counts as all pods.
    #[must_use]
    pub fn weighted<'p>(pods: impl IntoIterator<Item = (&'p Pod, f64)>) -> Self {
        Self::new(pods.into_iter().map(|(pod, weight)| (request(&pod.spec.requests()), weight)))
    }

    fn new(requests: impl Iterator<Item = (Request, f64)>) -> Self {
        let mut counts: BTreeMap<Request, f64> = BTreeMap::new();
        for (request, weight) in requests.filter(|(_, weight)| *weight > 0.0) {
            *counts.entry(request).or_insert(0.0) += weight;
        }
        let mut counts: Vec<(Request, f64)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.total_cmp(&a.1));
        counts.truncate(MAX_SHAPES);
        let all: f64 = counts.iter().map(|(_, weight)| weight).sum();
        let mut names: Vec<Arc<str>> = vec!["cpu".into(), "memory".into()];
        for name in counts.iter().flat_map(|((amounts, _), _)| amounts.keys()) {
            if !names.contains(name) {
                names.push(Arc::clone(name));
            }
        }
        let shape = |((amounts, gpus), weight): (Request, f64)| Shape {
            amounts: names.iter().map(|name| amounts.get(name).copied().unwrap_or(0)).collect(),
            gpus,
            popularity: weight / all,
        };
        let shapes = counts.into_iter().map(shape).collect();
        let fixed = ResourceNames::default();
        let resources = names.iter().map(|name| (Arc::clone(name), fixed.get(name))).collect();
        Self(Arc::new(Known { resources, shapes }))
    }

    /// How many different ones there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shapes.len()
    }

    /// Whether these are the very same, and not only equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.shapes.is_empty()
    }

    pub(crate) fn shapes(&self) -> &[Shape] {
        &self.0.shapes
    }

    /// The resources that amounts are of, with their numbers where these are the same in every view: CPU, memory, and
    /// whatever else a pod asks for that is no GPU.
    pub(crate) fn resources(&self) -> &[(Arc<str>, Option<ResourceId>)] {
        &self.0.resources
    }
}

fn request(list: &ResourceList) -> Request {
    let of = |name: &str| list.get(name).map_or(0, |quantity| amount(name, *quantity));
    let others = list.keys().filter(|name| ![GPU, GPU_MILLI, "pods"].contains(&name.as_str()));
    let amounts = others.map(|name| (Arc::from(name.as_str()), of(name))).filter(|(_, amount)| *amount > 0);
    (amounts.collect(), GpuRequest::new(of(GPU), of(GPU_MILLI)))
}

/// What a view knows of the pods that come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    typical: TypicalPods,
    /// Of what is known now; never used for anything else.
    version: u64,
    /// How many pods it was learnt from.
    pods: usize,
}

/// How a view learns.
#[derive(Debug, Default)]
pub(super) struct Learning {
    on: bool,
    learnt: Learnt,
    next: u64,
}

impl View {
    /// Has the view learn from now on which pods are typical: from those on nodes, anew each time their number has doubled
    /// or fallen to a quarter, from 16 pods on.
    pub fn learn_typical_pods(&mut self) {
        if !self.learning.on {
            self.learning.on = true;
            self.learning.learnt = self.learn();
        }
    }

    /// The typical pods that the view has learnt; none before it was told to
    /// [learn](Self::learn_typical_pods) and has seen some.
    #[must_use]
    pub fn typical_pods(&self) -> &TypicalPods {
        &self.learning.learnt.typical
    }

    /// A number that changes with the typical pods.
    #[must_use]
    pub fn typical_pods_version(&self) -> u64 {
        self.learning.learnt.version
    }

    /// Learns where it is time to.
    pub(super) fn learn_if_due(&mut self) {
        let (before, now) = (self.learning.learnt.pods, self.pods.len());
        let due = now >= LEAST_PODS && (now >= 2 * before || now < before / 4);
        if self.learning.on && due {
            let learnt = self.learn();
            let before = std::mem::replace(&mut self.learning.learnt, learnt);
            if self.trail.is_on() {
                self.trail.push(Undo::Learnt(before));
            }
        }
    }

    fn learn(&mut self) -> Learnt {
        let pods = self.pods.len();
        let of_class = |class: &PodClass| {
            let named = class.requests.iter().map(|(id, amount)| (self.resources.name(*id), *amount));
            let others = named.filter(|(name, _)| ![GPU, GPU_MILLI, "pods"].contains(name));
            (others.map(|(name, amount)| (Arc::from(name), amount)).collect(), class.gpus)
        };
        let count = |nodes: u32| f64::from(nodes);
        let typical =
            if pods < LEAST_PODS {
                TypicalPods::default()
            } else {
                TypicalPods::new(self.residents.iter().map(|class| {
                    (of_class(&class.class), class.nodes.iter().map(|(_, pods)| count(pods)).sum())
                }))
            };
        self.learning.next += 1;
        Learnt { typical, version: self.learning.next, pods: if pods < LEAST_PODS { 0 } else { pods } }
    }

    /// Takes back what was learnt while something was tried out.
    pub(super) fn unlearn(&mut self, before: Learnt) {
        self.learning.learnt = before;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::scheduler::testing::{bound, node, pod, view};
    use crate::scheduler::{TypicalPods, View};

    fn popularities(typical: &TypicalPods) -> Vec<(i64, f64)> {
        typical.shapes().iter().map(|shape| (shape.amounts[0], shape.popularity)).collect()
    }

    fn fill(view: &mut View, pods: std::ops::Range<usize>, cpu: &str) {
        for i in pods {
            view.pod_changed(&bound(pod(&format!("p{i}"), "web", cpu), "n"));
        }
    }

    #[test]
    fn equal_requests_count_together() {
        let pods =
            [pod("a", "web", "1"), pod("b", "other", "1"), pod("c", "web", "2"), pod("d", "web", "1000m")];
        assert_eq!(popularities(&TypicalPods::of(&pods)), [(1000, 0.75), (2000, 0.25)]);
        let many: Vec<_> = (1..200).map(|i| pod("p", "web", &format!("{i}m"))).collect();
        assert_eq!(TypicalPods::of(&many).len(), super::MAX_SHAPES);
    }

    #[test]
    fn a_view_learns_anew_when_its_pods_have_doubled() {
        let mut view = view([node("n", "a")]);
        view.learn_typical_pods();
        fill(&mut view, 0..15, "1");
        assert!(view.typical_pods().is_empty());
        fill(&mut view, 15..16, "1");
        assert_eq!(popularities(view.typical_pods()), [(1000, 1.0)]);
        let version = view.typical_pods_version();
        fill(&mut view, 16..31, "2");
        assert_eq!(view.typical_pods_version(), version);
        // What is only tried out teaches nothing.
        view.what_if(|view| {
            fill(view, 31..90, "3");
            assert_ne!(view.typical_pods_version(), version);
            for i in 0..85 {
                view.pod_removed(&format!("p{i}").as_str().into());
            }
        });
        assert_eq!(view.typical_pods_version(), version);
        fill(&mut view, 31..32, "2");
        assert_eq!(popularities(view.typical_pods()), [(1000, 0.5), (2000, 0.5)]);
        let mut never_told = super::super::View::new();
        never_told.node_changed(&Arc::new(node("n", "a")));
        fill(&mut never_told, 0..40, "1");
        assert!(never_told.typical_pods().is_empty());
    }
}
