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

use super::forwarded::Client;
use super::tap::{Tap, Tapped};
use super::timer::ConnectionTimer;
use super::{HttpProxy, http2};
use crate::error::NetError;
use crate::listener::{Listening, listen, listen_on};
use crate::proxy_protocol::who;
use crate::workers::Workers;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) proxy: HttpProxy,
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
    async fn serve(self, mut stream: TcpStream, client: SocketAddr, tasks: Tasks) {
        let options = self.inner.options;
        let client = match options.proxy_protocol {
            false => client,
            true => {
                let told = Box::pin(who(&mut stream, client, options.header_timeout, &tasks)).await;
                let Some(client) = told else { return };
                client
            }
        };
        let tap = Tap::new(options.max_header_bytes);
        // Of this connection alone: what all connections share is not counted up and down by each request.
        let served = Arc::new(Served { proxy: self, tap: tap.clone(), client: Client::new(client) });
        let of_requests = Arc::clone(&served);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let served = Arc::clone(&of_requests);
            // Boxed: hyper keeps the place for it as long as the connection lives, and it takes kilobytes.
            Box::pin(async move { Ok::<_, Infallible>(served.proxy.handle_incoming(request, &served).await) })
        });
        let mut connection = http1::Builder::new()
            .timer(ConnectionTimer::default())
            .header_read_timeout(options.header_timeout)
            .max_header_size(options.max_header_bytes)
            // It must hold the largest head, and one that is larger.
            .max_buf_size(2 * options.max_header_bytes)
            .serve_connection(TokioIo::new(Tapped::new(stream, tap, options.write_timeout)), service)
            .with_upgrades();
        // Polled when it has something to say, and not, under a lock that all connections share, whenever a byte comes.
        let mut told_to_end: FuturesUnordered<_> = [tasks.cancelled()].into_iter().collect();
        let ended = tokio::select! {
            biased;
            Some(()) = told_to_end.next() => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::time::timeout(options.shutdown_grace, &mut connection).await
            }
            ended = &mut connection => Ok(ended),
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => match connection.into_parts() {
                Some(parts) if parts.read_buf.starts_with(PREFACE) => {
                    let stream = parts.io.into_inner().again(parts.read_buf);
                    // Boxed, so that connections of HTTP/1.1 keep no place for it.
                    Box::pin(http2::serve(stream, served, tasks)).await;
                }
                _ => tracing::debug!(%client, %error, "a client's connection ended"),
            },
            Err(_elapsed) => {
                tracing::warn!(%client, "cut a connection off: its request took longer than the shutdown may");
            }
        }
    }
}
