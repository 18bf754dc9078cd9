//! Clusters for schedulers, made in a line.

use std::sync::Arc;

use orchestra_core::model::{Labels, Node, Pod, PodSpec, Quantity, Uid};
use orchestra_core::scheduler::View;

/// The label with a node's name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label with a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Many nodes alike, to be made different where that matters.
///
/// ```
/// use orchestra_testkit::scheduler_contract::Nodes;
///
/// let view = Nodes::uniform(10_000)
///     .zones(3)
///     .each(|i, node| if i % 10 == 0 { node.label("disk", "ssd") } else { node })
///     .view();
/// assert_eq!(view.len(), 10_000);
/// ```
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// `count` nodes, `node-0` and so on, with 4 CPUs, 32 GiB and room for 110 pods each: the nodes of
    /// Kubernetes' scheduler benchmarks. Each has its name as the label [`HOSTNAME`].
    #[must_use]
    pub fn uniform(count: usize) -> Self {
        let node = |i: usize| {
            let name = format!("node-{i}");
            let node = Node::new(name.as_str()).label(HOSTNAME, name);
            node.capacity("cpu", "4").capacity("memory", "32Gi").capacity("pods", "110")
        };
        Self((0..count).map(node).collect())
    }

    /// Puts the nodes into `count` zones in turn: the label [`ZONE`].
    #[must_use]
    pub fn zones(self, count: usize) -> Self {
        self.each(|i, node| node.label(ZONE, format!("zone-{}", i % count.max(1))))
    }

    /// Sets how much of a resource each node has.
    ///
    /// # Panics
    /// Where `amount` is not a quantity.
    #[must_use]
    pub fn capacity(self, resource: &str, amount: &str) -> Self {
        let amount: Quantity = amount.parse().expect("a quantity");
        self.each(|_, node| node.capacity(resource, amount))
    }

    /// Changes each node, which is given with its number.
    #[must_use]
    pub fn each(self, mut change: impl FnMut(usize, Node) -> Node) -> Self {
        Self(self.0.into_iter().enumerate().map(|(i, node)| change(i, node)).collect())
    }

    /// The nodes.
    #[must_use]
    pub fn build(self) -> Vec<Arc<Node>> {
        self.0.into_iter().map(Arc::new).collect()
    }

    /// A view of a cluster of these nodes, without pods.
    #[must_use]
    pub fn view(self) -> View {
        let mut view = View::new();
        for node in self.build() {
            view.node_changed(&node);
        }
        view
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nodes({})", self.0.len())
    }
}

/// `count` equal pods, as a Deployment has them: `name-0` and so on in the namespace `default`, with the label
/// `app=name` and one spec that they share.
#[must_use]
pub fn replicas(name: &str, count: usize, spec: PodSpec) -> Vec<Arc<Pod>> {
    let (spec, labels) = (Arc::new(spec), Labels::from([("app", name)]));
    let pod = |i: usize| {
        let mut pod = Pod::new(format!("{name}-{i}")).namespace("default");
        pod.metadata.uid = Uid::from(format!("{name}-{i}"));
        pod.metadata.labels = labels.clone();
        pod.spec = Arc::clone(&spec);
        Arc::new(pod)
    };
    (0..count).map(pod).collect()
}
