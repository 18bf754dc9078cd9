//! TLS, by rustls: towards clients, who get the certificate of the name that they ask for, and towards endpoints, whose
//! certificates are verified.

mod certificates;
mod client;
mod error;
mod identity;
mod server;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub use self::client::ClientTls;
pub use self::error::TlsError;
pub use self::identity::Identity;
pub use self::server::ServerTls;
pub(crate) use self::server::chose_http2;

/// What ALPN calls the protocols (RFC 7301).
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The cryptography, named at each use: which one a process has by default is the application's affair.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
