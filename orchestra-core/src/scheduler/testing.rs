//! Objects for this module's tests.

use std::sync::Arc;

use super::{Decision, Outcome, Pending, Scheduler, View, schedule};
use crate::model::{Container, Labels, Node, ObjectMeta, Pod, Quantity, Uid};

/// A node with 4 CPUs, 8 GiB and room for 110 pods, in a zone, with its host name as a label.
pub(super) fn node(name: &str, zone: &str) -> Node {
    let mut node = Node { metadata: ObjectMeta::named(name), ..Node::default() };
    node.metadata.labels =
        Labels::from([("kubernetes.io/hostname", name), ("topology.kubernetes.io/zone", zone)]);
    for (resource, amount) in [("cpu", "4"), ("memory", "8Gi"), ("pods", "110")] {
        node.status.allocatable.insert(resource.into(), quantity(amount));
    }
    node
}

pub(super) fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

/// A pod with the label `app` and a request for CPU.
pub(super) fn pod(name: &str, app: &str, cpu: &str) -> Pod {
    let mut pod = Pod { metadata: ObjectMeta::named(name), ..Pod::default() };
    pod.metadata.namespace = "default".into();
    pod.metadata.uid = Uid::from(name);
    pod.metadata.labels = Labels::from([("app", app)]);
    let mut container = Container { name: "main".into(), ..Container::default() };
    container.resources.requests.insert("cpu".into(), quantity(cpu));
    pod.spec_mut().containers.push(container);
    pod
}

/// The pod, bound to a node.
pub(super) fn bound(mut pod: Pod, node: &str) -> Arc<Pod> {
    pod.node_name = Some(node.into());
    Arc::new(pod)
}

pub(super) fn view(nodes: impl IntoIterator<Item = Node>) -> View {
    let mut view = View::new();
    for node in nodes {
        view.node_changed(&Arc::new(node));
    }
    view
}

/// Schedules, and gives for each pod its node's name or why it waits.
pub(super) fn run<P: Into<Pending>>(
    scheduler: &mut dyn Scheduler,
    view: &mut View,
    pods: impl IntoIterator<Item = P>,
) -> Vec<(String, String)> {
    let decisions = schedule(scheduler, view, pods);
    decisions.into_iter().map(|d| (d.pod.metadata.name.clone(), outcome(&d))).collect()
}

fn outcome(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Assigned(node) => node.to_string(),
        Outcome::Pending(why) => why.to_string(),
        Outcome::Preempting { node, victims } => {
            let names: Vec<&str> = victims.iter().map(|victim| victim.metadata.name.as_str()).collect();
            format!("{node} without {}", names.join(", "))
        }
    }
}
