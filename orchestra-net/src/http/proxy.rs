//! The HTTP proxy: routes requests to services.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HOST, HeaderMap};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use orchestra_core::engine::Tasks;
use tracing::Instrument;
use tracing::level_filters::LevelFilter;

use super::access::Access;
use super::forwarded::{Client, forwarded};
use super::identity::{Ids, REQUEST_ID, TRACEPARENT};
use super::options::HttpOptions;
use super::rate::Rates;
use super::route::Route;
use super::routes::Routes;
use super::server::Served;
use super::tap::Tap;
use super::{answers, forward, grpc, guard, hop, identity, upgrade};
use crate::body::ProxyBody;
use crate::error::NetError;
use crate::upstream::{Affinity, AnsweredBy, Deadline, Upstream};

/// Where a request came from. The proxy's listeners know; whoever calls it as a tower `Service` puts it
/// into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

/// A proxy of HTTP/1.1 and HTTP/2. Clones are the same proxy.
///
/// Clients speak HTTP/2 from the first byte on (h2c with prior knowledge), as gRPC does; what endpoints speak,
/// [`UpstreamOptions::http2`](crate::UpstreamOptions::http2) says.
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
    rates: Rates,
    ids: Ids,
}

impl HttpProxy {
    /// A proxy with these routes, whose tasks run in `tasks`.
    #[must_use]
    pub fn new(routes: Routes, options: HttpOptions, tasks: &Tasks) -> Self {
        let (rates, ids) = (Rates::new(), Ids::new());
        let inner = Inner { routes: ArcSwap::default(), options, tasks: tasks.clone(), rates, ids };
        let proxy = Self { inner: Arc::new(inner) };
        proxy.set_routes(routes);
        proxy
    }

    /// Replaces the routes. Requests that were routed before go on, and so do the shares of a rule that is for the same requests, services
    /// and weights as one before: however often routes are replaced, each service gets its own.
    pub fn set_routes(&self, routes: Routes) {
        routes.go_on_from(&self.inner.routes.load());
        routes.iter().flat_map(Route::services).for_each(|upstream| upstream.tend(&self.inner.tasks));
        self.inner.routes.store(Arc::new(routes));
    }

