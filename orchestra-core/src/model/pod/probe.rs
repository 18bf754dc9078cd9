//! Questions put to a running container.

use serde::{Deserialize, Serialize};

use super::action::{ExecAction, GrpcAction, HttpGetAction, PortRef, TcpSocketAction};
use crate::model::Extra;
use crate::model::absent::is_default;

/// A question put to a container again and again: exactly one of `exec`, `http_get`, `tcp_socket`, `grpc`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Succeeds where a command in the container ends with status 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Succeeds where an HTTP request is answered with a status from 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    /// Succeeds where a TCP connection is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// Succeeds where the gRPC health service says `SERVING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAction>,
    /// Seconds from the container's start to the first time.
    #[serde(skip_serializing_if = "is_default")]
    pub initial_delay_seconds: u32,
    /// Seconds from one time to the next; at least 1, unless said otherwise 10.
    pub period_seconds: u32,
    /// Seconds after which no answer is a failure; at least 1, unless said otherwise 1.
    pub timeout_seconds: u32,
    /// How many successes in a row make it succeed after a failure; at least 1, unless said otherwise 1.
    pub success_threshold: u32,
    /// How many failures in a row make it fail; at least 1, unless said otherwise 3.
    pub failure_threshold: u32,
    /// Seconds that the container then has to stop, instead of the pod's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<u64>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            exec: None,
            http_get: None,
            tcp_socket: None,
            grpc: None,
            initial_delay_seconds: 0,
            period_seconds: 10,
            timeout_seconds: 1,
            success_threshold: 1,
            failure_threshold: 3,
            termination_grace_period_seconds: None,
            extra: Extra::default(),
        }
    }
}

impl Probe {
    /// Sends an HTTP GET request for `path` to the pod's `port`, a number or a name.
    #[must_use]
    pub fn http(path: impl Into<String>, port: impl Into<PortRef>) -> Self {
        Self { http_get: Some(HttpGetAction::new(path, port)), ..Self::default() }
    }

    /// Opens a TCP connection to the pod's `port`, a number or a name.
    #[must_use]
    pub fn tcp(port: impl Into<PortRef>) -> Self {
        let action = TcpSocketAction { port: port.into(), ..TcpSocketAction::default() };
        Self { tcp_socket: Some(action), ..Self::default() }
    }

    /// Runs a command in the container.
    #[must_use]
    pub fn exec<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self { exec: Some(ExecAction::new(command)), ..Self::default() }
    }

    /// Asks the gRPC health service at the pod's `port`.
    #[must_use]
    pub fn grpc(port: u16) -> Self {
        Self { grpc: Some(GrpcAction { port, ..GrpcAction::default() }), ..Self::default() }
    }

    /// Sets the seconds from the container's start to the first time.
    #[must_use]
    pub fn initial_delay(mut self, seconds: u32) -> Self {
        self.initial_delay_seconds = seconds;
        self
    }

    /// Sets the seconds from one time to the next.
    #[must_use]
    pub fn period(mut self, seconds: u32) -> Self {
        self.period_seconds = seconds;
        self
    }

    /// Sets the seconds after which no answer is a failure.
    #[must_use]
    pub fn timeout(mut self, seconds: u32) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    /// Sets how many successes in a row make it succeed.
    #[must_use]
    pub fn successes(mut self, in_a_row: u32) -> Self {
        self.success_threshold = in_a_row;
        self
    }

    /// Sets how many failures in a row make it fail.
    #[must_use]
    pub fn failures(mut self, in_a_row: u32) -> Self {
        self.failure_threshold = in_a_row;
        self
    }
}
