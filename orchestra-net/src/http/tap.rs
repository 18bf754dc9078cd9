//! A look at the bytes of a request's head, for what the parser does not tell.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wrapped::passes_on_the_rest;

/// What has arrived on a connection since the last request was dispatched, as far as it fits.
///
/// It begins with a head where no body and no second request came in between; where it does not, nothing is
/// found, and the request is read as RFC 9112 says: the transfer coding counts, the connection closes.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    seen: Arc<Mutex<Vec<u8>>>,
    /// How much is remembered: a head, which the server limits to the same.
    limit: usize,
}

impl Tap {
    pub(super) fn new(limit: usize) -> Self {
        Self { seen: Arc::default(), limit }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the head that arrived last has a line that begins with this name and a colon.
    pub(super) fn head_has(&self, name: &str) -> bool {
        self.with(|bytes| {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
            // The request line is no header; the first empty line ends the head.
            let mut head = lines.skip(1).take_while(|line| !line.is_empty());
            head.any(|line| {
                let colon = line.iter().position(|byte| *byte == b':');
                colon.is_some_and(|colon| line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
            })
        })
    }

    /// The head has been looked at: what comes next is another one, or a body.
    pub(super) fn clear(&self) {
        self.with(Vec::clear);
    }

    pub(super) fn arrived(&self, bytes: &[u8]) {
        self.with(|seen| {
            let room = self.limit.saturating_sub(seen.len());
            seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }
}

/// A client's stream, whose incoming bytes pass the tap.
#[derive(Debug)]
pub(super) struct Tapped<S> {
    stream: S,
    tap: Tap,
    /// What was read before, and is to be read again.
    again: Bytes,
}

impl<S> Tapped<S> {
    pub(super) fn new(stream: S, tap: Tap) -> Self {
        Self { stream, tap, again: Bytes::new() }
    }

    /// The stream with these bytes, which were read from it, before all others; for whoever has no use for the tap.
    pub(super) fn again(mut self, bytes: Bytes) -> Self {
        self.tap = Tap::new(0);
        self.again = bytes;
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let length = self.again.len().min(buf.remaining());
            buf.put_slice(&self.again.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.tap.arrived(&buf.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    passes_on_the_rest!();
}
