//! Waiting for what a server says first.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::stream::Stream;
use crate::wrapped::{passes_on_the_rest, passes_on_writes};

/// A stream that tells whenever what came was looked at: when its reader asks for more. It stops when nobody listens.
pub(crate) struct Greeting {
    stream: Stream,
    /// Whether something came since the last time.
    came: bool,
    listener: Option<Weak<Notify>>,
}

impl Greeting {
    /// This stream, and what is told.
    pub(crate) fn of(stream: Stream) -> (Self, Arc<Notify>) {
        let told = Arc::new(Notify::new());
        (Self { stream, came: false, listener: Some(Arc::downgrade(&told)) }, told)
    }
}

impl AsyncRead for Greeting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(listener) = &self.listener else { return Pin::new(&mut self.stream).poll_read(cx, buf) };
        match listener.upgrade() {
            Some(told) if self.came => told.notify_one(),
            Some(_) => {}
            None => self.listener = None,
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.came = buf.filled().len() > before;
        polled
    }
}

impl AsyncWrite for Greeting {
    passes_on_writes!();

    passes_on_the_rest!();
}
