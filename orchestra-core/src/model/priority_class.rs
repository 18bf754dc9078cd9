//! Which pods go first.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::Rules;
use super::{Extra, FieldErrors, ObjectMeta, TypeMeta};
use crate::object;

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
        desired: [value, global_default, preemption_policy, description, extra]);

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

/// The highest priority of a class that isn't the system's own: Kubernetes' limit.
const MAX_PRIORITY: i32 = 1_000_000_000;

/// The classes of the system's own pods, with their priorities: Kubernetes' names.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

impl Rules for PriorityClass {
    fn validate(&self, errors: &mut FieldErrors) {
        if self.metadata.name.starts_with("system-") {
            let own = (self.metadata.name.as_str(), self.value);
            let known = SYSTEM_CLASSES.contains(&own);
            errors.at("metadata", |errors| {
                errors
                    .at("name", |errors| errors.require(known, "names with `system-` are the system's own"));
            });
        } else {
            errors.at("value", |errors| {
                errors.require(self.value <= MAX_PRIORITY, "must not be more than 1000000000")
            });
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let message = "can't be changed, for pods have it already: make a new class";
        errors.at("value", |errors| errors.require(self.value == old.value, message));
        errors.at("preemptionPolicy", |errors| {
            errors.require(self.preemption_policy == old.preemption_policy, message);
        });
    }
}
