//! What an autoscaler is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ScaleHistory;
use crate::model::{HorizontalPodAutoscalerSpec, Quantity, Timestamp};

/// What an autoscaler is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScaleView<'a> {
    /// The autoscaler's namespace and name, for messages.
    pub name: &'a str,
    /// How many replicas the target is told to have.
    pub current: u32,
    /// What is desired: bounds, metrics, behavior.
    pub spec: &'a HorizontalPodAutoscalerSpec,
    /// The target's pods, in any order.
    pub pods: Vec<PodSample<'a>>,
    /// What was measured, for each of the spec's metrics in their order. Where it is shorter, the rest is missing.
    pub readings: Vec<Reading>,
    /// What the last decision asked to be remembered.
    pub history: ScaleHistory,
}

impl<'a> ScaleView<'a> {
    /// A target with so many replicas, of which no pods and no measurements are known.
    #[must_use]
    pub fn new(name: &'a str, spec: &'a HorizontalPodAutoscalerSpec, current: u32) -> Self {
        let history = ScaleHistory::default();
        Self { name, current, spec, pods: Vec::new(), readings: Vec::new(), history }
    }

    /// `n` brought within the spec's bounds.
    #[must_use]
    pub fn clamp(&self, n: u32) -> u32 {
        n.min(self.spec.max_replicas).max(self.spec.min_replicas)
    }

    /// Whether autoscaling is switched off: the target was scaled to zero by hand, and zero is below the spec's bounds.
    /// Then it stays at zero until it is scaled up by hand.
    #[must_use]
    pub fn is_switched_off(&self) -> bool {
        self.current == 0 && self.spec.min_replicas != 0
    }

    /// The pods that count: neither ending nor over nor kept out of traffic, and not more than are desired. Ready
    /// ones go before others, older ones before younger ones. So pods that a rollout adds for a while don't count.
    #[must_use]
    pub fn counted(&self) -> Vec<&PodSample<'a>> {
        let mut pods: Vec<_> = self.pods.iter().filter(|pod| !pod.ignored).collect();
        pods.sort_by_key(|pod| (!pod.ready, pod.created_at, pod.name));
        pods.truncate(usize::try_from(self.current).unwrap_or(usize::MAX));
        pods
    }
}

/// One pod of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodSample<'a> {
    /// The pod's name.
    pub name: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started on its node; `None`: it was not yet.
    pub started_at: Option<Timestamp>,
    /// Whether it is ready.
    pub ready: bool,
    /// When `ready` last changed.
    pub ready_changed_at: Option<Timestamp>,
    /// Whether it doesn't count: it is ending, over, or kept out of traffic.
    pub ignored: bool,
}

impl<'a> PodSample<'a> {
    /// A pod that was made, started and ready at `at`.
    #[must_use]
    pub fn ready(name: &'a str, at: Timestamp) -> Self {
        Self {
            name,
            created_at: at,
            started_at: Some(at),
            ready: true,
            ready_changed_at: Some(at),
            ignored: false,
        }
    }

    /// A pod that was made at `at` and has not been started.
    #[must_use]
    pub fn pending(name: &'a str, at: Timestamp) -> Self {
        Self { name, created_at: at, ..Self::default() }
    }
}

/// What was measured of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// What it is: CPUs, bytes, or whatever the metric counts.
    pub value: Quantity,
    /// What the pod requests of that resource; `None`: nothing, or it is no resource.
    pub request: Option<Quantity>,
    /// The end of the time that it was measured over.
    pub at: Timestamp,
    /// The length of the time that it was measured over.
    pub window: Duration,
}

/// What was measured for one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// Of each pod, by name. Pods that are not there were not measured.
    Pods(BTreeMap<String, Sample>),
    /// Of an object, or of something outside.
    Whole(Quantity),
    /// It could not be measured, and why.
    Missing(String),
}
