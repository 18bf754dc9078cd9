//! Autoscalers: how many replicas something needs, by what is measured.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::{Rules, object};
use super::{AutoscalerBehavior, Condition, Extra, MetricSpec, MetricStatus, ObjectMeta, Timestamp, TypeMeta};

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
        desired: [spec], status: status);

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

impl Rules for HorizontalPodAutoscaler {}
