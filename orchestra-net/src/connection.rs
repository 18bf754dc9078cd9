//! A connection to an endpoint, moved by whoever uses it.
//!
//! No task belongs to a connection: the request's own task polls it, until the answer has ended. That saves the
//! switch between two tasks for every read and write, the largest avoidable cost of a hyper proxy. A waiting
//! connection is moved by nobody, so what happened to it meanwhile is found out when it is taken.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use crate::body::{ProxyBody, Waiter};
use crate::error::Cause;
use crate::gather;
use crate::http2::{Refusal, Shared, http2_form};
use crate::progress::{Fault, Progress};
use crate::stream::Stream;
use crate::timer::{later, poll_until};
use crate::upstream::Ticket;
use crate::wrapped::passes_on_the_rest;

/// The largest head of an answer.
pub(crate) const LARGEST_HEAD: u32 = 128 * 1024;

/// How much of a body is read at once, and of a head: what hyper takes as its least is 8 KB; 64 KB keep large bodies cheap.
const READ_BUFFER: usize = LARGEST_HEAD as usize;

type Driver = http1::Connection<TokioIo<Socket>, ProxyBody>;

/// How requests get into a connection.
enum Sender {
    Http1(http1::SendRequest<ProxyBody>),
    /// One of several ways into the same connection, which a task of its own moves.
    Http2(Shared),
}

impl Sender {
    fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(shared) => shared.sender.is_ready(),
        }
    }
}

/// A connection to an endpoint, or a way into one, for one request at a time.
pub(crate) struct Connection {
    sender: Sender,
    /// `None` once it has ended, and where another task moves it.
    driver: Option<Driver>,
    ask_kernel: Arc<AtomicBool>,
    /// Bounds the endpoint's silence, from request to request.
    silence: Pin<Box<Sleep>>,
    /// Waits for the answer to a request whose body a task of its own sends.
    waiter: Option<Waiter>,
    /// Whether it has carried a request before.
    pub(crate) reused: bool,
    pub(crate) idle_since: Instant,
}

/// Why a request got no answer.
pub(crate) enum SendError {
    /// Not a byte was sent: the request is where it was.
    NotSent(Cause),
    /// It was sent, and the endpoint says that it has done nothing with it.
    Refused(Refusal, Cause),
    /// The endpoint may have seen it.
    Broken(Cause),
    /// The endpoint was silent for too long.
    TimedOut,
    /// Something is wrong with the body that the client sends.
    Client(Fault),
}

impl SendError {
    fn of(error: hyper::Error) -> Self {
        match Refusal::of(&error) {
            Some(refusal) => Self::Refused(refusal, Box::new(error)),
            None => Self::Broken(Box::new(error)),
        }
    }
}

impl Connection {
    /// A connection over this stream.
    pub(crate) async fn over(stream: Stream) -> Result<Box<Self>, Cause> {
        let ask_kernel = Arc::new(AtomicBool::new(false));
        let socket = Socket { stream, ask_kernel: Arc::clone(&ask_kernel) };
        let (sender, driver) =
            http1::Builder::new().max_buf_size(READ_BUFFER).handshake(TokioIo::new(socket)).await?;
        Ok(Self::new(Sender::Http1(sender), Some(driver), ask_kernel))
    }

    /// Another way into an HTTP/2 connection.
    pub(crate) fn into(shared: &Shared) -> Box<Self> {
        Self::new(Sender::Http2(shared.clone()), None, Arc::default())
    }

    /// The same into one that others have used.
    pub(crate) fn into_used(shared: &Shared) -> Box<Self> {
        let mut connection = Self::into(shared);
        connection.reused = true;
        connection
    }

    /// Whether it is a way into a connection of HTTP/2, that others have ways into, too.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// An endpoint was silent on it for too long: if others share it, no more of them do. It may lead to nobody any more.
    pub(crate) fn give_up(&self) {
        if let Sender::Http2(shared) = &self.sender {
            shared.give_up();
        }
    }

