//! Pods that are placed together.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::Rules;
use super::{Extra, FieldErrors, ObjectMeta, TypeMeta};
use crate::object;

/// How the pods that name it in `spec.schedulingGroup` are placed: each by itself, or all together.
///
/// Kubernetes' kind, alpha there: what is modelled is what the scheduler acts on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodGroup {
    /// `scheduling.k8s.io/v1alpha2`, `PodGroup`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// The name that its pods refer to, and their namespace.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: PodGroupSpec,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(PodGroup, "scheduling.k8s.io", "v1alpha2", "podgroups", namespaced: true, desired: [spec, extra]);

/// What is desired by a [`PodGroup`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodGroupSpec {
    /// Whether its pods are placed together.
    pub scheduling_policy: PodGroupSchedulingPolicy,
    /// Where they must be together.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduling_constraints: PodGroupSchedulingConstraints,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether the pods of a [`PodGroup`] are placed together: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodGroupSchedulingPolicy {
    /// Each pod is placed by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSchedulingPolicy>,
    /// Enough pods are placed together, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangSchedulingPolicy>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Each pod is placed by itself: nothing to be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BasicSchedulingPolicy {
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Enough pods are placed together, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GangSchedulingPolicy {
    /// How many pods must be placed together; at least 1.
    pub min_count: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where the pods of a [`PodGroup`] must be together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodGroupSchedulingConstraints {
    /// The domain that all of them must share; one at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology: Vec<TopologyConstraint>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// All pods must be on nodes with the same value of a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologyConstraint {
    /// The label's key: a zone, a rack, a host.
    pub key: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The [`PodGroup`] that a pod is of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSchedulingGroup {
    /// Its name, in the pod's namespace.
    pub pod_group_name: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl PodGroup {
    /// A group of which `least` pods are placed together, or none.
    #[must_use]
    pub fn gang(name: impl Into<String>, least: u32) -> Self {
        let gang = GangSchedulingPolicy { min_count: least, ..GangSchedulingPolicy::default() };
        let policy = PodGroupSchedulingPolicy { gang: Some(gang), ..PodGroupSchedulingPolicy::default() };
        let spec = PodGroupSpec { scheduling_policy: policy, ..PodGroupSpec::default() };
        Self { metadata: ObjectMeta::named(name), spec, ..Self::default() }
    }

    /// Has all its pods be on nodes with the same value of this label.
    #[must_use]
    pub fn within(mut self, key: impl Into<String>) -> Self {
        let constraint = TopologyConstraint { key: key.into(), ..TopologyConstraint::default() };
        self.spec.scheduling_constraints.topology = vec![constraint];
        self
    }
}

impl Rules for PodGroup {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            let policy = &self.spec.scheduling_policy;
            errors.at("schedulingPolicy", |errors| {
                let one = policy.basic.is_some() != policy.gang.is_some();
                errors.require(one, "needs exactly one of basic and gang");
                if let Some(gang) = &policy.gang {
                    let least = |errors: &mut FieldErrors| {
                        errors.require(gang.min_count > 0, "must be more than 0");
                    };
                    errors.at("gang", |errors| errors.at("minCount", least));
                }
            });
            let topology = &self.spec.scheduling_constraints.topology;
            errors.at("schedulingConstraints", |errors| {
                errors.at("topology", |errors| {
                    errors.require(topology.len() <= 1, "can't have more than one constraint");
                });
                errors.each("topology", topology, |errors, constraint| {
                    errors.at("key", |errors| errors.require(!constraint.key.is_empty(), "is required"));
                });
            });
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let basic = |group: &Self| group.spec.scheduling_policy.basic.is_some();
        errors.at("spec", |errors| {
            let message = "can't become another one: make a new group";
            errors.at("schedulingPolicy", |errors| errors.require(basic(self) == basic(old), message));
        });
    }
}
