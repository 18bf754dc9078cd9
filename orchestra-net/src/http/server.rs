//! The proxy's listeners.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;
use tokio::net::TcpStream;

use super::HttpProxy;
use super::forwarded::Client;
use super::tap::{Tap, Tapped};
use super::timer::ConnectionTimer;
use crate::error::NetError;
use crate::listener::{Listening, listen, listen_on};
use crate::workers::Workers;

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Served {
    proxy: HttpProxy,
    pub(super) tap: Tap,
    pub(super) client: Client,
}

impl HttpProxy {
    /// Listens at `address` (port 0: any free one) until the returned value is shut down or dropped, or the
    /// proxy's tasks end.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind(&self, address: SocketAddr) -> Result<Listening, NetError> {
        let (proxy, options) = (self.clone(), self.inner.options);
        let serve = move |stream, client, tasks| proxy.clone().serve(stream, client, tasks);
        listen(address, "the HTTP proxy".to_owned(), options.max_connections, &self.inner.tasks, serve).await
    }

    /// The same on every one of these threads, which then share the load of the address.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind_to(&self, workers: &Workers, address: SocketAddr) -> Result<Listening, NetError> {
        let (proxy, options) = (self.clone(), self.inner.options);
        let serve = move |stream, client, tasks| proxy.clone().serve(stream, client, tasks);
        let (what, most) = ("the HTTP proxy".to_owned(), options.max_connections);
        listen_on(workers, address, what, most, &self.inner.tasks, serve).await
    }

    /// Serves one connection until it ends, or, told to end, until its last request is answered.
    async fn serve(self, stream: TcpStream, client: SocketAddr, tasks: Tasks) {
        let options = self.inner.options;
        let tap = Tap::new(options.max_header_bytes);
        // Of this connection alone: what all connections share is not counted up and down by each request.
        let served = Arc::new(Served { proxy: self, tap: tap.clone(), client: Client::new(client) });
        let service = service_fn(move |request: http::Request<Incoming>| {
            let served = Arc::clone(&served);
            // Boxed: hyper keeps the place for it as long as the connection lives, and it takes kilobytes.
            Box::pin(async move { Ok::<_, Infallible>(served.proxy.handle_incoming(request, &served).await) })
        });
        let connection = http1::Builder::new()
            .timer(ConnectionTimer::default())
            .header_read_timeout(options.header_timeout)
            .max_header_size(options.max_header_bytes)
            // It must hold the largest head, and one that is larger.
            .max_buf_size(2 * options.max_header_bytes)
            .serve_connection(TokioIo::new(Tapped::new(stream, tap, options.write_timeout)), service)
            .with_upgrades();
        tokio::pin!(connection);
        // Polled when it has something to say, and not, under a lock that all connections share, whenever a byte comes.
        let mut told_to_end: FuturesUnordered<_> = [tasks.cancelled()].into_iter().collect();
        let ended = tokio::select! {
            biased;
            Some(()) = told_to_end.next() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(options.shutdown_grace, connection).await {
                    Ok(ended) => ended,
                    Err(_elapsed) => {
                        tracing::warn!(%client, "cut a connection off: its request took longer than the shutdown may");
                        return;
                    }
                }
            }
            ended = connection.as_mut() => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%client, %error, "a client's connection ended");
        }
    }
}