    /// Answers a request from a client at `client`; what goes wrong is an answer, too.
    pub async fn handle<B>(&self, request: Request<B>, client: SocketAddr) -> Response<ProxyBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let options = &self.inner.options;
        let mut request = request.map(|body| ProxyBody::new(body).bounded(options));
        let span = span(&mut request, options);
        self.answer(&mut request, &Client::new(client), None).instrument(span).await
    }

    /// The same, for the proxy's own listeners.
    pub(super) fn handle_incoming(
        request: Request<Incoming>,
        served: Arc<Served>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<ProxyBody>, Infallible>> + Send>> {
        let options = &served.proxy.inner.options;
        let http2 = request.version() == Version::HTTP_2;
        let mut request = request.map(|body| ProxyBody::request(body, http2, options, &served.tap));
        let span = span(&mut request, options);
        // Boxed: hyper keeps the place for it as long as the connection lives.
        Box::pin(async move {
            let answering = served.proxy.answer(&mut request, &served.client, Some(&served.tap));
            let mut response = answering.instrument(span).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                served.tap.become_raw();
            }
            served.mark(&mut response);
            Ok(response)
        })
    }

    /// Checks a request, tells the endpoint of its client, and finds its service. `peer`: who sent it; `client`: who asks.
    pub(super) fn route<B>(
        &self,
        request: &mut Request<B>,
        peer: &Client,
        client: &Client,
        tap: Option<&Tap>,
    ) -> Result<Routed, NetError> {
        let options = &self.inner.options;
        if let Some(limit) = options.rate_limit
            && let Err(wait) = self.inner.rates.take(client.address.ip(), limit)
        {
            return Err(NetError::TooManyRequests { per_second: limit.per_second.get(), wait });
        }
        guard::admit(request, tap)?;
        let routes = self.inner.routes.load();
        let nobody = || {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            NetError::NoService(format!("{host}{}", request.uri().path()))
        };
        let route = routes.find(request).ok_or_else(nobody)?;
        if let Some(redirected) = route.redirected(request, client.scheme) {
            let mut redirected = redirected?;
            route.answers.apply(redirected.headers_mut());
            return Ok(Routed::Redirected(redirected));
        }
        let hash = match &route.hash_by {
            None => options.hash_client_address.then(|| hash(client.address)),
            Some(policy) => policy.hash(request.headers(), client),
        };
        let session = route.sticky.as_ref().map(|cookie| cookie.session(request.headers()));
        let upstream = route.service(session, hash);
        let upstream = upstream.ok_or_else(|| NetError::NoBackend(request.uri().path().to_owned()))?;
        let affinity = Affinity {
            hash: match route.hash_by {
                None => hash.or_else(|| upstream.hash_of(client.address, false)),
                Some(_) => hash,
            },
            session,
            response_timeout: route.response_timeout,
            deadline: route.timeout.map(Deadline::after),
            named: session.is_some() || options.access_log,
        };
        let upstream = Arc::clone(upstream);
        hop::settle(request.headers_mut());
        forwarded(request.headers_mut(), peer, options.trust_forwarded, options.forwarded);
        if options.request_ids || options.trace_context || options.propagator.is_some() {
            self.inner.ids.name(request, options);
            tell_names(request.headers());
        }
        route.change(request)?;
        Ok(Routed::To { route: Arc::clone(route), upstream, affinity })
    }

    /// What becomes of a request. It stays where it is: moving it from one function to the next costs more than they do.
    async fn answer(
        &self,
        request: &mut Request<ProxyBody>,
        peer: &Client,
        tap: Option<&Tap>,
    ) -> Response<ProxyBody> {
        let options = &self.inner.options;
        let told = options.trust_forwarded.then(|| Box::new(peer.told(request.headers())));
        let client = told.as_deref().unwrap_or(peer);
        // Before the route changes it.
        let mut access = options.access_log.then(|| Box::new(Access::begin(request, client.address)));
        let routed = self.route(request, peer, client, tap);
        if let Some(tap) = tap {
            tap.clear(request.body().is_incoming());
        }
        if let Some(access) = &mut access {
            access.routed(request, &routed);
        }
        let grpc = grpc::is_asked(request);
        let answered = match routed {
            Ok(Routed::To { route, upstream, affinity }) => {
                self.ask(&route, &upstream, affinity, request).await
            }
            Ok(Routed::Redirected(response)) => Ok(response.map(|()| ProxyBody::default())),
            Err(error) => Err(error),
        };
        let response = answered.unwrap_or_else(|error| answers::instead(&error, grpc));
        if LevelFilter::current() >= LevelFilter::DEBUG {
            tracing::Span::current().record("status", response.status().as_u16());
        }
        match access {
            Some(access) => access.answered(response),
            None => response,
        }
    }

    /// Has a service asked, within the time that the route allows, and changes its answer as the route says.
    async fn ask(
        &self,
        route: &Route,
        upstream: &Arc<Upstream>,
        affinity: Affinity,
        request: &mut Request<ProxyBody>,
    ) -> Result<Response<ProxyBody>, NetError> {
        let mut response = match route.timeout {
            None => self.forward(route, upstream, affinity, request).await?,
            Some(limit) => {
                let forwarding = self.forward(route, upstream, affinity, request);
                let late = |_elapsed| NetError::Deadline { service: Arc::clone(upstream.name()), limit };
                Box::pin(tokio::time::timeout(limit, forwarding)).await.map_err(late)??
            }
        };
        route.answers.apply(response.headers_mut());
        if let Some(cookie) = &route.sticky
            && let Some(endpoint) = response.extensions().get().map(AnsweredBy::tag)
        {
            cookie.issue(response.headers_mut(), affinity.session, endpoint);
        }
        Ok(response)
    }

    /// What few requests need is boxed, so that the others have no room for it.
    async fn forward(
        &self,
        route: &Route,
        upstream: &Arc<Upstream>,
        affinity: Affinity,
        request: &mut Request<ProxyBody>,
    ) -> Result<Response<ProxyBody>, NetError> {
        // Those that speak HTTP/2 have nothing to change to: for them it is a plain request (RFC 9110, 7.8).
        if upgrade::is_asked(request) && !upstream.options().http2 {
            return Box::pin(upgrade::forward(upstream, request, affinity, &self.inner)).await;
        }
        forward::fits(request.body(), self.inner.options.max_body)?;
        if request.body().is_incoming() && request.method().is_idempotent() {
            Box::pin(forward::take(request)).await?;
        }
        let mirrors = route.mirrors.iter();
        let originals = mirrors.filter_map(|mirror| mirror.copy(request, &self.inner.tasks)).collect();
        let mut response = match &route.hedge {
            None => forward::forward(upstream, request, affinity, None).await?,
            Some(hedge) => Box::pin(hedge.forward(upstream, request, affinity)).await?,
        };
        response.body_mut().hold(originals);
        Ok(response)
    }
}

/// What becomes of a request.
pub(super) enum Routed {
    To { route: Arc<Route>, upstream: Arc<Upstream>, affinity: Affinity },
    Redirected(Response<()>),
}

/// The request's span, in the trace of whoever sent it where the options say so.
fn span<B>(request: &mut Request<B>, options: &HttpOptions) -> tracing::Span {
    let span = tracing::debug_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        status = tracing::field::Empty,
        request_id = tracing::field::Empty,
        traceparent = tracing::field::Empty,
        otel.kind = tracing::field::Empty,
    );
    identity::join(request, &span, options);
    span
}

/// Tells the request's span what the request is called.
fn tell_names(headers: &HeaderMap) {
    let span = tracing::Span::current();
    for (field, name) in [("request_id", &REQUEST_ID), ("traceparent", &TRACEPARENT)] {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            span.record(field, value);
        }
    }
}

/// What FNV-1a begins with.
pub(crate) const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on every machine, so that every proxy agrees.
pub(crate) fn fnv(before: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash of a client's address.
pub(crate) fn hash(client: SocketAddr) -> u64 {
    match client.ip() {
        std::net::IpAddr::V4(ip) => fnv(FNV, &ip.octets()),
        std::net::IpAddr::V6(ip) => fnv(FNV, &ip.octets()),
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
