//! Questions put to containers: how they are asked, when, and what the answers mean.

#[cfg(feature = "grpc-probes")]
mod grpc;
#[cfg(feature = "http-probes")]
mod network;
mod state;

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "grpc-probes")]
pub use grpc::check_grpc;
#[cfg(all(fuzzing, feature = "grpc-probes"))]
pub use grpc::read_answer;
#[cfg(feature = "http-probes")]
pub use network::NetworkProber;
pub(crate) use state::{ProbeState, period};

use crate::model::{Container, Probe, UriScheme};

/// Which of a container's three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub(crate) const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// The probe of this kind, where the container has one.
    pub(crate) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

/// What a question was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    Success,
    /// No, or no answer in time.
    Failure(String),
    /// The question could not be put: it counts neither way.
    Unknown(String),
}

/// A question over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeRequest {
    /// Whether a connection is accepted.
    Tcp {
        /// Where to.
        address: SocketAddr,
    },
    /// Whether a GET request is answered with a status from 200 to 399.
    Http {
        /// Where to.
        address: SocketAddr,
        /// Plain or over TLS.
        scheme: UriScheme,
        /// The path with its query, beginning with a slash.
        path: String,
        /// The headers, `Host` among them.
        headers: Vec<(String, String)>,
    },
    /// Whether the gRPC health service says that it serves.
    Grpc {
        /// Where to.
        address: SocketAddr,
        /// The service asked about; empty for the whole server.
        service: String,
    },
}

/// Why a probe did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeFailure {
    /// The container said no, or did not answer.
    #[error("{0}")]
    Failed(String),
    /// This prober can't put such a question. Counts neither as success nor as failure.
    #[error("{0}")]
    Unsupported(String),
}

/// Puts questions to containers over the network.
///
/// # Contract
/// Cancel-safe: the caller drops the future when the probe's time is over. Concurrent. It keeps no connection.
///
/// Shipped: `NetworkProber` (features `http-probes` and `grpc-probes`); simulated pods have one of the testkit's own.
#[async_trait]
pub trait Prober: Debug + Send + Sync + 'static {
    /// Puts the question.
    ///
    /// # Errors
    /// Why the answer is no, or that there is none.
    async fn probe(&self, request: &ProbeRequest) -> Result<(), ProbeFailure>;
}

const _: fn(&dyn Prober) = |_| {};

/// A prober that can't ask anything.
#[cfg(not(feature = "http-probes"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoProber;

#[cfg(not(feature = "http-probes"))]
#[async_trait]
impl Prober for NoProber {
    async fn probe(&self, _: &ProbeRequest) -> Result<(), ProbeFailure> {
        Err(ProbeFailure::Unsupported(
            "this build has no prober: enable the feature `http-probes`".to_owned(),
        ))
    }
}

/// The first wait of the ramp: about what a small program needs to open its port.
pub(crate) const RAMP_FIRST: Duration = Duration::from_millis(20);
