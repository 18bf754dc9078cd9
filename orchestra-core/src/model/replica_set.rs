//! Replica sets: a number of equal pods.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Condition, Extra, LabelSelector, ObjectMeta, PodTemplateSpec, TypeMeta};
use crate::object;

/// Keeps a number of equal pods. Usually made by a [`Deployment`](super::Deployment), one for each version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSet {
    /// `apps/v1`, `ReplicaSet`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: ReplicaSetSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: ReplicaSetStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(ReplicaSet, "apps", "v1", "replicasets", namespaced: true, desired: [spec, extra], status: status);

/// What is desired of a [`ReplicaSet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    /// How many pods: one unless told otherwise.
    pub replicas: u32,
    /// How long a pod must have been ready to count as available, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub min_ready_seconds: u32,
    /// Which pods are counted. It must match the template's labels, and can't be changed.
    pub selector: LabelSelector,
    /// What new pods are made of.
    pub template: PodTemplateSpec,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for ReplicaSetSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            min_ready_seconds: 0,
            selector: LabelSelector::default(),
            template: PodTemplateSpec::default(),
            extra: Extra::default(),
        }
    }
}

/// What is observed of a [`ReplicaSet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// How many pods exist that aren't ending.
    pub replicas: u32,
    /// How many of them have all of the template's labels.
    #[serde(skip_serializing_if = "is_default")]
    pub fully_labeled_replicas: u32,
    /// How many of them are ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: u32,
    /// How many of them have been ready for long enough.
    #[serde(skip_serializing_if = "is_default")]
    pub available_replicas: u32,
    /// How many pods are ending. `None`: not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<u32>,
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// `ReplicaFailure`: whether pods can't be made or deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
