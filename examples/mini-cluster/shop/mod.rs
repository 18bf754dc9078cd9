//! The shop: six small HTTP services in one program, which the cluster runs as its containers.
//!
//! `mini-cluster shop NAME` runs the service NAME. Everything else comes from the environment, as in any
//! container: `POD_IP` to listen on, `VERSION`, and `<SERVICE>_SERVICE_HOST` and `_PORT` of the others.

mod peers;
mod server;
mod services;

use std::sync::Arc;

use anyhow::{Context, bail};

pub(crate) use services::NAMES;

/// The port that every service of the shop listens on.
const PORT: u16 = 8080;

/// What a service knows of itself.
pub(crate) struct Me {
    pub name: String,
    pub version: String,
    pub pod: String,
}

/// Runs the service `name` until it gets SIGTERM.
pub(crate) async fn run(name: &str) -> anyhow::Result<()> {
    let env = |key: &str| std::env::var(key).unwrap_or_default();
    let me = Arc::new(Me { name: name.to_owned(), version: env("VERSION"), pod: env("POD_NAME") });
    if me.version == "broken" {
        bail!("{name} {}: this version can't start: its database schema is unknown", me.version);
    }
    let handler = services::handler(Arc::clone(&me))?;
    let ip = match env("POD_IP") {
        ip if ip.is_empty() => std::net::IpAddr::from([0, 0, 0, 0]),
        ip => ip.parse().with_context(|| format!("POD_IP is `{ip}`"))?,
    };
    server::serve((ip, PORT).into(), me, handler).await
}
