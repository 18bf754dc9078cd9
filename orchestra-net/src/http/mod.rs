//! HTTP/1.1: a proxy and a client, in front of the same forwarding.

mod answers;
mod client;
mod forward;
mod forwarded;
mod guard;
mod hop;
mod proxy;
mod routes;
mod server;
mod tap;
mod timer;
mod upgrade;

pub use self::client::ServiceClient;
pub(crate) use self::proxy::hash;
pub use self::proxy::{ClientAddress, HttpOptions, HttpProxy};
pub use self::routes::{Route, Routes};
