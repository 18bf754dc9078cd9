//! What can go wrong in the data plane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::balance::EndpointId;

/// Any failure, as a cause.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the data plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// An address can't be listened on.
    #[error("can't listen on {address} for {what}: another program may be there, or the port is privileged")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// For whom: a service, the proxy, the DNS server.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The threads of a proxy could not be started.
    #[error("the proxy's threads could not be started: the system refuses threads or file descriptors")]
    Workers {
        /// Why.
        source: std::io::Error,
    },
    /// Listening sockets could not be passed from one process to another.
    #[error("the listening sockets can't be handed over at {}: another user's process may be there", path.display())]
    HandOver {
        /// The Unix socket by which they are.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nobody whom DNS questions could be passed on to, with the feature `dns-forward`.
    #[error("DNS questions can't be passed on: {from} has no name server to ask; name others")]
    NameServers {
        /// Who should name them.
        from: &'static str,
        /// Why there is none.
        source: std::io::Error,
    },
    /// No endpoint became ready in time.
    #[error(
        "{service} has no ready endpoint, and none came within {waited:.1?}: look at the pods it selects"
    )]
    NoEndpoint {
        /// The service.
        service: Arc<str>,
        /// How long the request waited.
        waited: Duration,
    },
    /// So many requests wait for an endpoint that no more may.
    #[error("{service} has no ready endpoint, and {waiting} requests wait for one already")]
    Busy {
        /// The service.
        service: Arc<str>,
        /// How many wait.
        waiting: usize,
    },
    /// All endpoints have as many requests as they may, and none got free in time.
    #[error("{service} has {limit} requests at each of its endpoints, and none ended within {waited:.1?}")]
    Overloaded {
        /// The service.
        service: Arc<str>,
        /// How many each endpoint may have.
        limit: usize,
        /// How long the request waited.
        waited: Duration,
    },
    /// The client sends more requests than it may.
    #[error("this client may send {per_second} requests a second: the next one in {wait:.1?}")]
    TooManyRequests {
        /// How many it may send in a second.
        per_second: u32,
        /// When it may send the next one.
        wait: Duration,
    },
    /// The endpoint refused or broke off, and the request could not be tried again.
    #[error("{service} did not answer at {endpoint:?}")]
    Upstream {
        /// The service.
        service: Arc<str>,
        /// The endpoint that was tried last.
        endpoint: EndpointId,
        /// The last failure.
        source: Cause,
    },
    /// The endpoint took longer than it may.
    #[error("{service} did not answer within {limit:?} at {endpoint:?}")]
    Timeout {
        /// The service.
        service: Arc<str>,
        /// The endpoint.
        endpoint: EndpointId,
        /// The bound.
        limit: Duration,
    },
    /// The route's time for the request is over.
    #[error("{service} did not answer within the {limit:?} that the route allows")]
    Deadline {
        /// The service.
        service: Arc<str>,
        /// The bound.
        limit: Duration,
    },
    /// The endpoint fell silent in the middle of an answer. This is the error of the answer's body: its head has gone.
    #[error("{service} sent nothing more of its answer for {limit:?} at {endpoint:?}")]
    Stalled {
        /// The service.
        service: Arc<str>,
        /// The endpoint.
        endpoint: EndpointId,
        /// The bound.
        limit: Duration,
    },
    /// A body could not be read to its end.
    #[error("the body could not be read to its end")]
    Body {
        /// Why.
        source: Cause,
    },
    /// The client did not send its request's body in time.
    #[error("the request's body did not come within {limit:?}")]
    SlowClient {
        /// The bound.
        limit: Duration,
    },
    /// The request's body is longer than this proxy takes.
    #[error("the request's body is longer than {limit} bytes")]
    BodyTooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// No such service, or it has no such port, or no route leads to one.
    #[error("there is no service for {0}")]
    NoService(String),
    /// A route is for the request, and leads to no service.
    #[error("the route for {0} leads to no service: it names none, or all of its weights are 0")]
    NoBackend(String),
    /// An object that routes are made of can't be followed.
    #[error("{kind} {object} can't be followed")]
    BadRoute {
        /// Its kind.
        kind: &'static str,
        /// Its namespace and name.
        object: String,
        /// What is wrong with which of its fields.
        source: Cause,
    },
    /// The request is not one that a proxy may forward.
    #[error("the request can't be forwarded: {0}")]
    BadRequest(&'static str),
    /// A cookie can't be called so, or can't say that.
    #[error("a cookie can't have the {what} {value:?}: use letters, digits and -, and no semicolon")]
    BadCookie {
        /// Which part of it.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// The request asks for something that this proxy does not do.
    #[error("this proxy does not do that: {0}")]
    Unsupported(&'static str),
}

impl NetError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::BadRequest(_) | Self::Unsupported(_) | Self::BodyTooLarge { .. } | Self::BadCookie { .. }
        )
    }

    /// The HTTP status that says so.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::NoEndpoint { .. } | Self::Busy { .. } | Self::Overloaded { .. } => {
                http::StatusCode::SERVICE_UNAVAILABLE
            }
            Self::TooManyRequests { .. } => http::StatusCode::TOO_MANY_REQUESTS,
            Self::NoService(_) => http::StatusCode::NOT_FOUND,
            Self::Timeout { .. } | Self::Deadline { .. } | Self::Stalled { .. } => {
                http::StatusCode::GATEWAY_TIMEOUT
            }
            Self::SlowClient { .. } => http::StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadRequest(_) => http::StatusCode::BAD_REQUEST,
            Self::Unsupported(_) => http::StatusCode::NOT_IMPLEMENTED,
            Self::NoBackend(_) => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadRoute { .. }
            | Self::BadCookie { .. }
            | Self::Listen { .. }
            | Self::Workers { .. }
            | Self::HandOver { .. }
            | Self::NameServers { .. }
            | Self::Upstream { .. }
            | Self::Body { .. } => http::StatusCode::BAD_GATEWAY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_as_people_tell_it() {
        let error =
            NetError::NoEndpoint { service: "shop/cart".into(), waited: Duration::from_nanos(5_001_368_755) };
        assert!(error.to_string().contains("none came within 5.0s"), "{error}");
    }
}
