//! Sending one request to a service: pick, connect, send, and try again where that is safe.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use orchestra_core::balance::Outcome;
use tokio::time::Instant;
use tower::retry::budget::Budget;

use super::hedge::Watched;
use super::{grpc, hop};
use crate::body::ProxyBody;
use crate::connection::{Connection, SendError};
use crate::error::{Cause, NetError};
use crate::http2::{Refusal, begin_http2};
use crate::kept::Kept;
use crate::upstream::{Affinity, AnsweredBy, IfGivenUp, Ticket, Tries, Upstream};

/// The largest body that is kept so that an idempotent request can be sent again.
const REPLAY_LIMIT: u64 = 64 * 1024;

/// From how long on a request that nobody waits for any more says that its endpoint is slow: below that, clients leave for reasons of
/// their own.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// Why a try got no answer.
enum Failed {
    /// Nothing of the request reached the endpoint: it is where it was.
    NotSent(Cause),
    /// The endpoint has done nothing with it, and said so; `moved`: it has only closed a connection that was in use.
    Refused {
        cause: Cause,
        moved: bool,
    },
    /// The endpoint may have seen it.
    Broken(Cause),
    TimedOut,
    /// It is the client's fault, not the endpoint's.
    Client(NetError),
}

/// Waits for all of a small body, so that it can be sent twice.
pub(super) async fn take(request: &mut Request<ProxyBody>) -> Result<(), NetError> {
    let body = request.body_mut();
    let small = body.size_hint().exact().filter(|size| *size <= REPLAY_LIMIT);
    let (Some(size), Some(progress)) = (small, body.progress()) else { return Ok(()) };
    let (mut rest, limit) = (std::mem::take(body), progress.patience());
    let mut read = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
    while let Some(frame) =
        tokio::time::timeout(limit, rest.frame()).await.map_err(|_elapsed| NetError::SlowClient { limit })?
    {
        let frame = frame.map_err(|_e| NetError::BadRequest("its body broke off"))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
    }
    *body = read.freeze().into();
    Ok(())
}

/// Refuses a body that says that it is longer than it may be.
pub(super) fn fits(body: &impl http_body::Body, longest: Option<u64>) -> Result<(), NetError> {
    match longest {
        Some(limit) if body.size_hint().lower() > limit => Err(NetError::BodyTooLarge { limit }),
        _ => Ok(()),
    }
}

/// Sends `request`, whose target is a path, to one of the endpoints, and returns its answer, whose body streams.
///
/// Where nothing of the request reached an endpoint it is tried on another one, whatever its method. Where it
/// may have, only an idempotent request whose body is small is sent again, within the retry budget. An endpoint that speaks
/// HTTP/2 may say that it has done nothing with a request; then any whose body is small is sent again.
/// `watched` is told of each endpoint that is tried. Of `request` nothing is left.
pub(super) async fn forward(
    upstream: &Arc<Upstream>,
    request: &mut Request<ProxyBody>,
    affinity: Affinity,
    watched: Option<&Watched>,
) -> Result<Response<ProxyBody>, NetError> {
    hop::strip(request.headers_mut());
    if request.version() < Version::HTTP_11 && !request.headers().contains_key(HOST) {
        // It becomes one of HTTP/1.1, which has a host.
        let host = HeaderValue::from_str(upstream.host());
        request.headers_mut().insert(HOST, host.unwrap_or(HeaderValue::from_static("service")));
    }
    *request.version_mut() = Version::HTTP_11;
    upstream.budget().deposit();
    let (http2, attempts, silence) = {
        let options = upstream.options();
        (options.http2, options.attempts, affinity.response_timeout(&options))
    };
    let mut tries = Tries::new(upstream, affinity, attempts);
    let idempotent = request.method().is_idempotent();
    let kept = if http2 { request.body_mut().keep() } else { None };
    let (mut sent, mut moves) = (0, 0);
    loop {
        let mut ticket = tries.next().await?;
        if let Some(watched) = watched {
            watched.enters(&ticket);
        }
        ticket.if_given_up(IfGivenUp {
            slow: Some(watched.map_or(GIVEN_UP, |watched| watched.after)),
            deadline: affinity.deadline,
            upload: request.body().progress(),
        });
        let copy = match &kept {
            Some(_) => Some(Again::of(request, ProxyBody::default())),
            None if idempotent || http2 => request.body().replay().map(|body| Again::of(request, body)),
            None => None,
        };
        let repeatable = idempotent && kept.is_none() && copy.is_some();
        match attempt(upstream, &mut ticket, request, Try { http2, repeatable, silence }).await {
            Ok(answer) => return Ok(pass_on(answer, ticket, affinity)),
            Err(Failed::NotSent(cause)) => {
                upstream.meters.redirected.increment(1);
                tries.failed(ticket.id().clone(), cause);
            }
            Err(Failed::Refused { cause, moved }) => {
                let Some(again) = copy.and_then(|copy| whole(copy.request(), kept.as_ref())) else {
                    return Err(lost(upstream, &ticket, cause));
                };
                upstream.meters.redirected.increment(1);
                moves += usize::from(moved);
                // Where it only moves, a new connection to it will do.
                if !moved || moves > attempts {
                    tries.failed(ticket.id().clone(), cause);
                }
                *request = again;
            }
            Err(Failed::Broken(cause)) => {
                sent += 1;
                match copy {
                    Some(copy) if repeatable && sent < attempts && upstream.budget().withdraw() => {
                        upstream.meters.resent.increment(1);
                        tries.failed(ticket.id().clone(), cause);
                        *request = copy.request();
                    }
                    _ => return Err(lost(upstream, &ticket, cause)),
                }
            }
            Err(Failed::Client(error)) => return Err(error),
            Err(Failed::TimedOut) => return Err(timed_out(upstream, &ticket, silence)),
        }
    }
}

