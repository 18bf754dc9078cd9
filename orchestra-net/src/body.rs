//! Bodies, on their way through.

mod answer;
mod awaited;
mod backlog;
mod copied;
mod sent;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use self::answer::Answer;
use self::awaited::Awaited;
pub(crate) use self::awaited::{Waiter, begun};
pub(crate) use self::backlog::Backlog;
pub(crate) use self::copied::Break;
use self::copied::{Copied, Copies};
pub(crate) use self::sent::Sent;
use self::sent::Upload;
use crate::connection::Connection;
use crate::error::{Cause, NetError};
use crate::http::{HttpOptions, Tap};
use crate::kept::{self, Kept, Reader};
use crate::progress::{Limit, Progress};
use crate::upstream::Ticket;

/// The longest body that is read in one piece, in bytes.
pub const MAX_BODY: usize = 64 << 20;

/// A body that a proxy or a client sends or receives: some bytes, or passed through frame by frame as it
/// arrives.
#[derive(Default)]
pub struct ProxyBody(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// What a client sends. Boxed: each connection to an endpoint sets room aside for 32 requests, most of which have no body.
    Request(Box<Sent>),
    /// The same, kept as it passes.
    Kept(Reader),
    /// A copy of the same.
    Copied(Box<Copied>),
    /// Any of these while it is sent over HTTP/2.
    Awaited(Box<Awaited>),
    /// What an endpoint answers.
    Answer(Box<Answer>),
    /// Anything else.
    Boxed(UnsyncBoxBody<Bytes, Cause>),
}

impl From<Reader> for ProxyBody {
    fn from(reader: Reader) -> Self {
        Self(Kind::Kept(reader))
    }
}

