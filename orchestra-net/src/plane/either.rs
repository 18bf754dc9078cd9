//! A service's port over TCP: what its connections are taken for may change at any time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::Either;
use orchestra_core::engine::Tasks;

use super::options::DataPlaneOptions;
use crate::error::NetError;
use crate::http::{HttpProxy, Routes};
use crate::listener::{Listening, listen_in, places};
use crate::tcp::TcpProxy;
use crate::upstream::Upstream;

/// Whether connections are taken for HTTP, from the next one on.
pub(super) type SpeaksHttp = Arc<AtomicBool>;

/// Listens at `address`. Connections stay what they began as.
pub(super) async fn listen_for_either(
    address: SocketAddr,
    upstream: Arc<Upstream>,
    speaks_http: SpeaksHttp,
    options: &DataPlaneOptions,
    tasks: &Tasks,
) -> Result<Listening, NetError> {
    let what = upstream.name().to_string();
    let of_http = places(options.http.max_connections);
    let of_others = places(options.tcp.max_connections);
    let http = HttpProxy::new(Routes::to(Arc::clone(&upstream)), options.http, tasks);
    let tcp = TcpProxy::new(upstream, options.tcp, tasks);
    // One whose place was taken before a change counts among those of before.
    let speaks = Arc::clone(&speaks_http);
    let place = move || Arc::clone(if speaks.load(Ordering::Relaxed) { &of_http } else { &of_others });
    let serve = move |stream, client, tasks, place| match speaks_http.load(Ordering::Relaxed) {
        true => Either::Left(http.clone().serve(stream, client, tasks, place)),
        false => Either::Right(tcp.clone().serve(stream, client, tasks, place)),
    };
    listen_in(place, address, what, tasks, serve).await
}
