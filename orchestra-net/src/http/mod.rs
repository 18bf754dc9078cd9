//! HTTP/1.1 and HTTP/2: a proxy and a client, in front of the same forwarding.

mod access;
mod answers;
mod client;
mod forward;
mod forwarded;
mod guard;
mod hop;
mod http2;
mod identity;
mod options;
mod proxy;
mod rate;
mod rewrite;
mod route;
mod routes;
mod server;
mod tap;
mod timer;
mod upgrade;

pub use self::client::ServiceClient;
pub use self::options::HttpOptions;
pub(crate) use self::proxy::hash;
pub use self::proxy::{ClientAddress, HttpProxy};
pub use self::rate::RateLimit;
pub use self::rewrite::{HeaderChanges, PathChange, Redirect};
pub use self::route::Route;
pub use self::routes::Routes;
