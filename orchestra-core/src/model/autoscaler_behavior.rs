//! How fast an autoscaler acts.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Extra, Quantity};

/// How fast a [`HorizontalPodAutoscaler`](super::HorizontalPodAutoscaler) acts, in each direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerBehavior {
    /// Towards more replicas; Kubernetes' defaults where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// Towards fewer replicas; Kubernetes' defaults where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How fast an autoscaler acts in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingRules {
    /// It follows the most cautious of the wishes of that many seconds, at most an hour of them; `None` means
    /// 0 for more replicas and 300 for fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilization_window_seconds: Option<u32>,
    /// Which of the policies counts.
    #[serde(skip_serializing_if = "is_default")]
    pub select_policy: SelectPolicy,
    /// How much may change in how much time. Kubernetes' defaults where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ScalingPolicy>,
    /// How far from its target a measurement may be, as a share of it, before it acts; a tenth where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Quantity>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which of several [`ScalingPolicy`]s counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction at all.
    Disabled,
}

/// A bound on how much may change in how much time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub type_: ScalingPolicyType,
    /// How much may change. More than zero.
    pub value: u32,
    /// In that many seconds, from 1 to 1,800.
    pub period_seconds: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What the value of a [`ScalingPolicy`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScalingPolicyType {
    /// Pods.
    #[default]
    Pods,
    /// Hundredths of the replicas at the start of the period.
    Percent,
}
