//! Services: one name and address for many pods.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Condition, Extra, Labels, ObjectMeta, PortRef, Protocol, TypeMeta};
use crate::object;

/// One name and address for the pods that a selector chooses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// `v1`, `Service`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: ServiceSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: ServiceStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Service, "", "v1", "services", namespaced: true, desired: [spec, extra], status: status);

/// What is desired of a [`Service`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// How the service is reached.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// The pods behind it: those that have all of these labels. Without any, somebody else names the endpoints.
    #[serde(skip_serializing_if = "is_default")]
    pub selector: Labels,
    /// The ports that it listens on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Its address; empty until given one; [`ServiceSpec::HEADLESS`] for a service that only has a name.
    #[serde(rename = "clusterIP", skip_serializing_if = "String::is_empty")]
    pub cluster_ip: String,
    /// Its addresses, one a family. The first equals `cluster_ip`.
    #[serde(rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
    /// Whether requests from one client go to one pod.
    #[serde(skip_serializing_if = "is_default")]
    pub session_affinity: SessionAffinity,
    /// How long that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// The name that an [`ExternalName`](ServiceType::ExternalName) service stands for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_name: String,
    /// Whether pods are found although they aren't ready.
    #[serde(skip_serializing_if = "is_default")]
    pub publish_not_ready_addresses: bool,
    /// Which pods serve requests from inside the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub internal_traffic_policy: TrafficPolicy,
    /// Which pods serve requests from outside of the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub external_traffic_policy: TrafficPolicy,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ServiceSpec {
    /// The `cluster_ip` of a service that has no address of its own: its name leads to its pods' addresses.
    pub const HEADLESS: &'static str = "None";

    /// Whether the service has no address of its own.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.cluster_ip == Self::HEADLESS
    }

    /// The port called `name`, or with that number.
    #[must_use]
    pub fn port(&self, port: &PortRef) -> Option<&ServicePort> {
        self.ports.iter().find(|p| match port {
            PortRef::Number(number) => p.port == *number,
            PortRef::Name(name) => p.name == *name,
        })
    }
}

/// How a [`Service`] is reached. Each way includes the ones before it, except for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServiceType {
    /// At an address inside the cluster.
    #[default]
    ClusterIP,
    /// At a port of each node.
    NodePort,
    /// At an address from outside.
    LoadBalancer,
    /// It is another name for a host outside.
    ExternalName,
}

impl fmt::Display for ServiceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A port that a [`Service`] listens on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name. May be empty where it is the only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its number.
    pub port: u16,
    /// The pods' port: a number, or the name of a container's port. The same number where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<PortRef>,
    /// The port on each node; zero for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_port: u16,
    /// What is spoken below the application.
    #[serde(default)]
    pub protocol: Protocol,
    /// What the application speaks, such as `http` or `kubernetes.io/h2c`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ServicePort {
    /// A nameless TCP port.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, ..Self::default() }
    }

    /// The pods' port.
    #[must_use]
    pub fn target(&self) -> PortRef {
        self.target_port.clone().unwrap_or(PortRef::Number(self.port))
    }
}

/// Whether requests from one client go to one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionAffinity {
    /// Any pod may serve any request.
    #[default]
    None,
    /// Requests from one address go to one pod while it is ready.
    ClientIP,
}

/// How long a session affinity holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    /// For [`SessionAffinity::ClientIP`].
    #[serde(rename = "clientIP", skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpConfig>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How long requests from one address go to one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// That many seconds after the last request, from 1 to 86,400; three hours where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which pods serve a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Any.
    #[default]
    Cluster,
    /// Only those on the node where the request arrived.
    Local,
}

/// What is observed of a [`Service`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Where it is reached from outside.
    #[serde(skip_serializing_if = "is_default")]
    pub load_balancer: LoadBalancerStatus,
    /// What holds for it at present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a [`Service`] is reached from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    /// The ways in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A way into a [`Service`] from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// By address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// By name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
