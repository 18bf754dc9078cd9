//! Deployments: versions of a set of equal pods, one after the other.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Condition, Extra, IntOrPercent, LabelSelector, ObjectMeta, PodTemplateSpec, TypeMeta};
use crate::object;

/// Keeps a number of equal pods and replaces them, step by step, when what they are made of changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    /// `apps/v1`, `Deployment`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: DeploymentSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: DeploymentStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Deployment, "apps", "v1", "deployments", namespaced: true, desired: [spec, extra], status: status);

/// What is desired of a [`Deployment`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    /// How many pods: one unless told otherwise.
    pub replicas: u32,
    /// Which pods are its own. It must match the template's labels, and can't be changed.
    pub selector: LabelSelector,
    /// What new pods are made of. A change starts a rollout.
    pub template: PodTemplateSpec,
    /// How pods of one version are replaced by those of the next.
    pub strategy: DeploymentStrategy,
    /// How long a pod must have been ready to count as available, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub min_ready_seconds: u32,
    /// How many old versions are kept to go back to: ten unless told otherwise.
    pub revision_history_limit: u32,
    /// How long a rollout may go without progress before it counts as failed, in seconds: ten minutes unless
    /// told otherwise. The largest number there is means for ever.
    pub progress_deadline_seconds: u32,
    /// Whether changes of the template wait.
    #[serde(skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        Self {
            replicas: 1,
            selector: LabelSelector::default(),
            template: PodTemplateSpec::default(),
            strategy: DeploymentStrategy::default(),
            min_ready_seconds: 0,
            revision_history_limit: 10,
            progress_deadline_seconds: 600,
            paused: false,
            extra: Extra::default(),
        }
    }
}

/// How pods of one version are replaced by those of the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStrategy {
    /// Which way.
    #[serde(rename = "type")]
    pub type_: StrategyType,
    /// The numbers of a [`RollingUpdate`](StrategyType::RollingUpdate); the default ones where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl DeploymentStrategy {
    /// The numbers of the rolling update.
    #[must_use]
    pub fn rolling(&self) -> RollingUpdate {
        self.rolling_update.clone().unwrap_or_default()
    }
}

/// Which way pods of one version are replaced by those of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StrategyType {
    /// A few at a time.
    #[default]
    RollingUpdate,
    /// All old ones end before new ones start.
    Recreate,
}

/// How many pods a rolling update may have too many and too few. Not both may be zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// How many more pods than desired there may be; a share is rounded up. A quarter unless told otherwise.
    pub max_surge: IntOrPercent,
    /// How many fewer pods than desired may be available; a share is rounded down. A quarter unless told
    /// otherwise.
    pub max_unavailable: IntOrPercent,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for RollingUpdate {
    fn default() -> Self {
        Self {
            max_surge: IntOrPercent::Percent(25),
            max_unavailable: IntOrPercent::Percent(25),
            extra: Extra::default(),
        }
    }
}

/// What is observed of a [`Deployment`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// How many pods exist that aren't ending.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: u32,
    /// How many of them are of the desired version.
    #[serde(skip_serializing_if = "is_default")]
    pub updated_replicas: u32,
    /// How many of them are ready.
    #[serde(skip_serializing_if = "is_default")]
    pub ready_replicas: u32,
    /// How many of them have been ready for long enough.
    #[serde(skip_serializing_if = "is_default")]
    pub available_replicas: u32,
    /// How many pods are still needed until all desired ones are available.
    #[serde(skip_serializing_if = "is_default")]
    pub unavailable_replicas: u32,
    /// How many pods are ending. `None`: not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating_replicas: Option<u32>,
    /// How often the name of a new replica set was taken already. `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<u32>,
    /// `Available`, `Progressing`, `ReplicaFailure`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
