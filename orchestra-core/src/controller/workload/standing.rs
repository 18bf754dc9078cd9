//! How pods stand: one by one, and in numbers.

use std::time::Duration;

use crate::controller::endpoints::TRAFFIC_LABEL;
use crate::model::{Pod, ReplicaSet, Timestamp};
use crate::rollout::SETTLE;

/// Whether a pod can serve, and is known to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::controller) enum Readiness {
    NotReady,
    /// Ready, but not for long enough, or not yet known to every balancer.
    Ready,
    Available,
}

/// How the pods of one owner stand, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::controller) struct Standing {
    /// All there are, with those that are over.
    pub(in crate::controller) all: u32,
    /// Neither ending nor over.
    pub(in crate::controller) alive: u32,
    pub(in crate::controller) ready: u32,
    pub(in crate::controller) available: u32,
    pub(in crate::controller) terminating: u32,
    pub(in crate::controller) crashing: u32,
    /// Of those alive, how many are kept out of traffic.
    pub(in crate::controller) held_back: u32,
    /// The most restarts of one container.
    pub(in crate::controller) restarts: u32,
    /// When time alone next makes a pod available.
    pub(in crate::controller) next: Option<Timestamp>,
}

/// How long a pod of `set` must have been ready until pods of other versions may be given up for it.
pub(in crate::controller) fn settles_after(set: &ReplicaSet) -> Duration {
    let min_ready = Duration::from_secs(set.spec.min_ready_seconds.into());
    let probed = set.spec.template.spec.containers.iter().all(|c| c.readiness_probe.is_some());
    if min_ready.is_zero() && !probed { SETTLE } else { min_ready }
}

/// Whether the pod is kept out of traffic.
pub(in crate::controller) fn is_held_back(pod: &Pod) -> bool {
    pod.metadata.labels.value(TRAFFIC_LABEL) == Some("off")
}

/// The most restarts of one of the pod's containers.
pub(in crate::controller) fn restarts(pod: &Pod) -> u32 {
    let containers = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    containers.map(|c| c.restart_count).max().unwrap_or(0)
}

/// Whether a container of the pod waits because it keeps crashing.
pub(super) fn is_crashing(pod: &Pod) -> bool {
    let waiting = pod.status.container_statuses.iter().filter_map(|c| c.state.waiting());
    waiting.into_iter().any(|waiting| waiting.reason == "CrashLoopBackOff")
}
