//! The HTTP proxy: routes requests to services.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use orchestra_core::engine::Tasks;
use tracing::Instrument;

use super::forwarded::{Client, forwarded};
use super::routes::Routes;
use super::server::Served;
use super::tap::Tap;
use super::{answers, forward, guard, upgrade};
use crate::body::ProxyBody;
use crate::error::NetError;
use crate::upstream::Upstream;

/// How an [`HttpProxy`] treats its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpOptions {
    /// How long a client may take for the head of a request; also how long a connection waits for one.
    pub header_timeout: Duration,
    /// How long requests in flight may take when the proxy shuts down.
    pub shutdown_grace: Duration,
    /// How many connections there may be. More wait in the kernel until one has ended.
    pub max_connections: usize,
    /// Whether clients are believed what they say in `X-Forwarded-*`: only where they are proxies of ours.
    pub trust_forwarded: bool,
    /// Whether requests of one client address go to one endpoint. Counts where the balancer is one that looks
    /// at it.
    pub hash_client_address: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            // At about 20 KB a connection: 330 MB at the worst.
            max_connections: 16 * 1024,
            trust_forwarded: false,
            hash_client_address: false,
        }
    }
}

impl HttpOptions {
    /// Sets [`header_timeout`](Self::header_timeout).
    #[must_use]
    pub fn with_header_timeout(self, header_timeout: Duration) -> Self {
        Self { header_timeout, ..self }
    }

    /// Sets [`shutdown_grace`](Self::shutdown_grace).
    #[must_use]
    pub fn with_shutdown_grace(self, shutdown_grace: Duration) -> Self {
        Self { shutdown_grace, ..self }
    }

    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn with_max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// Sets [`trust_forwarded`](Self::trust_forwarded).
    #[must_use]
    pub fn with_trust_forwarded(self, trust_forwarded: bool) -> Self {
        Self { trust_forwarded, ..self }
    }

    /// Sets [`hash_client_address`](Self::hash_client_address).
    #[must_use]
    pub fn with_hash_client_address(self, hash_client_address: bool) -> Self {
        Self { hash_client_address, ..self }
    }
}

/// Where a request came from. The proxy's listeners know; whoever calls it as a tower `Service` puts it
/// into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

/// An HTTP/1.1 proxy. Clones are the same proxy.
///
/// It listens only where it is [bound](Self::bind); as a `tower::Service` it can stand in any server. Bodies
/// stream both ways. Nothing but `X-Forwarded-*` is added to a request, and `Host` stays.
#[derive(Clone, Debug)]
pub struct HttpProxy {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    routes: ArcSwap<Routes>,
    pub(super) options: HttpOptions,
    pub(super) tasks: Tasks,
}

impl HttpProxy {
    /// A proxy with these routes, whose tasks run in `tasks`.
    #[must_use]
    pub fn new(routes: Routes, options: HttpOptions, tasks: &Tasks) -> Self {
        let inner = Inner { routes: ArcSwap::default(), options, tasks: tasks.clone() };
        let proxy = Self { inner: Arc::new(inner) };
        proxy.set_routes(routes);
        proxy
    }

    /// Replaces the routes. Requests that were routed before go on.
    pub fn set_routes(&self, routes: Routes) {
        routes.iter().for_each(|route| route.upstream.tend(&self.inner.tasks));
        self.inner.routes.store(Arc::new(routes));
    }

    /// Answers a request from a client at `client`; what goes wrong is an answer, too.
    pub async fn handle<B>(&self, request: Request<B>, client: SocketAddr) -> Response<ProxyBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut request = request;
        let span = span(&request);
        let routed = self.route(&mut request, &Client::new(client), None);
        self.answer(routed, request, |request, _| async { Ok(request.map(ProxyBody::new)) })
            .instrument(span)
            .await
    }

    /// The same, for the proxy's own listeners.
    pub(super) async fn handle_incoming(
        &self,
        mut request: Request<Incoming>,
        served: &Served,
    ) -> Response<ProxyBody> {
        let span = span(&request);
        let routed = self.route(&mut request, &served.client, Some(&served.tap));
        served.tap.clear();
        self.answer(routed, request, forward::take).instrument(span).await
    }

    /// Checks a request, tells the endpoint of its client, and finds its service.
    fn route<B>(
        &self,
        request: &mut Request<B>,
        client: &Client,
        tap: Option<&Tap>,
    ) -> Result<(Arc<Upstream>, Option<u64>), NetError> {
        guard::admit(request, tap)?;
        let options = &self.inner.options;
        let routes = self.inner.routes.load();
        let upstream = routes.find(request).ok_or_else(|| {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            NetError::NoService(format!("{host}{}", request.uri().path()))
        })?;
        forwarded(request.headers_mut(), client, options.trust_forwarded);
        let hash = options.hash_client_address.then(|| hash(client.address));
        Ok((Arc::clone(upstream), hash))
    }

    async fn answer<B: Body, F>(
        &self,
        routed: Result<(Arc<Upstream>, Option<u64>), NetError>,
        request: Request<B>,
        take: impl FnOnce(Request<B>, Duration) -> F,
    ) -> Response<ProxyBody>
    where
        F: Future<Output = Result<Request<ProxyBody>, NetError>>,
    {
        let answered = match routed {
            Ok((upstream, hash)) if upgrade::is_asked(&request) => {
                upgrade::forward(&upstream, request, hash, &self.inner.tasks).await
            }
            Ok((upstream, hash)) => match take(request, upstream.options.response_timeout).await {
                Ok(request) => forward::forward(&upstream, request, hash).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let response = answered.unwrap_or_else(|error| {
            tracing::debug!(%error, "answered for a service");
            answers::failure(&error)
        });
        tracing::Span::current().record("status", response.status().as_u16());
        response
    }
}

fn span<B>(request: &Request<B>) -> tracing::Span {
    tracing::debug_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        status = tracing::field::Empty,
    )
}

/// FNV-1a over the client's address, so that every proxy agrees.
pub(crate) fn hash(client: SocketAddr) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    match client.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().iter().fold(0xcbf2_9ce4_8422_2325, step),
        std::net::IpAddr::V6(ip) => ip.octets().iter().fold(0xcbf2_9ce4_8422_2325, step),
    }
}

impl<B> tower::Service<Request<B>> for HttpProxy
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ProxyBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let proxy = self.clone();
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let client = request.extensions().get::<ClientAddress>().map_or(unknown, |address| address.0);
        Box::pin(async move { Ok(proxy.handle(request, client).await) })
    }
}
