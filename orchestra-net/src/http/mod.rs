//! HTTP/1.1 and HTTP/2: a proxy and a client, in front of the same forwarding.

mod access;
mod affinity;
mod answers;
mod client;
mod endpoints;
mod forward;
mod forwarded;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod gateway;
pub(crate) mod grpc;
mod guard;
mod hedge;
mod hop;
mod http2;
mod identity;
mod index;
mod mirror;
mod options;
mod propagator;
mod proxy;
mod query;
mod rate;
mod rewrite;
mod route;
mod routes;
mod server;
mod taking;
mod tap;
mod timer;
mod upgrade;

pub use self::affinity::{HashPolicy, SameSite, StickyCookie};
pub use self::client::ServiceClient;
pub use self::endpoints::answer_endpoints;
pub use self::hedge::Hedge;
pub use self::options::HttpOptions;
pub use self::propagator::Propagator;
pub use self::proxy::{ClientAddress, HttpProxy};
pub(crate) use self::proxy::{FNV, fnv, hash};
pub use self::rate::RateLimit;
pub use self::rewrite::{HeaderChanges, PathChange, Redirect};
pub use self::route::Route;
pub use self::routes::Routes;
pub(crate) use self::tap::Tap;
pub(crate) use self::timer::FreshTimer;
