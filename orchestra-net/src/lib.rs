//! Orchestra's data plane: proxies whose backends come and go without a lost request, and discovery.

mod backend;
mod body;
mod error;
mod forward;
mod headers;
mod upstream;

pub use body::ProxyBody;
pub use error::NetError;
pub use upstream::{Upstream, UpstreamOptions};
