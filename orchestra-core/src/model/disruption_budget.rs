//! How many pods may be missing at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::Rules;
use super::selector_rules::validate_selector;
use super::workload_rules::at_most_all;
use super::{
    Condition, Extra, FieldErrors, IntOrPercent, LabelSelector, Labels, ObjectMeta, Pod, Timestamp, TypeMeta,
};
use crate::object;

/// Limits how many of some pods may be missing because somebody wanted them gone.
///
/// Exactly one of `min_available` and `max_unavailable` is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudget {
    /// `policy/v1`, `PodDisruptionBudget`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: PodDisruptionBudgetSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: PodDisruptionBudgetStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(PodDisruptionBudget, "policy", "v1", "poddisruptionbudgets", namespaced: true,
        desired: [spec, extra], status: status);

/// What is desired by a [`PodDisruptionBudget`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetSpec {
    /// How many of the pods must stay ready; a share is of those that their controllers want, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrPercent>,
    /// How many of the pods may be missing; a share is of those that their controllers want, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrPercent>,
    /// The pods. An empty selector means all of the namespace; none means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Which pods that are not ready may be evicted all the same.
    #[serde(skip_serializing_if = "is_default")]
    pub unhealthy_pod_eviction_policy: UnhealthyPodEvictionPolicy,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which pods that are not ready may be evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnhealthyPodEvictionPolicy {
    /// Running ones, where the budget holds without them.
    #[default]
    IfHealthyBudget,
    /// Running ones always.
    AlwaysAllow,
}

/// What is observed by a [`PodDisruptionBudget`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// How many pods may go now.
    pub disruptions_allowed: u32,
    /// How many pods are ready.
    pub current_healthy: u32,
    /// How many must stay ready.
    pub desired_healthy: u32,
    /// How many pods are counted.
    pub expected_pods: u32,
    /// Pods whose eviction was allowed but not yet seen, with the time of the eviction.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disrupted_pods: BTreeMap<String, Timestamp>,
    /// `DisruptionAllowed`: whether a pod may go now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl PodDisruptionBudget {
    /// A budget for the pods labelled `app: <name>`, which still needs one of its two numbers.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let selector = Some(LabelSelector::labels([("app", name.as_str())]));
        let spec = PodDisruptionBudgetSpec { selector, ..PodDisruptionBudgetSpec::default() };
        Self { metadata: ObjectMeta::named(name), spec, ..Self::default() }
    }

    /// Whether its selector has `pod`, a pod of its namespace.
    #[must_use]
    pub fn covers(&self, pod: &Pod) -> bool {
        self.spec.selector.as_ref().is_some_and(|selector| selector.matches(&pod.metadata.labels))
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Chooses the pods with these labels instead.
    #[must_use]
    pub fn selector(mut self, labels: impl Into<Labels>) -> Self {
        self.spec.selector = Some(LabelSelector::labels(labels));
        self
    }

    /// Sets how many pods must stay ready.
    #[must_use]
    pub fn min_available(mut self, min: impl Into<IntOrPercent>) -> Self {
        self.spec.min_available = Some(min.into());
        self
    }

    /// Sets how many pods may be missing.
    #[must_use]
    pub fn max_unavailable(mut self, max: impl Into<IntOrPercent>) -> Self {
        self.spec.max_unavailable = Some(max.into());
        self
    }
}

impl Rules for PodDisruptionBudget {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            match (self.spec.min_available, self.spec.max_unavailable) {
                (Some(_), Some(_)) => errors.push("minAvailable and maxUnavailable can't both be set"),
                (None, None) => errors.push("needs minAvailable or maxUnavailable"),
                (Some(share), None) => errors.at("minAvailable", |errors| at_most_all(share, errors)),
                (None, Some(share)) => errors.at("maxUnavailable", |errors| at_most_all(share, errors)),
            }
            if let Some(selector) = &self.spec.selector {
                errors.at("selector", |errors| validate_selector(selector, errors));
            }
        });
    }
}
