//! Connections on which nothing moves any more: whose other side has vanished, or has nothing to say.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wrapped::passes_on_the_rest;

/// When a side that says nothing is asked whether it is still there, how long after that again, and how often in all. One that has
/// vanished is found out after two minutes; one that is there answers a packet a minute.
const ASK_AFTER: Duration = Duration::from_secs(60);
#[cfg(target_os = "linux")]
const ASK_AGAIN: Duration = Duration::from_secs(15);
#[cfg(target_os = "linux")]
const ASK_TIMES: u32 = 4;

/// Has the kernel find out whether the other side has vanished without a word.
pub(crate) fn keep_alive(socket: &SockRef<'_>) -> io::Result<()> {
    let how = TcpKeepalive::new().with_time(ASK_AFTER);
    #[cfg(target_os = "linux")]
    let how = how.with_interval(ASK_AGAIN).with_retries(ASK_TIMES);
    socket.set_tcp_keepalive(&how)
}

/// Whether anything moves.
#[derive(Debug, Default)]
pub(crate) struct Motion(AtomicBool);

impl Motion {
    /// Something has moved.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for `timeout`, or, as that is looked at only so often, up to twice as long. `None`: never.
    pub(crate) async fn ceased(&self, timeout: Option<Duration>) {
        let Some(timeout) = timeout else { return std::future::pending().await };
        loop {
            // Not set anew by what moves: that would cost more than to move it.
            tokio::time::sleep(timeout).await;
            if !self.0.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// A stream that notes what moves.
#[derive(Debug)]
pub(crate) struct Noted<'m, S> {
    stream: S,
    motion: &'m Motion,
}

impl<'m, S> Noted<'m, S> {
    pub(crate) fn new(stream: S, motion: &'m Motion) -> Self {
        Self { stream, motion }
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.motion.note();
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(polled)
    }

    passes_on_the_rest!();
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_not_idle_and_what_has_moved_is_after_twice_the_time_at_most() {
        let (motion, timeout, began) = (Motion::default(), Duration::from_secs(10), Instant::now());
        motion.ceased(Some(timeout)).await;
        assert_eq!(began.elapsed(), timeout, "nothing has ever moved");
        let moving = async {
            for _ in 0..12 {
                tokio::time::sleep(timeout / 2).await;
                motion.note();
            }
            Instant::now()
        };
        let (last, ()) = tokio::join!(moving, motion.ceased(Some(timeout)));
        let idle = last.elapsed();
        assert!(idle >= timeout && idle <= 2 * timeout, "{idle:?}");
        assert!(motion.ceased(None).now_or_never().is_none());
        tokio::time::timeout(1000 * timeout, motion.ceased(None)).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn either_direction_is_motion() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let motion = Motion::default();
        let mut noted = Noted::new(ours, &motion);
        let moved = || motion.0.swap(false, Ordering::Relaxed);
        assert!(noted.read_u8().now_or_never().is_none() && !moved(), "there is nothing to read");
        noted.write_all(&[1; 8]).await.unwrap();
        assert!(moved());
        assert!(noted.write_all(&[1]).now_or_never().is_none() && !moved(), "there is no room");
        theirs.write_all(&[2]).await.unwrap();
        assert_eq!(noted.read_u8().await.unwrap(), 2);
        assert!(moved());
    }
}
