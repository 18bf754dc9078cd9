//! A look at the bytes of a request's head, for what the parser does not tell.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wrapped::passes_on_writes;

/// What has arrived on a connection since the last request, as far as it fits.
///
/// It begins with a head, unless that came in one piece with what was before it; where it does not, nothing is
/// found, and the request is read as RFC 9112 says: the transfer coding counts, the connection closes. Of bodies nothing is kept.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    seen: Arc<Mutex<Seen>>,
    /// How much is remembered: a head, which the server limits to the same.
    limit: usize,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    /// What comes is a body.
    deaf: bool,
    /// The connection has changed its protocol.
    raw: bool,
}

impl Tap {
    pub(crate) fn new(limit: usize) -> Self {
        Self { seen: Arc::default(), limit }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Seen) -> R) -> R {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the head that arrived last has a line that begins with this name and a colon.
    pub(super) fn head_has(&self, name: &str) -> bool {
        self.with(|seen| {
            let lines = seen.bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
            // The request line is no header; the first empty line ends the head.
            let mut head = lines.skip(1).take_while(|line| !line.is_empty());
            head.any(|line| {
                let colon = line.iter().position(|byte| *byte == b':');
                colon.is_some_and(|colon| line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
            })
        })
    }

    /// The head has been looked at. What comes next is another one, or, where it has a `body`, that, until it [ends](Self::body_ended).
    pub(super) fn clear(&self, body: bool) {
        self.with(|seen| {
            seen.deaf = body;
            match body {
                // It may take long.
                true => seen.bytes = Vec::new(),
                false => seen.bytes.clear(),
            }
        });
    }

    /// The connection changes its protocol: what comes is not HTTP, and either side may end before the other.
    pub(super) fn become_raw(&self) {
        self.with(|seen| *seen = Seen { bytes: Vec::new(), deaf: true, raw: true });
    }

    /// Whether the body of the last request has not been read to its end.
    pub(super) fn is_in_body(&self) -> bool {
        self.with(|seen| seen.deaf && !seen.raw)
    }

    fn is_raw(&self) -> bool {
        self.with(|seen| seen.raw)
    }

    /// The body has been read: what comes next is a head.
    pub(crate) fn body_ended(&self) {
        self.with(|seen| seen.deaf = seen.raw);
    }

    pub(super) fn arrived(&self, bytes: &[u8]) {
        self.with(|seen| {
            if !seen.deaf {
                let room = self.limit.saturating_sub(seen.bytes.len());
                seen.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
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
    /// Whether it has nothing to say at its end.
    ends_silently: bool,
}

impl<S> Tapped<S> {
    pub(super) fn new(stream: S, tap: Tap) -> Self {
        Self { stream, tap, again: Bytes::new(), ends_silently: false }
    }

    /// For one whose last byte is followed by its drop, which ends it as well as its shutdown does, where its protocol has no word
    /// for that.
    pub(super) fn ending_silently(self) -> Self {
        Self { ends_silently: true, ..self }
    }

    /// The stream with these bytes, which were read from it, before all others; for whoever has no use for the tap.
    pub(super) fn again(mut self, bytes: Bytes) -> Self {
        self.tap = Tap::new(0);
        self.again = bytes;
        self.ends_silently = false;
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
    passes_on_writes!();

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ends_silently && !self.tap.is_raw() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn of_a_body_nothing_is_kept_and_the_head_after_it_is_heard() {
        let tap = Tap::new(1024);
        tap.arrived(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n");
        assert!(tap.head_has("content-length") && !tap.head_has("host"));
        tap.clear(true);
        tap.arrived(b"x\r\nHost: 1");
        assert!(!tap.head_has("host"), "that is the body");
        tap.body_ended();
        tap.arrived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nx: y");
        assert!(tap.head_has("host") && !tap.head_has("content-length") && !tap.head_has("x"));
        // A body that nobody read to its end.
        tap.clear(true);
        tap.clear(false);
        tap.arrived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(tap.head_has("host"));
        tap.clear(false);
        tap.become_raw();
        tap.body_ended();
        tap.arrived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(!tap.head_has("host"), "that is no HTTP any more");
    }

    #[tokio::test]
    async fn a_silent_end_is_left_to_the_drop_unless_the_protocol_has_changed() {
        for raw in [false, true] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let tap = Tap::new(64);
            let mut tapped = Tapped::new(ours, tap.clone()).ending_silently();
            if raw {
                tap.become_raw();
            }
            tapped.write_all(b"a").await.unwrap();
            tapped.shutdown().await.unwrap();
            assert_eq!(theirs.read_u8().await.unwrap(), b'a');
            let ended = futures_util::FutureExt::now_or_never(theirs.read_u8());
            assert_eq!(ended.is_some(), raw);
            drop(tapped);
            assert!(theirs.read_u8().await.is_err(), "it has ended");
        }
    }
}
