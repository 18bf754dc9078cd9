//! Where a pod wants to be, and beside which others.

use serde::{Deserialize, Serialize};

use crate::model::absent::is_default;
use crate::model::{Extra, LabelSelector, NodeSelector, NodeSelectorTerm};

/// Where a pod wants to be. What is required must hold when it is placed; what is preferred adds weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// On which nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    /// Beside which pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<PodAffinity>,
    /// Away from which pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_anti_affinity: Option<PodAffinity>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// On which nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// Nodes that it must be on.
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Option::is_none"
    )]
    pub required: Option<NodeSelector>,
    /// Nodes that it would rather be on.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub preferred: Vec<PreferredSchedulingTerm>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Nodes that count for more. Without requirements it matches none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferredSchedulingTerm {
    /// By how much: 1 to 100.
    pub weight: u32,
    /// Which nodes.
    pub preference: NodeSelectorTerm,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Beside, or away from, which pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinity {
    /// All of these must hold.
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub required: Vec<PodAffinityTerm>,
    /// Each that holds adds its weight, or takes it where the pod is to be away.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub preferred: Vec<WeightedPodAffinityTerm>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A [`PodAffinityTerm`] that counts for as much as its weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightedPodAffinityTerm {
    /// How much: 1 to 100.
    pub weight: u32,
    /// Which pods, and what beside means.
    pub pod_affinity_term: PodAffinityTerm,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Other pods, and what being beside them means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    /// Which pods; unless given, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Their namespaces; unless any are given here or by selector, the pod's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Their namespaces, by labels; the empty selector chooses all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Beside means: on nodes with the same value of this label.
    pub topology_key: String,
    /// Label keys whose values on the pod itself are added to `label_selector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_label_keys: Vec<String>,
    /// Label keys whose values on the pod itself are excluded by `label_selector`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatch_label_keys: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How evenly pods are spread over the values of a node label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySpreadConstraint {
    /// By how many pods the fullest and the emptiest value may differ; at least 1.
    pub max_skew: u32,
    /// The node label.
    pub topology_key: String,
    /// What to do where no node keeps to it.
    pub when_unsatisfiable: UnsatisfiableAction,
    /// Which pods of the namespace count; unless given, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// With fewer values than this the emptiest counts as having no pods; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_domains: Option<u32>,
    /// Whether only nodes that the pod's affinity and node selector allow count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity_policy: Option<NodeInclusionPolicy>,
    /// Whether only nodes whose taints the pod tolerates count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_taints_policy: Option<NodeInclusionPolicy>,
    /// Label keys whose values on the pod itself are added to `label_selector`.
    #[serde(skip_serializing_if = "is_default")]
    pub match_label_keys: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What happens to a pod that no node can take without breaking a spread constraint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnsatisfiableAction {
    /// It waits.
    #[default]
    DoNotSchedule,
    /// It is placed where it breaks the constraint least.
    ScheduleAnyway,
}

/// Whether nodes that a pod can't go to count when it is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeInclusionPolicy {
    /// They don't.
    #[default]
    Honor,
    /// They do.
    Ignore,
}
