//! Autoscalers: how many replicas something needs, by what is measured.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{
    AutoscalerBehavior, Condition, Extra, MetricSpec, MetricStatus, MetricTarget, ObjectMeta, Resource,
    Timestamp, TypeMeta,
};
use crate::object;

/// Keeps the number of replicas of something between two bounds such that what is measured meets its target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HorizontalPodAutoscaler {
    /// `autoscaling/v2`, `HorizontalPodAutoscaler`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: HorizontalPodAutoscalerSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: HorizontalPodAutoscalerStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(HorizontalPodAutoscaler, "autoscaling", "v2", "horizontalpodautoscalers", namespaced: true,
        desired: [spec, extra], status: status);

/// What is desired by a [`HorizontalPodAutoscaler`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HorizontalPodAutoscalerSpec {
    /// What is scaled.
    pub scale_target_ref: CrossVersionObjectReference,
    /// The least number of replicas: one unless told otherwise.
    pub min_replicas: u32,
    /// The greatest number of replicas.
    pub max_replicas: u32,
    /// What is measured. The metric that asks for the most replicas decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricSpec>,
    /// How fast it acts; `None` means Kubernetes' defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<AutoscalerBehavior>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for HorizontalPodAutoscalerSpec {
    fn default() -> Self {
        Self {
            scale_target_ref: CrossVersionObjectReference::default(),
            min_replicas: 1,
            max_replicas: 0,
            metrics: Vec::new(),
            behavior: None,
            extra: Extra::default(),
        }
    }
}

/// Names an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrossVersionObjectReference {
    /// Its `apiVersion`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl CrossVersionObjectReference {
    /// Names the `T` called `name`.
    #[must_use]
    pub fn to<T: Resource>(name: impl Into<String>) -> Self {
        Self {
            api_version: T::INFO.api_version(),
            kind: T::INFO.kind.to_string(),
            name: name.into(),
            extra: Extra::default(),
        }
    }
}

/// What is observed by a [`HorizontalPodAutoscaler`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HorizontalPodAutoscalerStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// When it last changed the number of replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Timestamp>,
    /// How many replicas there were when it last looked.
    pub current_replicas: u32,
    /// How many replicas it wants.
    pub desired_replicas: u32,
    /// What it measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub current_metrics: Vec<MetricStatus>,
    /// `AbleToScale`, `ScalingActive`, `ScalingLimited`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl HorizontalPodAutoscaler {
    /// An autoscaler that still needs a target, a range, and something to measure.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Sets what is scaled: the `T` called `name` in the same namespace.
    #[must_use]
    pub fn target<T: Resource>(mut self, name: impl Into<String>) -> Self {
        self.spec.scale_target_ref = CrossVersionObjectReference::to::<T>(name);
        self
    }

    /// Sets the least and the greatest number of replicas.
    #[must_use]
    pub fn range(mut self, replicas: RangeInclusive<u32>) -> Self {
        (self.spec.min_replicas, self.spec.max_replicas) = replicas.into_inner();
        self
    }

    /// Measures the pods' CPU: it is to be that many hundredths of what they request.
    #[must_use]
    pub fn cpu(self, percent: u32) -> Self {
        self.metric(MetricSpec::resource("cpu", MetricTarget::utilization(percent)))
    }

    /// Measures something else too.
    #[must_use]
    pub fn metric(mut self, metric: MetricSpec) -> Self {
        self.spec.metrics.push(metric);
        self
    }

    /// Sets how fast it acts.
    #[must_use]
    pub fn behavior(mut self, behavior: AutoscalerBehavior) -> Self {
        self.spec.behavior = Some(behavior);
        self
    }
}
