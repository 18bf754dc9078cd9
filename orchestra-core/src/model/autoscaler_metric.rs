//! What an autoscaler measures.

use serde::{Deserialize, Serialize};

use super::{CrossVersionObjectReference, Extra, LabelSelector, Quantity};

/// A measurement and its target. The field that belongs to `type_` is set, the others are not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricSpec {
    /// Where the measurement comes from.
    #[serde(rename = "type")]
    pub type_: MetricSourceType,
    /// CPU or memory of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceMetricSource>,
    /// CPU or memory of one container of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_resource: Option<ContainerResourceMetricSource>,
    /// A measurement of each of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsMetricSource>,
    /// A measurement of another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectMetricSource>,
    /// A measurement from outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalMetricSource>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl MetricSpec {
    /// A resource of the pods (`cpu`, `memory`) that is to meet `target`.
    #[must_use]
    pub fn resource(name: impl Into<String>, target: MetricTarget) -> Self {
        let resource = ResourceMetricSource { name: name.into(), target, ..ResourceMetricSource::default() };
        Self { type_: MetricSourceType::Resource, resource: Some(resource), ..Self::default() }
    }

    /// A measurement of each of the pods that is to be `average` on average.
    #[must_use]
    pub fn pods(name: impl Into<String>, average: Quantity) -> Self {
        let metric = MetricIdentifier::new(name);
        let pods = PodsMetricSource {
            metric,
            target: MetricTarget::average(average),
            ..PodsMetricSource::default()
        };
        Self { type_: MetricSourceType::Pods, pods: Some(pods), ..Self::default() }
    }

    /// A measurement from outside of the cluster that is to meet `target`.
    #[must_use]
    pub fn external(name: impl Into<String>, target: MetricTarget) -> Self {
        let external = ExternalMetricSource {
            metric: MetricIdentifier::new(name),
            target,
            ..ExternalMetricSource::default()
        };
        Self { type_: MetricSourceType::External, external: Some(external), ..Self::default() }
    }
}

/// Where a measurement comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MetricSourceType {
    /// CPU or memory of the pods.
    #[default]
    Resource,
    /// CPU or memory of one container of the pods.
    ContainerResource,
    /// A measurement of each of the pods.
    Pods,
    /// A measurement of another object.
    Object,
    /// A measurement from outside of the cluster.
    External,
}

/// CPU or memory of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceMetricSource {
    /// `cpu` or `memory`.
    pub name: String,
    /// What it is to be.
    pub target: MetricTarget,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// CPU or memory of one container of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResourceMetricSource {
    /// `cpu` or `memory`.
    pub name: String,
    /// The container.
    pub container: String,
    /// What it is to be.
    pub target: MetricTarget,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A measurement of each of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodsMetricSource {
    /// Which measurement.
    pub metric: MetricIdentifier,
    /// What it is to be, on average.
    pub target: MetricTarget,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A measurement of another object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetricSource {
    /// The object.
    pub described_object: CrossVersionObjectReference,
    /// Which measurement.
    pub metric: MetricIdentifier,
    /// What it is to be.
    pub target: MetricTarget,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A measurement from outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalMetricSource {
    /// Which measurement.
    pub metric: MetricIdentifier,
    /// What it is to be.
    pub target: MetricTarget,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Names a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricIdentifier {
    /// Its name.
    pub name: String,
    /// Which of the series of that name; all where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl MetricIdentifier {
    /// The measurement of that name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// What a measurement is to be. The field that belongs to `type_` is set, the others are not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricTarget {
    /// What is compared.
    #[serde(rename = "type")]
    pub type_: MetricTargetType,
    /// Hundredths of what the pods request, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_utilization: Option<u32>,
    /// A value for each pod, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// A value for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl MetricTarget {
    /// That many hundredths of what the pods request.
    #[must_use]
    pub fn utilization(percent: u32) -> Self {
        Self { type_: MetricTargetType::Utilization, average_utilization: Some(percent), ..Self::default() }
    }

    /// That value for each pod, on average.
    #[must_use]
    pub fn average(value: Quantity) -> Self {
        Self { type_: MetricTargetType::AverageValue, average_value: Some(value), ..Self::default() }
    }

    /// That value for all of it.
    #[must_use]
    pub fn value(value: Quantity) -> Self {
        Self { type_: MetricTargetType::Value, value: Some(value), ..Self::default() }
    }
}

/// What of a measurement is compared with its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MetricTargetType {
    /// Its share of what the pods request.
    #[default]
    Utilization,
    /// Its value.
    Value,
    /// Its value divided by the number of pods.
    AverageValue,
}
