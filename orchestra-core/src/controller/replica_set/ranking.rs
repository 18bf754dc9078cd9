//! Which pods go first when there are too many.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::controller::workload::{Readiness, is_held_back, restarts};
use crate::model::{Pod, PodPhase, Timestamp};

/// The annotation that says what deleting a pod costs, compared with its siblings: an integer, 0 unless told.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod, and how it stands.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub(super) pod: Arc<Pod>,
    pub(super) readiness: Readiness,
}

impl Ranked {
    /// Whether the pod counts for availability: available, and in traffic.
    pub(super) fn serves(&self) -> bool {
        self.readiness == Readiness::Available && !is_held_back(&self.pod)
    }
}

/// Sorts the pods so that those come first that are missed least, in Kubernetes' order: not placed, not running, not
/// ready, not available, cheap, doubled up on a node, ready for a short time, often restarted, young.
pub(super) fn rank(pods: &mut [Ranked]) {
    let mut on_node: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for node in pods.iter().filter_map(|ranked| ranked.pod.node_name.clone()) {
        *on_node.entry(node).or_default() += 1;
    }
    pods.sort_by_cached_key(|ranked| {
        let pod = &ranked.pod;
        let phase = match pod.status.phase {
            PodPhase::Pending => 0,
            PodPhase::Unknown => 1,
            _ => 2,
        };
        let ready = match ranked.readiness {
            Readiness::NotReady => 0,
            Readiness::Ready => 1,
            Readiness::Available => 2,
        };
        let cost = pod.metadata.annotations.value(DELETION_COST).and_then(|cost| cost.parse::<i32>().ok());
        let doubled = pod.node_name.as_ref().and_then(|node| on_node.get(node)).copied().unwrap_or(0);
        let created = pod.metadata.creation_timestamp.unwrap_or(Timestamp::EPOCH);
        let name = pod.metadata.name.clone();
        (
            (pod.node_name.is_some(), phase, ready, cost.unwrap_or(0), Reverse(doubled)),
            (Reverse(pod.ready_since()), Reverse(restarts(pod)), Reverse(created), name),
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Condition, ContainerStatus};

    fn pod(name: &str, change: impl FnOnce(&mut Pod)) -> Ranked {
        let mut pod = Pod::new(name).node("a");
        pod.metadata.creation_timestamp = Some(Timestamp::from_micros(100));
        pod.status.phase = PodPhase::Running;
        pod.status.conditions = vec![Condition::new("Ready", true, Timestamp::from_micros(200))];
        change(&mut pod);
        let readiness = if pod.is_ready() { Readiness::Available } else { Readiness::NotReady };
        Ranked { pod: Arc::new(pod), readiness }
    }

    #[test]
    fn those_missed_least_come_first() {
        let mut pods = vec![
            pod("best", |p| p.node_name = Some("c".into())),
            pod("young", |p| {
                p.node_name = Some("d".into());
                p.metadata.creation_timestamp = Some(Timestamp::from_micros(150));
            }),
            pod("restarted", |p| {
                p.node_name = Some("e".into());
                p.status.container_statuses =
                    vec![ContainerStatus { restart_count: 2, ..Default::default() }];
            }),
            pod("just-ready", |p| {
                p.node_name = Some("f".into());
                p.status.conditions = vec![Condition::new("Ready", true, Timestamp::from_micros(900))];
            }),
            pod("doubled", |p| p.node_name = Some("b".into())),
            pod("cheap", |p| {
                p.node_name = Some("b".into());
                p.metadata.annotations.insert(DELETION_COST.into(), "-5".into());
            }),
            pod("unready", |p| p.status.conditions.clear()),
            pod("pending", |p| p.status.phase = PodPhase::Pending),
            pod("unplaced", |p| {
                p.node_name = None;
                p.status.phase = PodPhase::Pending;
            }),
        ];
        pods[0].readiness = Readiness::Available;
        pods.push(pod("not-listed", |p| p.node_name = Some("g".into())));
        pods.last_mut().unwrap().readiness = Readiness::Ready;
        pods.reverse();
        rank(&mut pods);
        let names: Vec<_> = pods.iter().map(|r| r.pod.metadata.name.as_str()).collect();
        let expected = [
            "unplaced",
            "pending",
            "unready",
            "not-listed",
            "cheap",
            "doubled",
            "just-ready",
            "restarted",
            "young",
            "best",
        ];
        assert_eq!(names, expected);
    }
}
