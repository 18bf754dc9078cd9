//! The proxy's listeners.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use super::forwarded::Client;
use super::options::HttpOptions;
use super::tap::{Tap, Tapped};
use super::timer::ConnectionTimer;
use super::{HttpProxy, http2, upgrade};
use crate::body::ProxyBody;
use crate::error::{Cause, NetError};
use crate::lingering::linger;
use crate::listener::{Listening, Place, ended_for, listen, listen_on};
use crate::patient::Patient;
use crate::proxy_protocol::who;
use crate::seldom::Seldom;
use crate::timer::bounded;
#[cfg(feature = "tls")]
use crate::tls::{ServerTls, chose_http2};
use crate::workers::Workers;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) proxy: HttpProxy,
    pub(super) tap: Tap,
    pub(super) client: Client,
    /// Of the listener: what goes on in them is waited for at its end.
    pub(super) tasks: Tasks,
    /// Of the connection, and of what it becomes.
    _place: Place,
    /// The proxy shuts down: the next answer is the last one of the connection.
    pub(super) ending: AtomicBool,
}

impl Served {
    fn new(proxy: HttpProxy, tap: Tap, client: Client, tasks: Tasks, place: Place) -> Self {
        Self { proxy, tap, client, tasks, _place: place, ending: AtomicBool::new(false) }
    }

    /// Says in an answer of HTTP/1.1 that it is the last one, where it is. From HTTP/2, which has other ways, hyper takes it out.
    pub(super) fn mark(&self, response: &mut http::Response<ProxyBody>) {
        if self.ending.load(Ordering::Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl HttpProxy {
    /// Listens at `address` (port 0: any free one) until the returned value is shut down or dropped, or the
    /// proxy's tasks end.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind(&self, address: SocketAddr) -> Result<Listening, NetError> {
        let (proxy, options) = (self.clone(), self.inner.options);
        let serve = move |stream, client, tasks, place| proxy.clone().serve(stream, client, tasks, place);
        listen(address, "the HTTP proxy".to_owned(), options.max_connections, &self.inner.tasks, serve).await
    }

    /// The same on every one of these threads, which then share the load of the address.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind_to(&self, workers: &Workers, address: SocketAddr) -> Result<Listening, NetError> {
        let (proxy, options) = (self.clone(), self.inner.options);
        let serve = move |stream, client, tasks, place| proxy.clone().serve(stream, client, tasks, place);
        let (what, most) = ("the HTTP proxy".to_owned(), options.max_connections);
        listen_on(workers, address, what, most, &self.inner.tasks, serve).await
    }

    /// The same as [`bind`](Self::bind), over TLS. One proxy may listen at several addresses, with and without it.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    #[cfg(feature = "tls")]
    pub async fn bind_tls(&self, address: SocketAddr, tls: &ServerTls) -> Result<Listening, NetError> {
        let (proxy, options, tls) = (self.clone(), self.inner.options, tls.clone());
        let serve = move |stream, client, tasks, place| {
            proxy.clone().serve_tls(stream, client, tls.clone(), tasks, place)
        };
        let what = "the HTTP proxy over TLS".to_owned();
        listen(address, what, options.max_connections, &self.inner.tasks, serve).await
    }

    /// The same on every one of these threads, which then share the load of the address.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    #[cfg(feature = "tls")]
    pub async fn bind_tls_to(
        &self,
        workers: &Workers,
        address: SocketAddr,
        tls: &ServerTls,
    ) -> Result<Listening, NetError> {
        let (proxy, options, tls) = (self.clone(), self.inner.options, tls.clone());
        let serve = move |stream, client, tasks, place| {
            proxy.clone().serve_tls(stream, client, tls.clone(), tasks, place)
        };
        let (what, most) = ("the HTTP proxy over TLS".to_owned(), options.max_connections);
        listen_on(workers, address, what, most, &self.inner.tasks, serve).await
    }

    /// Serves one connection until it ends, or, told to end, until its last request is answered.
    #[allow(
        clippy::manual_async_fn,
        reason = "a block keeps what it is given once, an `async fn` twice, and idle connections are many"
    )]
    pub(crate) fn serve(
        self,
        mut stream: TcpStream,
        client: SocketAddr,
        tasks: Tasks,
        place: Place,
    ) -> impl Future<Output = ()> + Send {
        async move {
            let Some(client) = self.who(&mut stream, client, &tasks).await else { return };
            let stream = Patient::new(stream, self.inner.options.write_timeout);
            self.converse(stream, Client::new(client), tasks, place).await;
        }
    }

    /// The same, after a handshake, which is waited for here and not where connections are accepted.
    #[cfg(feature = "tls")]
    async fn serve_tls(
        self,
        mut stream: TcpStream,
        client: SocketAddr,
        tls: ServerTls,
        tasks: Tasks,
        place: Place,
    ) {
        let Some(client) = self.who(&mut stream, client, &tasks).await else { return };
        // Boxed, as it is over soon.
        let shaken = Box::pin(tls.accept(stream, client, &self.inner.options, &tasks)).await;
        let Some(stream) = shaken else { return };
        let client = Client::over_tls(client);
        match chose_http2(&stream) {
            true => {
                let tap = Tap::new(0);
                let served = Arc::new(Served::new(self, tap.clone(), client, tasks, place));
                Box::pin(http2::serve(Tapped::new(stream, tap), served)).await;
            }
            false => Box::pin(self.converse(stream, client, tasks, place)).await,
        }
    }

    /// Who a connection comes from; `None` where it had to say so, and does not.
    async fn who(&self, stream: &mut TcpStream, client: SocketAddr, tasks: &Tasks) -> Option<SocketAddr> {
        let options = &self.inner.options;
        match options.proxy_protocol {
            false => Some(client),
            true => Box::pin(who(stream, client, options.header_timeout, options.idle_grace, tasks)).await,
        }
    }

    /// Speaks HTTP/1.1, or HTTP/2 where the client begins with it.
    fn converse<S>(
        self,
        stream: S,
        client: Client,
        tasks: Tasks,
        place: Place,
    ) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let tap = Tap::new(self.inner.options.max_header_bytes);
        // Of this connection alone: what all connections share is not counted up and down by each request.
        let served = Arc::new(Served::new(self, tap.clone(), client, tasks, place));
        let stream = match served.client.scheme {
            "http" => Tapped::new(stream, tap).ending_silently(),
            _ => Tapped::new(stream, tap),
        };
        let options = &served.proxy.inner.options;
        let of_requests = Arc::clone(&served);
        let service = service_fn(move |mut request| {
            upgrade::begin(&mut request, &of_requests);
            HttpProxy::handle_incoming(request, Arc::clone(&of_requests))
        });
        let mut connection = http1::Builder::new()
            .timer(ConnectionTimer::default())
            .header_read_timeout(bounded(options.header_timeout))
            .max_header_size(options.max_header_bytes)
            // It must hold the largest head, and one that is larger.
            .max_buf_size(2 * options.max_header_bytes)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // Polled when it has something to say, and not, under a lock that all connections share, whenever a byte comes.
        let told_to_end = served.tasks.cancelled();
        // What few connections come to is boxed: the others keep no place for it.
        async move {
            let (ended, left) = {
                let told_to_end = pin!(told_to_end);
                let mut told_to_end = Seldom::new(told_to_end);
                tokio::select! {
                    biased;
                    () = &mut told_to_end => {
                        served.ending.store(true, Ordering::Relaxed);
                        Box::pin(last_requests(&mut connection, &served.proxy.inner.options)).await
                    }
                    ended = &mut connection => (Ok(ended), None),
                }
            };
            if let Some(rest) = what_follows(ended, left, connection, served) {
                rest.await;
            }
        }
    }
}

