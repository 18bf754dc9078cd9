//! What has become of a pod.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::container_state::ContainerStatus;
use crate::model::absent::is_default;
use crate::model::{Condition, Extra, Timestamp};

/// What has become of a pod. Written by the node agent, but for `nominated_node_name`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Where in its life it is.
    pub phase: PodPhase,
    /// Facts about it: `PodScheduled`, `Initialized`, `ContainersReady`, `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Why it is in its phase, as one word for programs: `Evicted`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it is in its phase, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its node's address.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// Its address.
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<IpAddr>,
    /// All its addresses, `pod_ip` first.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// When the node agent took it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Its init containers, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Its containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// How likely it is to be evicted when its node runs out of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_class: Option<QosClass>,
    /// The node where room is being made for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nominated_node_name: String,
    /// The generation that the node agent has acted on.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where in its life a pod is. `Succeeded` and `Failed` are final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodPhase {
    /// Not all containers have been started.
    #[default]
    Pending,
    /// All containers have been started, and one runs or will again.
    Running,
    /// All containers ended well and won't be started again.
    Succeeded,
    /// All containers ended, one of them not well, and won't be started again.
    Failed,
    /// Its node can't be asked.
    Unknown,
}

/// How likely a pod is to be evicted when its node runs out of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QosClass {
    /// First: nothing is requested.
    #[default]
    BestEffort,
    /// Next: something is requested.
    Burstable,
    /// Last: every container requests all that it may use.
    Guaranteed,
}

/// An address of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodIp {
    /// The address.
    pub ip: IpAddr,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl From<IpAddr> for PodIp {
    fn from(ip: IpAddr) -> Self {
        Self { ip, extra: Extra::default() }
    }
}
