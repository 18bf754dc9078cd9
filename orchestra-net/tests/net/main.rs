//! The data plane over real sockets.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may fail at any line")]

mod affinity;
mod app_protocol;
mod backend;
mod client;
mod data_plane;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "dns-forward")]
mod dns_forward;
mod drain;
mod floods;
mod follow;
mod frames;
mod gateway;
#[cfg(target_os = "linux")]
mod handover;
mod health;
mod hedging;
mod hostile;
mod http2;
mod learning;
mod limits;
mod lingering;
mod mirrors;
mod names;
mod proxy;
mod proxy_protocol;
mod refused;
mod retries;
mod routes;
mod service_changes;
mod shared;
mod status;
mod streams;
mod table;
#[cfg(feature = "tls")]
mod tls;
mod traces;
mod tunnels;
mod udp;

use std::time::Duration;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `holds`.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The result of `future`, which comes in time.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}
