//! Ingresses: which of a cluster's services are reached from outside, by host and path.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Extra, ObjectMeta, TypeMeta};
use crate::object;

/// Which services are reached from outside, by host and path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// `networking.k8s.io/v1`, `Ingress`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: IngressSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: IngressStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Ingress, "networking.k8s.io", "v1", "ingresses", namespaced: true, desired: [spec, extra], status: status);

/// What is desired of an [`Ingress`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// Whose it is; empty: whoever's that takes those.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ingress_class_name: String,
    /// Where requests go that no rule is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<IngressBackend>,
    /// For which hosts TLS is spoken, with which certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<IngressTls>,
    /// Where requests go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<IngressRule>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// For which hosts TLS is spoken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// The hosts; none: those that the certificate is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The secret with `tls.crt` and `tls.key`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret_name: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The paths of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressRule {
    /// The host; empty: every one; `*.shop.local`: those one label below it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its paths; `None`: all of them go to the default backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpIngressRuleValue>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The paths of an [`IngressRule`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpIngressRuleValue {
    /// One at least.
    pub paths: Vec<HttpIngressPath>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A path, and where requests for it go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpIngressPath {
    /// The path, which begins with a slash.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// How paths are compared with it.
    pub path_type: IngressPathType,
    /// Where requests go.
    pub backend: IngressBackend,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How paths are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IngressPathType {
    /// As [`Prefix`](Self::Prefix) here.
    #[default]
    ImplementationSpecific,
    /// They begin with it, by whole segments.
    Prefix,
    /// They are equal.
    Exact,
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressBackend {
    /// A service of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<IngressServiceBackend>,
    /// Fields not acted on: `resource`, an object that is no service.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressServiceBackend {
    /// The service.
    pub name: String,
    /// Its port.
    #[serde(skip_serializing_if = "is_default")]
    pub port: ServiceBackendPort,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A port, by its name or by its number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceBackendPort {
    /// Its name; empty: its number counts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its number; zero: its name counts.
    #[serde(skip_serializing_if = "is_default")]
    pub number: u16,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is observed of an [`Ingress`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressStatus {
    /// Where it is reached.
    #[serde(skip_serializing_if = "is_default")]
    pub load_balancer: super::LoadBalancerStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
