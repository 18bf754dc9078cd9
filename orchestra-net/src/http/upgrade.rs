//! Connections that change their protocol: WebSocket and its like.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orchestra_core::balance::Outcome;
use orchestra_core::engine::Tasks;
use socket2::SockRef;
use tokio::io::copy_bidirectional;

use super::hop;
use super::options::HttpOptions;
use super::proxy::Inner;
use super::server::Served;
use crate::body::ProxyBody;
use crate::error::{Cause, NetError};
use crate::idle::{Motion, Noted, keep_alive};
use crate::listener::ended_for;
use crate::stream::Stream;
use crate::upstream::{Affinity, AnsweredBy, Ticket, Tries, Upstream};

/// Whether the client wants to change the protocol after this request. One that has a body besides is
/// treated as a plain request, and one that wants HTTP/2, whose requests would then pass all routes and bounds.
pub(super) fn is_asked<B: http_body::Body>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE)
        && !hop::has_token(request.headers(), UPGRADE, "h2c")
        && hop::has_token(request.headers(), CONNECTION, "upgrade")
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
}

/// What a connection that changes its protocol goes on with.
#[derive(Clone)]
struct Tenure {
    tasks: Tasks,
    shutdown_grace: Duration,
    idle_timeout: Option<Duration>,
    /// Holds the connection's place, where it is one of the proxy's own.
    _served: Option<Arc<Served>>,
}

impl Tenure {
    fn new(tasks: &Tasks, options: &HttpOptions, served: Option<Arc<Served>>) -> Self {
        let (shutdown_grace, idle_timeout) = (options.shutdown_grace, options.upgraded_idle_timeout);
        Self { tasks: tasks.clone(), shutdown_grace, idle_timeout, _served: served }
    }

    /// Returns when its time is over.
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        let (tasks, grace) = (self.tasks.clone(), self.shutdown_grace);
        async move { ended_for(&tasks, grace).await }
    }
}

/// Has a request that wants to change its connection's protocol know the connection: when HTTP ends there, what comes after it is
/// still that listener's.
pub(super) fn begin(request: &mut Request<Incoming>, served: &Arc<Served>) {
    if is_asked(request) {
        let options = &served.proxy.inner.options;
        let tenure = Tenure::new(&served.tasks, options, Some(Arc::clone(served)));
        request.extensions_mut().insert(tenure);
    }
}

/// Sends the request over a connection of its own. Where the endpoint agrees, bytes pass both ways in a task of
/// their own until one side ends; where it does not, its answer is passed on, and nothing else.
pub(super) async fn forward<B>(
    upstream: &Arc<Upstream>,
    request: &mut Request<B>,
    affinity: Affinity,
    proxy: &Inner,
) -> Result<Response<ProxyBody>, NetError> {
    // A server that is not ours counts its connections itself.
    let anybodys = || Tenure::new(&proxy.tasks, &proxy.options, None);
    let tenure = request.extensions_mut().remove::<Tenure>().unwrap_or_else(anybodys);
    let client = hyper::upgrade::on(&mut *request);
    let silence = affinity.response_timeout(&upstream.options());
    let mut tries = Tries::new(upstream, affinity, upstream.options().attempts);
    loop {
        let mut ticket = tries.next().await?;
        let id = ticket.id().clone();
        let limit = upstream.options().connect_timeout;
        let connecting = async {
            let stream = upstream.connect(id.address, limit, false).await?;
            keep_alive(&SockRef::from(stream.tcp()))?;
            Ok::<_, Cause>(stream)
        };
        match ticket.backend().while_open(connecting).await {
            Ok(stream) => {
                let mut response = send(upstream, ticket, stream, request, client, tenure, silence).await?;
                if affinity.named {
                    response.extensions_mut().insert(AnsweredBy(id));
                }
                return Ok(response);
            }
            Err(cause) => {
                ticket.ended(Outcome::Failure);
                tries.failed(id, cause);
            }
        }
    }
}

async fn send<B>(
    upstream: &Arc<Upstream>,
    mut ticket: Ticket,
    stream: Stream,
    request: &mut Request<B>,
    client: OnUpgrade,
    tenure: Tenure,
    limit: Duration,
) -> Result<Response<ProxyBody>, NetError> {
    let request = copy(request);
    let asked = request.headers().get(UPGRADE).cloned();
    let answered = tokio::time::timeout(limit, exchange(stream, request, &tenure)).await;
    let id = ticket.id().clone();
    let service = Arc::clone(upstream.name());
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(source)) => {
            ticket.ended(Outcome::Failure);
            return Err(NetError::Upstream { service, endpoint: id, source });
        }
        Err(_elapsed) => {
            ticket.ended(Outcome::Failure);
            return Err(NetError::Timeout { service, endpoint: id, limit });
        }
    };
    let failed = response.status().is_server_error();
    ticket.ended(if failed { Outcome::Failure } else { Outcome::Success });
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        hop::strip(response.headers_mut());
        return Ok(response.map(|body| ProxyBody::answer(body, None, ticket)));
    }
    let endpoint = hyper::upgrade::on(&mut response);
    let tasks = tenure.tasks.clone();
    tasks.spawn_graceful("upgraded", tunnel(client, endpoint, ticket, tenure));
    let agreed = response.headers().get(UPGRADE).cloned().or(asked);
    hop::strip(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(agreed) = agreed {
        response.headers_mut().insert(UPGRADE, agreed);
    }
    Ok(response.map(|_none| ProxyBody::default()))
}

/// The head of the request, with the upgrade in it and nothing else that is for one hop.
fn copy<B>(request: &mut Request<B>) -> Request<ProxyBody> {
    let protocol = request.headers().get(UPGRADE).cloned();
    let mut copy = Request::new(ProxyBody::default());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.headers_mut() = std::mem::take(request.headers_mut());
    hop::strip(copy.headers_mut());
    copy.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        copy.headers_mut().insert(UPGRADE, protocol);
    }
    copy
}

async fn exchange(
    stream: Stream,
    request: Request<ProxyBody>,
    tenure: &Tenure,
) -> Result<Response<Incoming>, Cause> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let ended = tenure.ended();
    // It ends with the change, or with the answer instead.
    tenure.tasks.spawn_graceful("upgrading-connection", async move {
        tokio::select! {
            biased;
            () = ended => {}
            ended = connection.with_upgrades() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection that was to change its protocol ended");
                }
            }
        }
    });
    Ok(sender.send_request(request).await?)
}

async fn tunnel(client: OnUpgrade, endpoint: OnUpgrade, ticket: Ticket, tenure: Tenure) {
    let (endpoint_id, motion) = (ticket.id(), Motion::default());
    tokio::select! {
        biased;
        () = tenure.ended() => {
            tracing::warn!(endpoint = ?endpoint_id, "cut an upgraded connection off: the proxy shuts down");
        }
        carried = carry(client, endpoint, &motion) => {
            if let Err(error) = carried {
                tracing::debug!(endpoint = ?endpoint_id, %error, "an upgraded connection broke off");
            }
        }
        () = motion.ceased(tenure.idle_timeout) => {
            tracing::debug!(endpoint = ?endpoint_id, "closes an upgraded connection on which nothing moves");
        }
    }
}

async fn carry(client: OnUpgrade, endpoint: OnUpgrade, motion: &Motion) -> Result<(), Cause> {
    let (client, endpoint) = tokio::try_join!(client, endpoint)?;
    // Of either direction a byte passes the client's side.
    let mut client = Noted::new(TokioIo::new(client), motion);
    copy_bidirectional(&mut client, &mut TokioIo::new(endpoint)).await?;
    Ok(())
}
