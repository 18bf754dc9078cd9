//! Which pods go first.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::{Rules, object};
use super::{Extra, ObjectMeta, TypeMeta};

/// A name for how important pods are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorityClass {
    /// `scheduling.k8s.io/v1`, `PriorityClass`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// The name that pods refer to.
    pub metadata: ObjectMeta,
    /// The priority of its pods: the higher, the more important. At most 1,000,000,000.
    pub value: i32,
    /// Whether pods that name no class are of this one.
    #[serde(skip_serializing_if = "is_default")]
    pub global_default: bool,
    /// Whether its pods may displace less important ones.
    #[serde(skip_serializing_if = "is_default")]
    pub preemption_policy: PreemptionPolicy,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(PriorityClass, "scheduling.k8s.io", "v1", "priorityclasses", namespaced: false,
        desired: [value, global_default, preemption_policy, description]);

/// Whether a pod that does not fit may displace less important ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PreemptionPolicy {
    /// It may.
    #[default]
    PreemptLowerPriority,
    /// It waits for room, before less important pods.
    Never,
}

impl PriorityClass {
    /// A class with this priority.
    #[must_use]
    pub fn new(name: impl Into<String>, value: i32) -> Self {
        Self { metadata: ObjectMeta::named(name), value, ..Self::default() }
    }

    /// Makes it the class of pods that name none.
    #[must_use]
    pub fn global_default(mut self) -> Self {
        self.global_default = true;
        self
    }

    /// Lets its pods wait for room instead of displacing others.
    #[must_use]
    pub fn never_preempt(mut self) -> Self {
        self.preemption_policy = PreemptionPolicy::Never;
        self
    }
}

impl Rules for PriorityClass {}
