//! What can go wrong in the data plane.

use std::net::SocketAddr;
use std::sync::Arc;

/// A failure of the data plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// An address can't be listened on.
    #[error("can't listen on {address} for {what}; is another program there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// For whom: a service, the proxy, the DNS server.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// No endpoint became ready in time.
    #[error("{service} has no ready endpoint; its pods may still be starting: look at the pods it selects")]
    NoEndpoint {
        /// The service.
        service: Arc<str>,
    },
    /// Every endpoint that was tried refused or broke off, and the request could not be tried again.
    #[error("{service} did not answer")]
    Upstream {
        /// The service.
        service: Arc<str>,
        /// The last failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint took longer than it may.
    #[error("{service} did not answer within {millis} ms")]
    Timeout {
        /// The service.
        service: Arc<str>,
        /// The bound.
        millis: u128,
    },
    /// No such service, or it has no such port.
    #[error("there is no service {0}")]
    NoService(String),
    /// The request is not one that a proxy may forward.
    #[error("the request can't be forwarded: {0}")]
    BadRequest(&'static str),
}

impl NetError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::BadRequest(_))
    }

    /// The HTTP status that says so.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::NoEndpoint { .. } | Self::NoService(_) => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => http::StatusCode::GATEWAY_TIMEOUT,
            Self::BadRequest(_) => http::StatusCode::BAD_REQUEST,
            _ => http::StatusCode::BAD_GATEWAY,
        }
    }
}
