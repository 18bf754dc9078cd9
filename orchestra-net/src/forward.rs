//! Sending one request to a service: pick, connect, send, and try again where that is safe.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use orchestra_core::balance::{EndpointId, Outcome};
use orchestra_core::engine::Tasks;
use tokio::net::TcpStream;
use tower::retry::budget::Budget;

use crate::backend::{Release, Ticket};
use crate::body::ProxyBody;
use crate::error::NetError;
use crate::headers::strip_hop_by_hop;
use crate::upstream::Upstream;

/// The largest body that is kept so that an idempotent request can be repeated.
const REPLAY_LIMIT: u64 = 64 * 1024;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What became of one try.
enum Try {
    Answered(Response<ProxyBody>),
    /// Nothing of the request reached the endpoint; here it is again.
    NotSent(Request<ProxyBody>, Cause),
    /// The endpoint may have seen it.
    Broken(Cause),
    TimedOut,
}

/// Makes a body that arrived one that can be sent, and, where the method allows and it is small, sent twice.
pub(crate) async fn buffer(request: Request<Incoming>) -> Result<Request<ProxyBody>, NetError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, ProxyBody::Empty));
    }
    let small = body.size_hint().exact().is_some_and(|size| size <= REPLAY_LIMIT);
    if !small || !parts.method.is_idempotent() {
        return Ok(Request::from_parts(parts, ProxyBody::Stream(body, None)));
    }
    let limit = usize::try_from(REPLAY_LIMIT).unwrap_or(usize::MAX);
    let read = Limited::new(body, limit).collect().await;
    let bytes: Bytes = read.map_err(|_e| NetError::BadRequest("its body broke off"))?.to_bytes();
    Ok(Request::from_parts(parts, ProxyBody::from(bytes)))
}

impl Upstream {
    /// Sends `request` to one of the endpoints, and returns its answer, whose body streams.
    ///
    /// Where nothing of the request reached the endpoint it is tried on another one, whatever its method.
    /// Where it may have, only idempotent requests with a small body are repeated, within the retry budget.
    ///
    /// # Errors
    /// [`NetError::NoEndpoint`], [`NetError::Upstream`] or [`NetError::Timeout`].
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<ProxyBody>,
        hash: Option<u64>,
        tasks: &Tasks,
    ) -> Result<Response<ProxyBody>, NetError> {
        prepare(&mut request);
        self.budget.deposit();
        let mut tried: Vec<EndpointId> = Vec::new();
        loop {
            let ticket = match self.pick_or_wait(&tried, hash).await {
                Some(ticket) => ticket,
                None if tried.is_empty() => {
                    return Err(NetError::NoEndpoint { service: Arc::clone(self.name()) });
                }
                None => {
                    // All were tried once: the first ones may do by now.
                    tried.clear();
                    continue;
                }
            };
            tried.push(ticket.backend.id.clone());
            let copy = request.method().is_idempotent().then(|| replay(&request)).flatten();
            let last = tried.len() >= self.options.attempts;
            match self.attempt(ticket, request, copy.is_some(), tasks).await {
                Try::Answered(response) => return Ok(response),
                Try::NotSent(again, _) if !last => request = again,
                Try::Broken(cause) => match copy {
                    Some(copy) if !last && self.budget.withdraw() => {
                        metrics::counter!("orchestra_proxy_retries_total", "service" => self.name().to_string())
                            .increment(1);
                        request = copy;
                    }
                    _ => return Err(self.failed(cause)),
                },
                Try::NotSent(_, cause) => return Err(self.failed(cause)),
                Try::TimedOut => {
                    let millis = self.options.response_timeout.as_millis();
                    return Err(NetError::Timeout { service: Arc::clone(self.name()), millis });
                }
            }
        }
    }

    fn failed(&self, source: Cause) -> NetError {
        NetError::Upstream { service: Arc::clone(self.name()), source }
    }

    async fn attempt(
        self: &Arc<Self>,
        mut ticket: Ticket,
        request: Request<ProxyBody>,
        repeatable: bool,
        tasks: &Tasks,
    ) -> Try {
        let mut connection = match ticket.backend.connection(!repeatable) {
            Some(connection) => connection,
            None => match self.connect(&ticket, tasks).await {
                Ok(connection) => connection,
                Err(cause) => {
                    self.ended(&mut ticket, Outcome::Failure);
                    return Try::NotSent(request, cause);
                }
            },
        };
        let sent =
            tokio::time::timeout(self.options.response_timeout, connection.try_send_request(request)).await;
        match sent {
            Err(_) => {
                self.ended(&mut ticket, Outcome::Failure);
                Try::TimedOut
            }
            Ok(Err(mut error)) => match error.take_message() {
                // The connection was closed while it waited: that says nothing about the endpoint.
                Some(request) => Try::NotSent(request, Box::new(error.into_error())),
                None => {
                    self.ended(&mut ticket, Outcome::Failure);
                    Try::Broken(Box::new(error.into_error()))
                }
            },
            Ok(Ok(response)) => {
                let failed = response.status().is_server_error();
                self.ended(&mut ticket, if failed { Outcome::Failure } else { Outcome::Success });
                Try::Answered(answer(response, connection, ticket))
            }
        }
    }

    async fn connect(&self, ticket: &Ticket, tasks: &Tasks) -> Result<SendRequest<ProxyBody>, Cause> {
        let connecting = TcpStream::connect(ticket.backend.id.address);
        let stream = within(self.options.connect_timeout, connecting).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tasks.spawn("upstream-connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(sender)
    }
}

async fn within<T>(
    limit: Duration,
    connecting: impl Future<Output = std::io::Result<T>>,
) -> Result<T, std::io::Error> {
    let refused =
        |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "it did not accept the connection in time");
    tokio::time::timeout(limit, connecting).await.map_err(refused)?
}

/// The request as it goes to the endpoint: path only, HTTP/1.1.
fn prepare(request: &mut Request<ProxyBody>) {
    strip_hop_by_hop(request.headers_mut());
    if let (None, Some(authority)) = (request.headers().get(http::header::HOST), request.uri().authority())
        && let Ok(host) = authority.as_str().parse()
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    if let Some(path) = path {
        *request.uri_mut() = Uri::from(path);
    }
    *request.version_mut() = Version::HTTP_11;
}

fn replay(request: &Request<ProxyBody>) -> Option<Request<ProxyBody>> {
    let mut copy = Request::new(request.body().replay()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

fn answer(
    response: Response<Incoming>,
    connection: SendRequest<ProxyBody>,
    ticket: Ticket,
) -> Response<ProxyBody> {
    let (mut parts, body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    let release = Release { connection, ticket };
    if body.is_end_stream() {
        release.reuse();
        return Response::from_parts(parts, ProxyBody::Empty);
    }
    Response::from_parts(parts, ProxyBody::Stream(body, Some(Box::new(release))))
}