fn lost(upstream: &Upstream, ticket: &Ticket, source: Cause) -> NetError {
    NetError::Upstream { service: Arc::clone(upstream.name()), endpoint: ticket.id().clone(), source }
}

fn timed_out(upstream: &Upstream, ticket: &Ticket, limit: Duration) -> NetError {
    NetError::Timeout { service: Arc::clone(upstream.name()), endpoint: ticket.id().clone(), limit }
}

/// An endpoint's answer, and the connection that its body comes over.
type Answer = (Response<Incoming>, Box<Connection>);

/// The answer for whoever asked; its body holds the place at the endpoint.
fn pass_on(answer: Answer, mut ticket: Ticket, affinity: Affinity) -> Response<ProxyBody> {
    let (mut response, connection) = answer;
    hop::strip(response.headers_mut());
    if affinity.named {
        response.extensions_mut().insert(AnsweredBy(ticket.id().clone()));
    }
    if response.body().is_end_stream() {
        // Nobody will poll such a body.
        if ticket.is_open() {
            ticket.ended(grpc::ended(None));
        }
        connection.give_back(&ticket);
        return response.map(|_none| ProxyBody::default());
    }
    response.map(|body| ProxyBody::answer(body, Some(connection), ticket))
}

/// Sends a request that may be sent twice to one endpoint, once.
pub(super) async fn once(
    upstream: &Upstream,
    mut ticket: Ticket,
    request: &mut Request<ProxyBody>,
    affinity: Affinity,
) -> Result<Response<ProxyBody>, NetError> {
    let http2 = upstream.options().http2;
    let limit = affinity.response_timeout(&upstream.options());
    ticket.if_given_up(IfGivenUp { deadline: affinity.deadline, ..IfGivenUp::default() });
    match attempt(upstream, &mut ticket, request, Try { http2, repeatable: true, silence: limit }).await {
        Ok(answer) => Ok(pass_on(answer, ticket, affinity)),
        Err(Failed::NotSent(cause) | Failed::Refused { cause, .. } | Failed::Broken(cause)) => {
            Err(lost(upstream, &ticket, cause))
        }
        Err(Failed::Client(error)) => Err(error),
        Err(Failed::TimedOut) => Err(timed_out(upstream, &ticket, limit)),
    }
}

/// What a try is like.
struct Try {
    /// What the endpoint speaks.
    http2: bool,
    /// Whether the request could be sent again.
    repeatable: bool,
    /// How long the endpoint may be silent.
    silence: Duration,
}

