//! Endpoint slices: which addresses stand behind a service.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Extra, ObjectMeta, ObjectReference, Protocol, TypeMeta};
use crate::object;

/// Some of the addresses behind a service, with what is known of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `discovery.k8s.io/v1`, `EndpointSlice`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, and the label [`SERVICE_NAME`](Self::SERVICE_NAME).
    pub metadata: ObjectMeta,
    /// What its addresses are. Can't be changed.
    pub address_type: AddressType,
    /// The addresses.
    pub endpoints: Vec<Endpoint>,
    /// The ports of each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(EndpointSlice, "discovery.k8s.io", "v1", "endpointslices", namespaced: true,
        desired: [address_type, endpoints, ports, extra]);

impl EndpointSlice {
    /// The label that says which service the slice belongs to.
    pub const SERVICE_NAME: &'static str = "kubernetes.io/service-name";
    /// The label that says who keeps the slice.
    pub const MANAGED_BY: &'static str = "endpointslice.kubernetes.io/managed-by";

    /// An empty slice.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Makes it a slice of `service`.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.metadata.labels.insert(Self::SERVICE_NAME.into(), service.into());
        self
    }

    /// The service that it belongs to.
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        self.metadata.labels.value(Self::SERVICE_NAME)
    }
}

/// What the addresses of an [`EndpointSlice`] are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressType {
    /// IPv4 addresses.
    #[default]
    IPv4,
    /// IPv6 addresses.
    IPv6,
    /// Host names.
    FQDN,
}

/// One that serves: usually a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses, of which the first counts.
    pub addresses: Vec<String>,
    /// Whether it serves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: EndpointConditions,
    /// The object that serves there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<ObjectReference>,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// The zone that the node is in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Its own name below that of the service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether an [`Endpoint`] serves. `None`: nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// Whether it takes new requests. Taken as true where `None`. Never true while it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Whether it answers requests, also while it ends. As `ready` where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Whether it ends. Taken as false where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl EndpointConditions {
    /// Whether it takes new requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Whether it answers requests, also while it ends.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving.unwrap_or_else(|| self.is_ready())
    }

    /// Whether it ends.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

/// A port of all endpoints of an [`EndpointSlice`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// The name of the service's port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The number of the endpoints' port. `None`: any port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What is spoken below the application.
    pub protocol: Protocol,
    /// What the application speaks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
