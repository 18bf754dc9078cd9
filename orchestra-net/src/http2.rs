//! HTTP/2 connections to endpoints, and where the parts of any run.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::body::{self, ProxyBody};
use crate::connection::LARGEST_HEAD;
use crate::error::Cause;
use crate::greeting::Greeting;
use crate::http::FreshTimer;
use crate::stream::Stream;
use crate::timer::bounded;
use crate::upstream::UpstreamOptions;

/// How much of a request's body waits for the endpoint.
const SEND_BUFFER: usize = 64 * 1024;

/// How many requests are under way on one connection at most, whatever the endpoint allows. RFC 9113 asks endpoints not to
/// allow fewer; Envoy and Go's gRPC allow as many.
const MAX_STREAMS: u32 = 100;

/// What the endpoint allows before it has said so: more than it can say.
const UNKNOWN: usize = usize::MAX - 1;

/// How much of one answer an endpoint may send ahead of its reader, and of all on one connection: also where all but one
/// of the readers stand still, that one waits for none of them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// How long the answer to a ping may take: longer than a lost packet is sent again for a few times.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs them in a group of tasks, on the thread that they come from. They end with their connection.
#[derive(Clone, Debug)]
pub(crate) struct InTasks(pub(crate) Tasks);

impl<F> hyper::rt::Executor<F> for InTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, part: F) {
        self.0.spawn_graceful("http2", part);
    }
}

/// The same for connections to endpoints: a part that sends a request's body ends where nobody waits for the answer any more, and so its
/// stream does.
#[derive(Clone, Debug)]
struct WhileAwaited(InTasks);

impl<F> hyper::rt::Executor<F> for WhileAwaited
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, part: F) {
        let abandoned = body::begun();
        self.0.execute(async move {
            let mut part = pin!(part);
            let part = poll_fn(|cx| {
                let polled = part.as_mut().poll(cx);
                // What is begun in here is not of the part that is handed over next.
                drop(body::begun());
                polled
            });
            match abandoned {
                None => part.await,
                Some(abandoned) => tokio::select! {
                    biased;
                    () = abandoned.told() => {}
                    () = part => {}
                },
            }
        });
    }
}

/// An HTTP/2 connection. Each clone is a way into it, for one request after another.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) sender: http2::SendRequest<ProxyBody>,
    pub(crate) scheme: Scheme,
    /// How many requests may be under way at once, one at least.
    streams: usize,
    /// Whether nothing more is to be sent on it. Held by each clone: that is how they are counted, too.
    given_up: Arc<AtomicBool>,
}

impl Shared {
    /// Whether it carries no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.given_up.load(Ordering::Relaxed) || self.sender.is_closed()
    }

    /// Lets those who have requests under way finish, and nobody begin another.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// How many other clones there are.
    pub(crate) fn ways(&self) -> usize {
        Arc::strong_count(&self.given_up) - 1
    }

    /// Whether one more request may be under way, if each of the other clones has one.
    pub(crate) fn has_room(&self) -> bool {
        self.ways() < self.streams
    }
}

/// Begins HTTP/2 over a stream to `address`, for many requests, and waits until the endpoint has said how many, within
/// [`UpstreamOptions::connect_timeout`]. It ends when nobody has a way into it any more. `tasks` move it.
pub(crate) async fn begin_http2(
    stream: Stream,
    address: SocketAddr,
    options: &UpstreamOptions,
    tasks: &Tasks,
) -> Result<Shared, Cause> {
    let limit = options.connect_timeout;
    let scheme = if stream.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let (stream, heard) = Greeting::of(stream);
    let (sender, mut connection) = http2::Builder::new(WhileAwaited(InTasks(tasks.clone())))
        .initial_max_send_streams(UNKNOWN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(LARGEST_HEAD)
        .timer(FreshTimer)
        .keep_alive_interval(options.http2_ping.map(bounded))
        .keep_alive_timeout(PONG_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await?;
    let greeted = async {
        while connection.current_max_send_streams() == UNKNOWN {
            tokio::select! {
                biased;
                () = heard.notified() => {}
                ended = &mut connection => {
                    ended?;
                    return Err(Cause::from("it closed the connection without a word of HTTP/2"));
                }
            }
        }
        Ok(connection.current_max_send_streams())
    };
    let allowed = tokio::time::timeout(limit, greeted).await;
    let allowed = allowed.map_err(|_elapsed| format!("it said nothing of HTTP/2 within {limit:?}"))??;
    tasks.spawn("http2-connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "an upstream connection ended");
        }
    });
    Ok(Shared { sender, scheme, streams: allowed.clamp(1, MAX_STREAMS as usize), given_up: Arc::default() })
}

/// How the other side said that it has done nothing with a request (RFC 9113, 8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// By a reset with `REFUSED_STREAM`.
    Stream,
    /// By a `GOAWAY` whose last stream was an earlier one: it takes no more on this connection.
    Connection,
}

impl Refusal {
    /// What an error says of that.
    ///
    /// A `GOAWAY` is only sure where the connection's parts take turns on one thread: on several, a request that is under way
    /// while it comes ends with the same error, whatever stream it names.
    pub(crate) fn of(error: &hyper::Error) -> Option<Self> {
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            if let Some(error) = source.downcast_ref::<h2::Error>().filter(|error| error.is_remote()) {
                let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
                let moves = || error.is_go_away() && takes_turns();
                return refused.then_some(Self::Stream).or_else(|| moves().then_some(Self::Connection));
            }
            cause = source.source();
        }
        None
    }
}

fn takes_turns() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// The request with its host where HTTP/2 has it.
pub(crate) fn http2_form(mut request: Request<ProxyBody>, scheme: &Scheme) -> Request<ProxyBody> {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let host = host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let mut parts = Parts::default();
    parts.path_and_query = request.uri().path_and_query().cloned();
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    parts.scheme = Some(scheme.clone());
    parts.authority = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        // Old clients need not say it.
        None => Authority::try_from(host).ok().or(Some(Authority::from_static("unknown"))),
    };
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}