/// One try at one endpoint. A connection that waited and turns out to be closed before anything was sent costs
/// nothing but another connection. The request is taken, but where nothing of it was sent.
async fn attempt(
    upstream: &Upstream,
    ticket: &mut Ticket,
    request: &mut Request<ProxyBody>,
    how: Try,
) -> Result<Answer, Failed> {
    let Try { http2, repeatable, silence } = how;
    loop {
        // A connection that waits is there at once.
        let mut now = ticket.picked();
        let mut connection = match ticket.backend().connection(http2, repeatable, now).await {
            Some(connection) => connection,
            // Boxed: connections are few beside requests.
            None => match Box::pin(open(upstream, ticket)).await {
                Ok(connection) => {
                    now = Instant::now();
                    connection
                }
                Err(cause) => {
                    ticket.ended(Outcome::Failure);
                    return Err(Failed::NotSent(cause));
                }
            },
        };
        let reused = connection.reused;
        match connection.send(request, now, silence).await {
            Ok(response) => {
                match grpc::outcome(&response) {
                    Some(outcome) => ticket.ended(outcome),
                    None => drop(ticket.answered()),
                }
                return Ok((response, connection));
            }
            Err(SendError::NotSent(_)) if reused => {}
            Err(SendError::NotSent(cause)) => {
                ticket.ended(Outcome::Failure);
                return Err(Failed::NotSent(cause));
            }
            Err(SendError::Refused(refusal, cause)) => {
                // A connection may end after some requests: that is no failure of the endpoint.
                let moved = reused && refusal == Refusal::Connection;
                if !moved {
                    ticket.ended(Outcome::Failure);
                }
                return Err(Failed::Refused { cause, moved });
            }
            Err(SendError::Broken(cause)) => {
                // A server may close a connection that waited at any moment: that is no failure of it.
                if !reused {
                    ticket.ended(Outcome::Failure);
                }
                return Err(Failed::Broken(cause));
            }
            // Which says nothing about the endpoint.
            Err(SendError::Client(fault)) => return Err(Failed::Client(fault.error())),
            Err(SendError::TimedOut) => {
                connection.give_up();
                ticket.ended(Outcome::Failure);
                return Err(Failed::TimedOut);
            }
        }
    }
}

async fn open(upstream: &Upstream, ticket: &Ticket) -> Result<Box<Connection>, Cause> {
    let options = **upstream.options();
    let (address, limit, http2) = (ticket.id().address, options.connect_timeout, options.http2);
    if http2 && let Some(way) = ticket.backend().way_in() {
        return Ok(way);
    }
    upstream.meters.connections.increment(1);
    let opening = async {
        let stream = upstream.connect(address, limit, http2).await?;
        match http2 {
            true => {
                let opened = begin_http2(stream, address, &options, &upstream.tasks).await?;
                Ok(ticket.backend().share(opened))
            }
            false => Connection::over(stream).await,
        }
    };
    ticket.backend().while_open(opening).await
}

/// The request with its body from its begin; `None` where that is not known any more.
fn whole(mut head: Request<ProxyBody>, kept: Option<&Kept>) -> Option<Request<ProxyBody>> {
    if let Some(kept) = kept {
        *head.body_mut() = kept.again()?.into();
    }
    Some(head)
}

/// Another request like this one, where its body is not a stream.
pub(super) fn copy(request: &Request<ProxyBody>) -> Option<Request<ProxyBody>> {
    Some(like(request, request.body().replay()?))
}

/// Another request like this one, with this body.
pub(super) fn like(request: &Request<ProxyBody>, body: ProxyBody) -> Request<ProxyBody> {
    Again::of(request, body).request()
}

/// What makes a request once more. Nearly none is: a list of its headers is made faster than a map of them.
struct Again {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: ProxyBody,
}

impl Again {
    /// That of this one, with this body. Boxed, so that whoever waits for an answer keeps little for it.
    fn of(request: &Request<ProxyBody>, body: ProxyBody) -> Box<Self> {
        let mut headers = Vec::with_capacity(request.headers().len());
        headers.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
        Box::new(Self { method, uri, version, headers, body })
    }

    fn request(self) -> Request<ProxyBody> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_like_the_request_and_a_stream_has_none() {
        let mut request = Request::put("/a?b").version(Version::HTTP_11).header("x", "1").header("y", "2");
        request = request.header("x", "3");
        let request = request.body(ProxyBody::from("body")).unwrap();
        let copied = copy(&request).unwrap();
        assert_eq!((copied.method(), copied.uri()), (request.method(), request.uri()));
        assert_eq!((copied.version(), copied.headers()), (request.version(), request.headers()));
        assert_eq!(copied.headers().get_all("x").iter().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(copied.body().size_hint().exact(), Some(4));
        let stream = ProxyBody::new(http_body_util::Full::new(bytes::Bytes::from("body")));
        assert!(copy(&request.map(|_body| stream)).is_none());
    }
}
