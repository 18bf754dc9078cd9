//! What a pod is to be: the template that pods of one owner share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::affinity::{Affinity, TopologySpreadConstraint};
use super::container::{Container, ResourceRequirements};
use super::security::PodSecurityContext;
use super::volume::Volume;
use crate::model::absent::is_default;
use crate::model::{Extra, Labels, PodSchedulingGroup, PreemptionPolicy, ResourceList, Toleration};

/// What a pod is to be. Immutable and shared by all pods of one template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Run one after the other, each to its end, before the containers; a sidecar goes on running beside them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// Run together. At least one.
    pub containers: Vec<Container>,
    /// Volumes that containers can mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Whether containers that end are started again.
    pub restart_policy: RestartPolicy,
    /// Seconds from the stop signal to the kill; zero kills at once, [`MAX_SECONDS`] is the most. Unless said otherwise
    /// 30.
    pub termination_grace_period_seconds: u64,
    /// Seconds after which the pod is stopped and failed, counted from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<u64>,
    /// Labels that its node must have.
    #[serde(skip_serializing_if = "is_default")]
    pub node_selector: Labels,
    /// The node it is bound to, in a template; a pod has it in [`Pod::node_name`](super::Pod::node_name).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// Where it wants to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How evenly its like are spread.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Taints it doesn't mind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// The PriorityClass its priority comes from; empty for the default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub priority_class_name: String,
    /// Its priority, the higher the more important. Set from the class at admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Whether it may displace less important pods. Set from the class at admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_policy: Option<PreemptionPolicy>,
    /// The scheduler that places it. Unless said otherwise `default-scheduler`.
    pub scheduler_name: String,
    /// As long as there are any it isn't placed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scheduling_gates: Vec<PodSchedulingGate>,
    /// The group that it is placed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_group: Option<PodSchedulingGroup>,
    /// What the runtime needs beside the containers.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub overhead: ResourceList,
    /// What all its containers together need and may use at most: CPU, memory and huge pages. What is said here goes before
    /// the sum of what they say.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: ResourceRequirements,
    /// Its host name; empty for the pod's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The Service under which its host name is known in DNS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subdomain: String,
    /// What it may do in the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// Whether it has the node's network instead of an address of its own.
    #[serde(skip_serializing_if = "is_default")]
    pub host_network: bool,
    /// Whether its containers see each other's processes.
    #[serde(skip_serializing_if = "is_default")]
    pub share_process_namespace: bool,
    /// Secrets to pull images with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Privileges of its containers.
    #[serde(skip_serializing_if = "is_default")]
    pub security_context: PodSecurityContext,
    /// How it resolves names. Unless said otherwise `ClusterFirst`.
    pub dns_policy: String,
    /// Conditions that must hold for it to be ready, beside its containers' readiness.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readiness_gates: Vec<PodReadinessGate>,
    /// Whether its containers get variables with the addresses of Services; unless said otherwise they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_service_links: Option<bool>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Seconds from the stop signal to the kill where a pod says nothing.
pub const DEFAULT_GRACE_PERIOD_SECONDS: u64 = 30;
/// The scheduler of pods that name none.
pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";

/// The longest grace period, and the longest toleration, in seconds: 68 years. More is no wait but a mistake, and
/// leaves what clocks and calendars can count.
pub const MAX_SECONDS: u64 = i32::MAX as u64;

/// A wait of so many seconds, and of [`MAX_SECONDS`] at most: what was stored before it was bounded is still a wait.
pub(crate) fn bounded_seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(MAX_SECONDS))
}

impl Default for PodSpec {
    fn default() -> Self {
        Self {
            init_containers: Vec::new(),
            containers: Vec::new(),
            volumes: Vec::new(),
            restart_policy: RestartPolicy::Always,
            termination_grace_period_seconds: DEFAULT_GRACE_PERIOD_SECONDS,
            active_deadline_seconds: None,
            node_selector: Labels::new(),
            node_name: String::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            tolerations: Vec::new(),
            priority_class_name: String::new(),
            priority: None,
            preemption_policy: None,
            scheduler_name: DEFAULT_SCHEDULER_NAME.to_owned(),
            scheduling_gates: Vec::new(),
            scheduling_group: None,
            overhead: ResourceList::new(),
            resources: ResourceRequirements::default(),
            hostname: String::new(),
            subdomain: String::new(),
            service_account_name: String::new(),
            host_network: false,
            share_process_namespace: false,
            image_pull_secrets: Vec::new(),
            security_context: PodSecurityContext::default(),
            dns_policy: "ClusterFirst".to_owned(),
            readiness_gates: Vec::new(),
            enable_service_links: None,
            extra: Extra::default(),
        }
    }
}

/// Whether containers that end are started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// They are.
    #[default]
    Always,
    /// Those that failed are.
    OnFailure,
    /// They are not.
    Never,
}

/// A reason not to place a pod yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSchedulingGate {
    /// Its name: whoever put it there takes it away.
    pub name: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A condition that must hold for a pod to be ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodReadinessGate {
    /// The condition's type.
    pub condition_type: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An object in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    /// Its name.
    pub name: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
