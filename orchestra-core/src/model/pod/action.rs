//! What is done to ask a container how it is, or to tell it that it starts or stops.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::Extra;

/// A command in the container, without a shell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecAction {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An HTTP GET request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGetAction {
    /// The path, unless said otherwise `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The port.
    pub port: PortRef,
    /// The host to connect to; empty for the pod's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// `HTTP`, or `HTTPS` without a check of the certificate.
    pub scheme: UriScheme,
    /// Headers to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How an HTTP request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UriScheme {
    /// Plain.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// A header of an HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A TCP connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSocketAction {
    /// The port.
    pub port: PortRef,
    /// The host to connect to; empty for the pod's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A request to the gRPC health service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcAction {
    /// The port: 1 to 65535.
    pub port: u16,
    /// The service asked about; empty for the whole server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A port by number, or by the name it has among the container's ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortRef {
    /// By number: 1 to 65535.
    Number(u16),
    /// By name.
    Name(String),
}

impl Default for PortRef {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl From<u16> for PortRef {
    fn from(port: u16) -> Self {
        Self::Number(port)
    }
}

impl From<&str> for PortRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => write!(f, "{port}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for PortRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(port) => serializer.serialize_u16(*port),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = PortRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535 or the name of one")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<PortRef, E> {
                u16::try_from(n)
                    .map(PortRef::Number)
                    .map_err(|_e| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<PortRef, E> {
                u16::try_from(n)
                    .map(PortRef::Number)
                    .map_err(|_e| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_str<E: de::Error>(self, s: &str) -> Result<PortRef, E> {
                // Kubernetes takes a number in quotes for a name, which no port can have; it is meant as a number.
                Ok(s.parse().map_or_else(|_e| PortRef::Name(s.to_owned()), PortRef::Number))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What a container is told right after its start and before its stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// Right after the start; the container is killed where it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_start: Option<LifecycleHandler>,
    /// Before the stop signal, within the grace period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<LifecycleHandler>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is done at a container's start or stop: exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleHandler {
    /// Runs a command in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Sends an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    /// Opens a TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// Waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<SleepAction>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Waiting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SleepAction {
    /// For how many seconds.
    pub seconds: u64,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ExecAction {
    /// The command `command`: program and arguments.
    #[must_use]
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self { command: command.into_iter().map(Into::into).collect(), extra: Extra::default() }
    }
}

impl HttpGetAction {
    /// A plain request for `path` at the pod's `port`.
    #[must_use]
    pub fn new(path: impl Into<String>, port: impl Into<PortRef>) -> Self {
        Self { path: path.into(), port: port.into(), ..Self::default() }
    }
}

impl LifecycleHandler {
    /// Runs a command in the container.
    #[must_use]
    pub fn exec<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self { exec: Some(ExecAction::new(command)), ..Self::default() }
    }

    /// Sends an HTTP request.
    #[must_use]
    pub fn http(path: impl Into<String>, port: impl Into<PortRef>) -> Self {
        Self { http_get: Some(HttpGetAction::new(path, port)), ..Self::default() }
    }

    /// Waits for some seconds.
    #[must_use]
    pub fn sleep(seconds: u64) -> Self {
        Self { sleep: Some(SleepAction { seconds, extra: Extra::default() }), ..Self::default() }
    }
}
