//! What an autoscaler measured.

use serde::{Deserialize, Serialize};

use super::{CrossVersionObjectReference, Extra, MetricIdentifier, MetricSourceType, Quantity};

/// What was measured. The field that belongs to `type_` is set, the others are not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Where the measurement comes from.
    #[serde(rename = "type")]
    pub type_: MetricSourceType,
    /// CPU or memory of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceMetricStatus>,
    /// CPU or memory of one container of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_resource: Option<ContainerResourceMetricStatus>,
    /// A measurement of each of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsMetricStatus>,
    /// A measurement of another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectMetricStatus>,
    /// A measurement from outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalMetricStatus>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was measured of a resource of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceMetricStatus {
    /// `cpu` or `memory`.
    pub name: String,
    /// What it is.
    pub current: MetricValueStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was measured of a resource of one container of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResourceMetricStatus {
    /// `cpu` or `memory`.
    pub name: String,
    /// The container.
    pub container: String,
    /// What it is.
    pub current: MetricValueStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was measured of each of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodsMetricStatus {
    /// Which measurement.
    pub metric: MetricIdentifier,
    /// What it is, on average.
    pub current: MetricValueStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was measured of another object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetricStatus {
    /// The object.
    pub described_object: CrossVersionObjectReference,
    /// Which measurement.
    pub metric: MetricIdentifier,
    /// What it is.
    pub current: MetricValueStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was measured outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalMetricStatus {
    /// Which measurement.
    pub metric: MetricIdentifier,
    /// What it is.
    pub current: MetricValueStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a measurement is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricValueStatus {
    /// Hundredths of what the pods request, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_utilization: Option<u32>,
    /// A value for each pod, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// A value for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
