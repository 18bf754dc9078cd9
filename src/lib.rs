//! Orchestra is an embeddable container orchestrator: what Kubernetes gives a cluster, inside one process.
//!
//! Declare objects; it schedules them, heals them, scales them, balances load over them, rolls them out and
//! back. Start with [`Cluster`]; everything it decides can be replaced by implementing one of six traits:
//! [`Scheduler`](scheduler::Scheduler), [`Rollout`](rollout::Rollout), [`LoadBalancer`](balance::LoadBalancer),
//! [`Autoscaler`](autoscale::Autoscaler), [`Runtime`](runtime::Runtime) and [`Store`](store::Store).
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `process` | yes | [`process`]: the runtime of plain processes |
//! | `docker` | no | [`docker`]: the runtime on Docker Engine |
//! | `docker-tls`, `docker-ssh` | no | engines of other hosts as nodes, over TLS and over ssh |
//! | `net` | yes | [`net`]: service addresses, proxies, draining, in-process clients |
//! | `tls` | no | proxies and endpoints over TLS, by rustls; needs a C compiler |
//! | `dns` | yes | a DNS server for the names of services and pods |
//! | `dns-forward` | no | it can pass questions about other names on, by a resolver with a cache |
//! | `http-probes` | yes | probes and lifecycle hooks over TCP and HTTP |
//! | `grpc-probes` | yes | probes of the gRPC health service |

mod cluster;

#[cfg(feature = "net")]
pub use cluster::ProxyHandle;
pub use cluster::{BuildError, Cluster, ClusterBuilder, ClusterError, ClusterWhatIf, NodeOptions, PodHandle};
pub use orchestra_core::{
    autoscale, balance, client, clock, controller, drain, engine, model, node, rng, rollout, runtime,
    scheduler, store,
};
#[cfg(feature = "docker")]
pub use orchestra_docker as docker;
#[cfg(feature = "net")]
pub use orchestra_net as net;
#[cfg(feature = "process")]
pub use orchestra_process as process;

/// What most programs need: `use orchestra::prelude::*;`.
pub mod prelude {
    pub use orchestra_core::client::{Client, ClientError, DeleteOptions, ListOptions};
    pub use orchestra_core::model::{
        ConfigMap, Container, Deployment, HorizontalPodAutoscaler, Namespace, Node, Object as _, Pod,
        PodDisruptionBudget, Probe, Resource as _, Secret, Service,
    };
    pub use orchestra_core::runtime::{ExecOptions, LogOptions, TarStream};
    #[cfg(feature = "docker")]
    pub use orchestra_docker::{DockerRuntime, ImageFiles};
    #[cfg(feature = "process")]
    pub use orchestra_process::{ProcessImage, ProcessRuntime};

    pub use crate::{Cluster, NodeOptions};
}

/// The README's code, so that it goes on to compile.
#[cfg(all(doctest, feature = "process", feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// And that of the page about what is told.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../docs/observability.md")]
struct Observability;
