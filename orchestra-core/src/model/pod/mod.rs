//! Pods: containers that are placed, started and addressed together.

mod action;
mod affinity;
mod build;
mod container;
mod container_build;
mod container_rules;
mod container_state;
mod defaults;
mod env;
mod env_rules;
mod form;
pub(crate) mod gpu;
mod mode;
mod placement_rules;
mod probe;
mod probe_rules;
mod projected;
mod requests;
pub(crate) mod rules;
mod security;
mod spec;
mod status;
#[cfg(test)]
mod tests;
mod update_rules;
mod volume;
mod volume_build;
mod volume_rules;
pub(crate) mod without_effect;

use std::sync::Arc;

use super::{Condition, Extra, ObjectMeta, Timestamp, TypeMeta};
use crate::object;

pub use action::{
    ExecAction, GrpcAction, HttpGetAction, HttpHeader, Lifecycle, LifecycleHandler, PortRef, SleepAction,
    TcpSocketAction, UriScheme,
};
pub use affinity::{
    Affinity, NodeAffinity, NodeInclusionPolicy, PodAffinity, PodAffinityTerm, PreferredSchedulingTerm,
    TopologySpreadConstraint, UnsatisfiableAction, WeightedPodAffinityTerm,
};
pub use container::{
    Container, ContainerPort, ImagePullPolicy, Protocol, ResourceRequirements, TerminationMessagePolicy,
    VolumeMount,
};
pub use container_state::{
    ContainerRunning, ContainerState, ContainerStatus, ContainerTerminated, ContainerWaiting, LastState,
};
pub use env::{
    EnvFromSource, EnvSourceRef, EnvVar, EnvVarSource, KeySelector, ObjectFieldSelector,
    ResourceFieldSelector,
};
pub use gpu::{GPU, GPU_DEVICES, GPU_MILLI, GpuRequest, WHOLE_GPU};
pub use probe::Probe;
pub use projected::{DownwardApiProjection, KeysProjection, ProjectedVolume, VolumeProjection};
pub use requests::HostPort;
pub use security::{Capabilities, PodSecurityContext, SeccompProfile, SeccompProfileType, SecurityContext};
pub(crate) use spec::bounded_seconds;
pub use spec::{
    DEFAULT_GRACE_PERIOD_SECONDS, DEFAULT_SCHEDULER_NAME, LocalObjectReference, MAX_SECONDS,
    PodReadinessGate, PodSchedulingGate, PodSpec, RestartPolicy,
};
pub use status::{PodIp, PodPhase, PodStatus, QosClass};
pub use volume::{
    ConfigMapVolume, DownwardApiFile, DownwardApiVolume, EmptyDirVolume, HostPathType, HostPathVolume,
    KeyToPath, PersistentVolumeClaimVolume, SecretVolume, Volume,
};

/// Containers that are placed on one node, started together, and reached at one address.
///
/// A clone shares the spec: the pods of one template hold one copy of it. So the one part of a manifest's spec
/// that differs between them, `spec.nodeName`, is kept beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// `v1`, `Pod`.
    pub type_meta: TypeMeta<Self>,
    /// Name, labels, owner.
    pub metadata: ObjectMeta,
    /// What it is to be. Change it through [`spec_mut`](Self::spec_mut).
    pub spec: Arc<PodSpec>,
    /// The node it is bound to, `spec.nodeName` in the manifest. Set once.
    pub node_name: Option<Arc<str>>,
    /// What has become of it.
    pub status: PodStatus,
    /// Fields not acted on.
    pub extra: Extra,
}

object!(Pod, "", "v1", "pods", namespaced: true, desired: [spec, node_name, extra], status: status);

impl Pod {
    /// The spec, to change: copied first where other pods share it.
    pub fn spec_mut(&mut self) -> &mut PodSpec {
        Arc::make_mut(&mut self.spec)
    }

    /// The condition `type_`, where it was ever set.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        Condition::find(&self.status.conditions, type_)
    }

    /// Sets a condition. The time of its last transition stays where its status does. Answers whether anything
    /// changed.
    pub fn set_condition(&mut self, condition: Condition) -> bool {
        condition.set_in(&mut self.status.conditions)
    }

    /// Whether the pod can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(Condition::is_true)
    }

    /// Since when the pod can serve, where it can.
    #[must_use]
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.condition("Ready").filter(|c| c.is_true()).and_then(|c| c.last_transition_time)
    }

    /// Whether the pod has ended for good.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Whether the pod was deleted and is on its way out.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.metadata.is_deleting()
    }
}
