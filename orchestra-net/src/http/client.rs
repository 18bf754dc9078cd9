//! An HTTP client that balances by itself, with no proxy in between.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::Body;

use super::hedge::Hedge;
use super::{ClientAddress, forward};
use crate::body::ProxyBody;
use crate::error::NetError;
use crate::upstream::{Affinity, Upstream};

/// Where requests of this process come from.
const THIS_PROCESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Sends requests to a service's endpoints, as its proxy would: balanced, drained, and tried again where that
/// is safe. Clones share connections.
///
/// A request's body is kept for trying again where it was given as bytes.
///
/// To a service of which each client has an endpoint (`sessionAffinity: ClientIP`) this process is one client, whose requests all go
/// to one endpoint; those that bear a [`ClientAddress`] as an extension are that client's.
#[derive(Clone, Debug)]
pub struct ServiceClient {
    upstream: Arc<Upstream>,
    hedge: Option<Hedge>,
}

impl ServiceClient {
    /// A client of this service.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, hedge: None }
    }

    /// Has safe requests that take long sent to a second endpoint, too.
    #[must_use]
    pub fn hedge(self, hedge: Hedge) -> Self {
        Self { hedge: Some(hedge), ..self }
    }

    /// The endpoints behind it.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Sends a request. Its target may be a path alone; a missing `Host` becomes the service's name, such as
    /// `cart.shop`.
    ///
    /// # Errors
    /// [`NetError`] where no endpoint answered. An answer of any status is no error.
    pub async fn send(
        &self,
        request: Request<impl Into<ProxyBody>>,
    ) -> Result<Response<ProxyBody>, NetError> {
        let mut request = request.map(|body| body.into().own());
        if !request.headers().contains_key(HOST) {
            let host = request.uri().authority().map_or(self.upstream.host(), |authority| authority.as_str());
            let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("service"));
            request.headers_mut().insert(HOST, host);
        }
        if request.uri().authority().is_some() {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        }
        let client = request.extensions().get().map_or(THIS_PROCESS, |client: &ClientAddress| client.0);
        let affinity = Affinity { hash: self.upstream.hash_of(client, false), ..Affinity::default() };
        match &self.hedge {
            None => forward::forward(&self.upstream, &mut request, affinity, None).await,
            Some(hedge) => Box::pin(hedge.forward(&self.upstream, &mut request, affinity)).await,
        }
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// [`NetError::BadRequest`] where `path` is none; else as [`send`](Self::send).
    pub async fn get(&self, path: &str) -> Result<Response<ProxyBody>, NetError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Sends a POST of these bytes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Response<ProxyBody>, NetError> {
        self.call(Method::POST, path, body.into()).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Response<ProxyBody>, NetError> {
        let request = Request::builder().method(method).uri(path).body(ProxyBody::from(body));
        self.send(request.map_err(|_e| NetError::BadRequest("its path is none"))?).await
    }
}

impl<B> tower::Service<Request<B>> for ServiceClient
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ProxyBody>;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ProxyBody>, NetError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request.map(ProxyBody::new)).await })
    }
}
