//! HTTP/2 connections to endpoints, and where the parts of any run.

use std::future::Future;
use std::net::SocketAddr;

use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::body::ProxyBody;
use crate::error::Cause;
use crate::stream::Stream;

/// How much of a request's body waits for the endpoint.
const SEND_BUFFER: usize = 64 * 1024;

/// How much of one answer an endpoint may send ahead of its reader, and of all on one connection: 256 readers may stand
/// still before others wait for them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

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

/// A way into an HTTP/2 connection, for one request after another.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) sender: http2::SendRequest<ProxyBody>,
    pub(crate) scheme: Scheme,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Begins HTTP/2 over a stream to `address`, for many requests. It ends when nobody has a way into it any more. `tasks` move
/// it.
pub(crate) async fn begin_http2(stream: Stream, address: SocketAddr, tasks: &Tasks) -> Result<Shared, Cause> {
    let scheme = if stream.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let (sender, connection) = http2::Builder::new(InTasks(tasks.clone()))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .handshake(TokioIo::new(stream))
        .await?;
    tasks.spawn("http2-connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "an upstream connection ended");
        }
    });
    Ok(Shared { sender, scheme })
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