impl ProxyBody {
    /// Any body.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.is_end_stream() {
            return Self::default();
        }
        Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }

    /// All of it, once it has come.
    ///
    /// # Errors
    /// [`NetError::Body`] where it breaks off, or is longer than [`MAX_BODY`]: read that piece by piece, as an
    /// [`http_body::Body`].
    pub async fn bytes(self) -> Result<Bytes, NetError> {
        let whole = Limited::new(self, MAX_BODY).collect().await;
        Ok(whole.map_err(|source| NetError::Body { source })?.to_bytes())
    }

    /// All of it as text, once it has come; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, NetError> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// What a client sends, over `http2` or not, within these options' bounds; `tap` is told of its end.
    pub(crate) fn request(incoming: Incoming, http2: bool, options: &HttpOptions, tap: &Tap) -> Self {
        match incoming.is_end_stream() {
            true => Self::default(),
            false => Self::sent(Upload::Listener { incoming, http2 }, options, tap),
        }
    }

    /// A body that a caller brings, within the bounds of what a client sends.
    pub(crate) fn bounded(self, options: &HttpOptions) -> Self {
        match self.0 {
            Kind::Boxed(body) => Self::sent(Upload::Caller(body), options, &Tap::new(0)),
            other => Self(other),
        }
    }

    /// A request's body of the application's own: it may take its time.
    pub(crate) fn own(self) -> Self {
        self.bounded(&HttpOptions::default().with_body_timeout(Duration::MAX))
    }

    fn sent(incoming: Upload, options: &HttpOptions, tap: &Tap) -> Self {
        let limit = options.max_body.map(|longest| Limit { longest, left: longest });
        let progress = Progress::new(tap.clone(), options.body_timeout);
        Self(Kind::Request(Box::new(Sent { incoming, progress, limit, copies: Copies::default() })))
    }

    /// The body of an answer that came over `connection`, which goes back to its endpoint at the end; without one, over one that a task
    /// of its own moves.
    pub(crate) fn answer(incoming: Incoming, connection: Option<Box<Connection>>, ticket: Ticket) -> Self {
        Self(Kind::Answer(Box::new(Answer::new(incoming, connection, ticket))))
    }

    /// Drops these when an answer has ended, or when nobody reads it any more.
    pub(crate) fn hold(&mut self, held: Vec<oneshot::Sender<Infallible>>) {
        if let Kind::Answer(answer) = &mut self.0 {
            answer.held = held;
        }
    }

    /// A copy, where that is possible: of a body that is not a stream.
    pub(crate) fn replay(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self::default()),
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            _ => None,
        }
    }

    /// A copy: of what a client sends one that is taken as it passes, and of which no more waits than this backlog has room for.
    pub(crate) fn copied(&mut self, backlog: &Backlog) -> Option<Self> {
        match &mut self.0 {
            Kind::Request(sent) => Some(Self(Kind::Copied(Box::new(sent.copied(backlog))))),
            _ => self.replay(),
        }
    }

    /// Returns where it is a copy that breaks off, and why.
    pub(crate) fn broken_off(&self) -> impl Future<Output = Break> + Send + use<> {
        let broken_off = match &self.0 {
            Kind::Copied(copied) => Some(copied.broken_off()),
            _ => None,
        };
        async move {
            match broken_off {
                Some(broken_off) => broken_off.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Makes what a client sends a body that is kept as it passes, so that it can be sent again.
    pub(crate) fn keep(&mut self) -> Option<Kept> {
        match std::mem::take(&mut self.0) {
            Kind::Request(sent) => {
                let (reader, kept) = kept::keep(*sent);
                self.0 = Kind::Kept(reader);
                Some(kept)
            }
            other => {
                self.0 = other;
                None
            }
        }
    }

    /// The same, for as long as the returned value waits for the answer; `None` where there is nothing to send.
    pub(crate) fn awaited(self) -> (Self, Option<Waiter>) {
        if self.is_end_stream() {
            return (self, None);
        }
        let (awaited, waiter) = Awaited::new(self);
        (Self(Kind::Awaited(Box::new(awaited))), Some(waiter))
    }

    /// What it was before, where nothing of it was sent.
    pub(crate) fn not_sent(self) -> Self {
        match self.0 {
            Kind::Awaited(awaited) => awaited.body,
            _ => self,
        }
    }

    /// Whether it is what a client sends, and has not been taken whole.
    pub(crate) fn is_incoming(&self) -> bool {
        matches!(self.0, Kind::Request(_))
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        match &self.0 {
            Kind::Request(sent) => Some(sent.progress.clone()),
            Kind::Kept(reader) => Some(reader.progress()),
            Kind::Copied(copied) => Some(copied.progress.clone()),
            _ => None,
        }
    }
}

impl From<Bytes> for ProxyBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::default() } else { Self(Kind::Full(bytes)) }
    }
}

impl From<String> for ProxyBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for ProxyBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for ProxyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Empty => "empty",
            Kind::Full(bytes) => return write!(f, "ProxyBody({} bytes)", bytes.len()),
            Kind::Request(_) | Kind::Kept(_) | Kind::Copied(_) | Kind::Awaited(_) => "a request's",
            Kind::Answer(_) => "an answer's",
            Kind::Boxed(_) => "boxed",
        };
        write!(f, "ProxyBody({kind})")
    }
}

pub(crate) type Polled = Poll<Option<Result<Frame<Bytes>, Cause>>>;

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Request(sent) => sent.poll_frame(cx),
            Kind::Kept(reader) => reader.poll_frame(cx),
            Kind::Copied(copied) => copied.poll_frame(cx),
            Kind::Awaited(awaited) => awaited.poll_frame(cx),
            Kind::Answer(answer) => answer.poll_frame(cx),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Request(sent) => sent.incoming.is_end_stream(),
            Kind::Kept(reader) => reader.is_end_stream(),
            Kind::Copied(copied) => copied.is_end_stream(),
            Kind::Awaited(awaited) => awaited.body.is_end_stream(),
            Kind::Answer(answer) => answer.incoming.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Request(sent) => sent.incoming.size_hint(),
            Kind::Kept(reader) => reader.size_hint(),
            Kind::Copied(copied) => copied.size_hint(),
            Kind::Awaited(awaited) => awaited.body.size_hint(),
            Kind::Answer(answer) => answer.incoming.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}
