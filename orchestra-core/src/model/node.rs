//! Nodes: the hosts that pods run on.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::quantity::set_amount;
use super::{Condition, Extra, ObjectMeta, Quantity, ResourceList, Taint, TypeMeta};
use crate::object;

/// The label that names the host of a node.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// The label that names the zone that a node is in.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// A host that pods run on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// `v1`, `Node`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Its name and labels.
    pub metadata: ObjectMeta,
    /// What is wanted of it.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: NodeSpec,
    /// What it is and has.
    #[serde(skip_serializing_if = "is_default")]
    pub status: NodeStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Node, "", "v1", "nodes", namespaced: false, desired: [spec, extra], status: status);

/// What is wanted of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Whether it takes no new pods.
    #[serde(skip_serializing_if = "is_default")]
    pub unschedulable: bool,
    /// What keeps pods away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// The addresses its pods get.
    #[serde(rename = "podCIDR", skip_serializing_if = "String::is_empty")]
    pub pod_cidr: String,
    /// The addresses its pods get, for each address family.
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
    /// What its provider calls it.
    #[serde(rename = "providerID", skip_serializing_if = "String::is_empty")]
    pub provider_id: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a node is and has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// All it has.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub capacity: ResourceList,
    /// What pods can have of that; unless given, all of it.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub allocatable: ResourceList,
    /// Facts about it, `Ready` above all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where it can be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// Images it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ContainerImage>,
    /// What it runs.
    #[serde(skip_serializing_if = "is_default")]
    pub node_info: NodeSystemInfo,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a node can be reached.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAddress {
    /// What kind of address.
    #[serde(rename = "type")]
    pub type_: NodeAddressType,
    /// The address.
    pub address: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The kind of a node's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeAddressType {
    /// Its name for itself.
    Hostname,
    /// An IP address in the cluster's network.
    #[default]
    InternalIP,
    /// An IP address for the world.
    ExternalIP,
    /// A DNS name in the cluster's network.
    InternalDNS,
    /// A DNS name for the world.
    ExternalDNS,
}

/// An image on a node.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerImage {
    /// What it is called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub size_bytes: u64,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a node runs.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSystemInfo {
    /// Tells this machine from all others.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// Tells this machine from all others, after its firmware.
    #[serde(rename = "systemUUID")]
    pub system_uuid: String,
    /// Changes with each boot.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// The kernel's version.
    pub kernel_version: String,
    /// The operating system's name and version.
    pub os_image: String,
    /// The container runtime and its version: `process://0.1.0`.
    pub container_runtime_version: String,
    /// The node agent's version.
    pub kubelet_version: String,
    /// `linux`.
    pub operating_system: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Node {
    /// A node without resources: [`capacity`](Self::capacity) adds them.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }

    /// Sets how much it has of a resource, and that pods can have all of that.
    ///
    /// # Panics
    /// Where `amount` is text that is not a quantity. Parse what isn't fixed in the program into a [`Quantity`] first.
    #[must_use]
    pub fn capacity<Q: TryInto<Quantity, Error: std::fmt::Display>>(mut self, name: &str, amount: Q) -> Self {
        set_amount(&mut self.status.capacity, name, amount);
        self.status.allocatable.insert(name.to_owned(), self.status.capacity[name]);
        self
    }

    /// Adds a taint.
    #[must_use]
    pub fn taint(mut self, taint: Taint) -> Self {
        self.spec.taints.push(taint);
        self
    }

    /// The condition `type_`, where it was ever reported.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        Condition::find(&self.status.conditions, type_)
    }

    /// Whether the node says that it can run pods.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(Condition::is_true)
    }
}
