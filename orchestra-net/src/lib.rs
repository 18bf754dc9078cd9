//! Orchestra's data plane: proxies whose endpoints come and go without a lost request, and discovery.
//!
//! Which of these do I want?
//! - [`DataPlane`] follows the Services and EndpointSlices of a cluster: it listens on their addresses, takes
//!   part in drains, and hands out clients and routes.
//! - [`HttpProxy`], [`TcpProxy`] and [`UdpProxy`] in front of an [`Upstream`], for endpoints from anywhere.
//! - [`Workers`] under those proxies, where they carry much: one thread a core.
//! - [`ServiceClient`] for requests from this process, with no proxy in between.
//!
//! An [`Upstream`] is the endpoints of one service port: a [`LoadBalancer`](orchestra_core::balance::LoadBalancer)
//! picks among them, failures eject them for a while, and a drain takes a pod out and waits for its last request.
//!
//! A new process takes over what an old one listens on by [`Workers::inherit`] and [`Heir`], on Linux.
//!
//! With the feature `tls`, [`HttpProxy::bind_tls`] speaks TLS with clients and [`Upstream::set_tls`] with endpoints. With `dns-forward`, `DnsOptions`
//! can have the DNS server pass questions about other names on.
//!
//! What it tells through the `metrics` facade bears the label `service`; `docs/observability.md` has the names. A
//! recorder must be installed before a service is known. How endpoints are doing, [`Upstream::describe`] and [`ServiceTable::describe`]
//! say, and [`answer_endpoints`] over HTTP; with a [`Propagator`] requests are in traces of the application's own.

mod body;
mod connection;
mod discovery;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod greeting;
#[cfg(target_os = "linux")]
mod handover;
mod http;
mod http2;
mod idle;
mod kept;
mod lingering;
mod listener;
mod patient;
mod plane;
mod progress;
mod proxy_protocol;
mod pump;
mod seldom;
mod setters;
mod stream;
mod tcp;
mod timer;
#[cfg(feature = "tls")]
mod tls;
mod udp;
mod upstream;
mod workers;
mod wrapped;

pub use body::{MAX_BODY, ProxyBody};
#[cfg(feature = "dns-forward")]
pub use discovery::DnsForward;
pub use discovery::{Answer, ClusterIps, NamedPort, Question, ServiceRecord, Target, Zone};
#[cfg(feature = "dns")]
pub use discovery::{DnsOptions, DnsServer};
pub use error::NetError;
#[cfg(target_os = "linux")]
pub use handover::{Heir, Inherited};
pub use http::{
    ClientAddress, HashPolicy, HeaderChanges, Hedge, HttpOptions, HttpProxy, PathChange, Propagator,
    RateLimit, Redirect, Route, Routes, SameSite, ServiceClient, StickyCookie, answer_endpoints,
};
pub use listener::Listening;
pub use plane::{
    BALANCER_ANNOTATION, DataPlane, DataPlaneOptions, GatewayOptions, Listener, ListenerStatus, PortKey,
    ServiceTable,
};
pub use proxy_protocol::ProxyProtocol;
pub use tcp::{TcpOptions, TcpProxy};
#[cfg(feature = "tls")]
pub use tls::{ClientTls, Identity, ServerTls, TlsError};
pub use udp::{UdpOptions, UdpProxy};
pub use upstream::{
    EndpointState, EndpointStatus, HealthCheck, Probe, ServicesStatus, Ticket, Upstream, UpstreamOptions,
    UpstreamStatus,
};
pub use workers::Workers;
