//! Clients that speak HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http::header::{COOKIE, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::server::Served;
use super::tap::Tapped;
use super::timer::FreshTimer;
use super::{HttpOptions, HttpProxy, taking};
use crate::body::ProxyBody;
use crate::error::Cause;
use crate::timer::bounded;

/// How many requests of one client may be under way at once. nginx has 128, Envoy 100.
const MAX_STREAMS: u32 = 100;

/// How much of one request's body may come ahead of its endpoint, and of all on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How much of one answer waits for the client.
const SEND_BUFFER: usize = 64 * 1024;

/// How many requests a client may take back. Where they are more than half of what it has asked for, it is let go: each
/// costs us a connection to an endpoint, and the client nothing.
const MAX_TAKEN_BACK: usize = 100;

/// What the streams of one connection have done.
#[derive(Debug, Default)]
struct Streams {
    begun: AtomicUsize,
    open: AtomicUsize,
    taken_back: AtomicUsize,
    abused: Notify,
}

/// One stream: from its request's head to the end of its answer.
struct Stream {
    streams: Arc<Streams>,
    answered: bool,
}

impl Stream {
    fn begin(streams: &Arc<Streams>) -> Self {
        streams.begun.fetch_add(1, Ordering::Relaxed);
        streams.open.fetch_add(1, Ordering::Relaxed);
        Self { streams: Arc::clone(streams), answered: false }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.fetch_sub(1, Ordering::Relaxed);
        if self.answered {
            return;
        }
        let taken_back = streams.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
        if taken_back > MAX_TAKEN_BACK && taken_back * 2 > streams.begun.load(Ordering::Relaxed) {
            streams.abused.notify_one();
        }
    }
}

/// An answer's body, which holds its stream's place.
struct Counted {
    body: ProxyBody,
    stream: Stream,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // From here on it is no use to take it back.
        self.stream.answered |= frame.is_ready();
        taking::asked(matches!(frame, Poll::Ready(Some(Ok(_)))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves a connection until it ends, has been without a request for long, or, told to end, until its last request is
/// answered.
pub(super) async fn serve<S>(stream: Tapped<S>, served: Arc<Served>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let HttpOptions { header_timeout, write_timeout, shutdown_grace, max_header_bytes, .. } =
        served.proxy.inner.options;
    let (client, tasks) = (served.client.address, served.tasks.clone());
    let streams = Arc::<Streams>::default();
    let of_requests = Arc::clone(&streams);
    let service =
        service_fn(move |request| answer(request, Arc::clone(&served), Stream::begin(&of_requests)));
    let connection = http2::Builder::new(taking::Streams { tasks: tasks.clone(), patience: write_timeout })
        .timer(FreshTimer)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        // A client that is gone without a word is found out.
        .keep_alive_interval(bounded(header_timeout))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let told_to_end = tasks.cancelled();
    tokio::pin!(told_to_end);
    let mut begun_before = 0;
    let why = loop {
        tokio::select! {
            biased;
            () = &mut told_to_end => break "the proxy shuts down",
            () = streams.abused.notified() => break "it takes most of its requests back",
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%client, %error, "a client's connection ended");
                }
                return;
            }
            () = tokio::time::sleep(header_timeout) => {
                let begun = streams.begun.load(Ordering::Relaxed);
                if begun == begun_before && streams.open.load(Ordering::Relaxed) == 0 {
                    break "nothing was asked for long";
                }
                begun_before = begun;
            }
        }
    };
    tracing::debug!(%client, why, "ends a client's connection");
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(shutdown_grace, connection).await.is_err() {
        tracing::warn!(%client, why, "cut a connection off: its requests took longer than they may");
    }
}

async fn answer(
    mut request: Request<Incoming>,
    served: Arc<Served>,
    mut stream: Stream,
) -> Result<Response<ProxyBody>, Infallible> {
    join_cookies(&mut request);
    let Ok(response) = HttpProxy::handle_incoming(request, served).await;
    if response.body().is_end_stream() {
        stream.answered = true;
        return Ok(response);
    }
    Ok(response.map(|body| ProxyBody::new(Counted { body, stream })))
}

/// HTTP/2 may have a line for each cookie, HTTP/1.1 only one for all (RFC 9113, 8.2.3).
fn join_cookies<B>(request: &mut Request<B>) {
    let mut cookies = request.headers().get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = request.headers().get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        request.headers_mut().insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_become_one_line() {
        let builder =
            Request::builder().header("cookie", "a=1").header("x", "y").header("cookie", "b=2; c=3");
        let mut request = builder.body(()).unwrap();
        join_cookies(&mut request);
        let lines: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; b=2; c=3"]);
    }
}