/// Lets the requests that are under way, and one that may just be coming, be answered. Returns how much of the time for that is left.
async fn last_requests<S, V>(
    connection: &mut UpgradeableConnection<TokioIo<Tapped<S>>, V>,
    options: &HttpOptions,
) -> (Result<hyper::Result<()>, Elapsed>, Option<Duration>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    V: HttpService<Incoming, ResBody = ProxyBody>,
    V::Error: Into<Cause>,
{
    if let Ok(ended) = tokio::time::timeout(options.idle_grace, &mut *connection).await {
        return (Ok(ended), None);
    }
    Pin::new(&mut *connection).graceful_shutdown();
    let began = Instant::now();
    let ended = tokio::time::timeout(options.shutdown_grace, connection).await;
    (ended, Some(options.shutdown_grace.saturating_sub(began.elapsed())))
}

/// What the stream is still there for: its client speaks HTTP/2, or has been answered while it sends. How a connection ended is told, if
/// not well.
fn what_follows<S, V>(
    ended: Result<hyper::Result<()>, Elapsed>,
    left: Option<Duration>,
    connection: UpgradeableConnection<TokioIo<Tapped<S>>, V>,
    served: Arc<Served>,
) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    V: HttpService<Incoming, ResBody = ProxyBody>,
    V::Error: Into<Cause>,
{
    let client = served.client.address;
    let error = match ended {
        Ok(Ok(())) if !served.tap.is_in_body() => return None,
        Ok(ended) => ended.err(),
        Err(_elapsed) => {
            tracing::warn!(%client, "cut a connection off: its request took longer than the shutdown may");
            return None;
        }
    };
    let parts = connection.into_parts()?;
    let speaks_http2 = error.is_some() && parts.read_buf.starts_with(PREFACE);
    let stream = parts.io.into_inner().again(parts.read_buf);
    if speaks_http2 {
        return Some(Box::pin(http2::serve(stream, served)));
    }
    if let Some(error) = &error {
        tracing::debug!(%client, %error, "a client's connection ended");
    }
    // Who is to blame for another error is gone, or has taken nothing for long.
    error.is_none_or(|error| error.is_parse()).then(|| Box::pin(linger_within(stream, left, served)) as _)
}

/// Lets the client read its answer, for as long as its place may be held: where that ends already, for what is `left` of the time.
async fn linger_within<S>(stream: S, left: Option<Duration>, served: Arc<Served>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let left = left.unwrap_or(served.proxy.inner.options.shutdown_grace);
    tokio::select! {
        biased;
        () = ended_for(&served.tasks, left) => {}
        () = linger(stream) => {}
    }
}
