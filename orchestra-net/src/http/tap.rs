//! A look at the bytes of a request's head, for what the parser does not tell.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gather;

/// How much of what arrives is remembered: a head, which the server limits to the same.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;

/// What has arrived on a connection since the last request was dispatched, as far as it fits.
///
/// It begins with a head where no body and no second request came in between; where it does not, nothing is
/// found, and the request is read as RFC 9112 says: the transfer coding counts, the connection closes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tap(Arc<Mutex<Vec<u8>>>);

impl Tap {
    fn with<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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

    fn arrived(&self, bytes: &[u8]) {
        self.with(|seen| {
            let room = HEAD_LIMIT.saturating_sub(seen.len());
            seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }
}

/// A stream whose incoming bytes pass the tap.
#[derive(Debug)]
pub(super) struct Tapped<S> {
    pub(super) stream: S,
    pub(super) tap: Tap,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        gather::poll_write(&mut self.stream, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