    /// Whether it is known to carry no request any more.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.sender {
            Sender::Http1(_) => self.driver.is_none(),
            Sender::Http2(shared) => shared.is_closed(),
        }
    }

    fn new(sender: Sender, driver: Option<Driver>, ask_kernel: Arc<AtomicBool>) -> Box<Self> {
        let silence = Box::pin(tokio::time::sleep(Duration::ZERO));
        let idle_since = Instant::now();
        Box::new(Self { sender, driver, ask_kernel, silence, waiter: None, reused: false, idle_since })
    }

    /// Lets it read and write what it can. Returns whether it still stands.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = Pin::new(driver).poll(cx)
        {
            if let Err(error) = ended {
                tracing::trace!(%error, "an upstream connection ended");
            }
            self.driver = None;
        }
        !self.has_ended()
    }

    /// Drives it between two requests. That needs the truth: that a task has used up its turn, which looks as if
    /// nothing had happened, does not count here.
    fn settle(&mut self, cx: &mut Context<'_>) -> bool {
        let driven = pin!(unconstrained(poll_fn(|cx| Poll::Ready(self.drive(cx)))));
        matches!(driven.poll(cx), Poll::Ready(true))
    }

    /// Whether a connection that waited can surely carry a request: the kernel is asked whether the endpoint has closed it.
    /// For requests that can't be repeated; others find out when they are sent.
    pub(crate) async fn stands(&mut self) -> bool {
        self.ask_kernel.store(true, Ordering::Relaxed);
        let stands = poll_fn(|cx| Poll::Ready(self.settle(cx))).await;
        self.ask_kernel.store(false, Ordering::Relaxed);
        stands && self.sender.is_ready()
    }

    /// Sends a request, which is taken, and returns the head of the answer. `silence` bounds the time, from `since` on, in which
    /// neither the answer begins nor the endpoint takes of the request's body.
    pub(crate) async fn send(
        &mut self,
        request: &mut Request<ProxyBody>,
        since: Instant,
        silence: Duration,
    ) -> Result<Response<Incoming>, SendError> {
        let mut waiting = Waiting::new(request.body().progress(), since, silence);
        let timer = &mut self.silence;
        let driver = &mut self.driver;
        let sent = std::mem::take(request);
        let answer = match &mut self.sender {
            Sender::Http1(sender) => Either::Left(sender.try_send_request(sent)),
            Sender::Http2(shared) => {
                let (head, body) = http2_form(sent, &shared.scheme).into_parts();
                let (body, waiter) = body.awaited();
                self.waiter = waiter;
                let sent = Request::from_parts(head, body);
                Either::Right(shared.sender.try_send_request(sent))
            }
        };
        let mut answer = pin!(answer);
        let mut first = true;
        poll_fn(|cx| {
            if let Some(moved) = driver {
                // The first time it needs the truth, too: it looks whether the endpoint has closed it, and then writes.
                let polled = match std::mem::take(&mut first) {
                    true => pin!(unconstrained(Pin::new(moved))).poll(cx).is_ready(),
                    false => Pin::new(moved).poll(cx).is_ready(),
                };
                if polled {
                    *driver = None;
                }
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(again) => {
                        *request = again.map(ProxyBody::not_sent);
                        SendError::NotSent(Box::new(error.into_error()))
                    }
                    None => match waiting.fault() {
                        Some(fault) => SendError::Client(fault),
                        None => SendError::of(error.into_error()),
                    },
                })),
                Poll::Pending => waiting.poll(timer.as_mut(), cx).map(Err),
            }
        })
        .await
    }

    /// The answer has ended well: the endpoint keeps the connection for another request, if it can carry one.
    pub(crate) fn give_back(mut self: Box<Self>, ticket: &Ticket) {
        if let Some(waiter) = self.waiter.take() {
            waiter.content();
        }
        // Most have come from the end of the answer to waiting for the next request. Others are driven once more, for nobody:
        // what happens to one that waits wakes no task.
        let waits = self.driver.is_some() && self.sender.is_ready();
        let mut nobody = Context::from_waker(Waker::noop());
        if waits || (self.settle(&mut nobody) && self.sender.is_ready()) {
            self.reused = true;
            self.idle_since = Instant::now();
            ticket.keep(self);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("reused", &self.reused).finish_non_exhaustive()
    }
}

/// Connects within `limit`, without Nagle's delay.
pub(crate) async fn connect(address: std::net::SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let late = |_elapsed| {
        io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not accept within {limit:?}"))
    };
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await.map_err(late)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How soon it is looked again at the earliest, while a client is waited for: as exact as timers are.
const AGAIN: Duration = Duration::from_millis(1);

/// The wait for an answer, in which nothing may be silent for too long: neither the endpoint, nor, where it is the client's turn, the
/// client.
struct Waiting {
    /// What the client sends, and how many pieces of it had passed when it was last looked at.
    upload: Option<(Progress, u64)>,
    silence: Duration,
    /// When something was last seen to have moved.
    since: Instant,
    deadline: Instant,
}

impl Waiting {
    fn new(upload: Option<Progress>, since: Instant, silence: Duration) -> Self {
        let first = upload.as_ref().map_or(silence, |upload| silence.min(upload.patience()));
        Self { upload: upload.map(|upload| (upload, 0)), silence, since, deadline: later(since, first) }
    }

    fn fault(&self) -> Option<Fault> {
        self.upload.as_ref().and_then(|(upload, _)| upload.fault())
    }

    /// Ready when it has been silent for too long.
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<SendError> {
        while poll_until(timer.as_mut(), self.deadline, cx).is_ready() {
            let now = Instant::now();
            let (mut limit, mut error) = (self.silence, SendError::TimedOut);
            if let Some((upload, seen)) = &mut self.upload {
                if upload.frames() != *seen {
                    (*seen, self.since) = (upload.frames(), now);
                }
                if upload.starving() {
                    limit = upload.patience();
                    error = SendError::Client(Fault::Slow(limit));
                }
            }
            let until = later(self.since, limit);
            if until <= now {
                return Poll::Ready(error);
            }
            // However patient one is with the client: by then it may be the endpoint that is waited for.
            self.deadline = until.min(later(now, self.silence.max(AGAIN)));
        }
        Poll::Pending
    }
}

/// A stream that can be made to look at the kernel's state instead of what tokio has heard of it so far.
struct Socket {
    stream: Stream,
    ask_kernel: Arc<AtomicBool>,
}

impl Socket {
    fn closed_by_peer(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match socket2::SockRef::from(self.stream.tcp()).peek(&mut byte) {
            // The end, or bytes that nobody asked for: of no use either way. Over TLS they may be harmless, which costs
            // a connection.
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ask_kernel.load(Ordering::Relaxed) && self.closed_by_peer() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        gather::poll_write(&mut self.stream, cx, bufs)
    }

    passes_on_the_rest!();
}
