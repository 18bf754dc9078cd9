//! A copy of what a client sends, taken as it passes.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::Polled;
use crate::http::Tap;
use crate::progress::{Fault, Progress};

/// How far the reader of a copy may be behind, in bytes: what a client of 1 Gbit/s sends in 8 ms, in which a mirror is connected to, and
/// several of the largest pieces that come at once.
const FARTHEST_BEHIND: usize = 1024 * 1024;

/// How far all readers of copies for one mirror may be behind together, in bytes.
const ALL_BEHIND: usize = 64 * 1024 * 1024;

/// Up to this many bytes small pieces are put together. Each may come with a buffer that is larger by far.
const TOGETHER: usize = 4096;

/// How much waits for one mirror, in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Whether there is room for so much, which is then taken.
    fn add(&self, length: usize) -> bool {
        let fits = self.0.fetch_add(length, Ordering::Relaxed) + length <= ALL_BEHIND;
        if !fits {
            self.remove(length);
        }
        fits
    }

    fn remove(&self, length: usize) {
        self.0.fetch_sub(length, Ordering::Relaxed);
    }
}

/// The copies that are taken of a body.
#[derive(Default)]
pub(super) struct Copies(Vec<Taker>);

impl Copies {
    /// Begins another one, of a body that is so long, where that is known.
    pub(super) fn begin(&mut self, length: Option<u64>, backlog: &Backlog) -> Copied {
        let waiting = Waiting { left: length, backlog: backlog.clone(), ..Waiting::default() };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), broken_off: Notify::new() });
        self.0.push(Taker(Arc::clone(&shared)));
        // How long the client may take is looked at where the body itself is read.
        Copied { shared, progress: Progress::new(Tap::new(0), Duration::MAX) }
    }

    /// This has come; `ended`: and nothing else will.
    pub(super) fn passed(&mut self, polled: &Polled, ended: bool) {
        match polled {
            Poll::Ready(Some(Ok(frame))) => self.0.retain(|taker| taker.take(frame)),
            Poll::Ready(Some(Err(_))) => self.0.clear(),
            _ => {}
        }
        if ended {
            self.0.drain(..).for_each(|taker| taker.lock().end(End::Whole));
        }
    }
}

/// What takes a copy. Dropped before the body's end it breaks the copy off.
struct Taker(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// Told where the copy breaks off.
    broken_off: Notify,
}

/// What the reader has not taken yet.
#[derive(Default)]
struct Waiting {
    data: VecDeque<BytesMut>,
    /// How long that is.
    length: usize,
    trailers: Option<HeaderMap>,
    /// How much more is to come, where the client has said so.
    left: Option<u64>,
    end: Option<End>,
    reader: Option<Waker>,
    backlog: Backlog,
}

/// Why nothing more is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    BrokenOff(Break),
    /// Nobody reads it any more.
    Unread,
}

/// Why a copy is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Its reader fell behind.
    Behind,
    /// The request itself has ended before its body.
    Request,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taker {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }

    /// Returns whether the copy goes on.
    fn take(&self, frame: &Frame<Bytes>) -> bool {
        let mut waiting = self.lock();
        if waiting.end.is_some() {
            return false;
        }
        if let Some(data) = frame.data_ref()
            && !waiting.add(data)
        {
            self.break_off(waiting, Break::Behind);
            return false;
        }
        if let Some(trailers) = frame.trailers_ref() {
            waiting.trailers = Some(trailers.clone());
        }
        waiting.wake();
        true
    }

    fn break_off(&self, mut waiting: MutexGuard<'_, Waiting>, why: Break) {
        waiting.clear();
        waiting.end(End::BrokenOff(why));
        self.0.broken_off.notify_one();
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut waiting = self.lock();
        match (waiting.end, waiting.left) {
            // All that was said has come, which is where some stop to read.
            (None, Some(0)) => waiting.end(End::Whole),
            (None, _) => self.break_off(waiting, Break::Request),
            _ => {}
        }
    }
}

impl Waiting {
    /// Returns whether there was room for it.
    fn add(&mut self, data: &[u8]) -> bool {
        if self.length + data.len() > FARTHEST_BEHIND || !self.backlog.add(data.len()) {
            return false;
        }
        self.length += data.len();
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        match self.data.back_mut() {
            _ if data.is_empty() => {}
            Some(last) if last.len() + data.len() <= last.capacity() => last.extend_from_slice(data),
            _ => {
                let mut piece = BytesMut::with_capacity(data.len().max(TOGETHER));
                piece.extend_from_slice(data);
                self.data.push_back(piece);
            }
        }
        true
    }

    fn next(&mut self) -> Option<Bytes> {
        let data = self.data.pop_front()?;
        self.length -= data.len();
        self.backlog.remove(data.len());
        Some(data.freeze())
    }

    /// Nobody will have the rest.
    fn clear(&mut self) {
        while self.next().is_some() {}
    }

    /// Nothing more is added. The first reason counts.
    fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some(End::BrokenOff(_)) = self.end {
            return Poll::Ready(Some(Err("the copy of the request's body broke off".into())));
        }
        if let Some(data) = self.next() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.end.is_none() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

/// A copy, as its reader has it. It ends well only where the body did, and all of it was taken.
pub(crate) struct Copied {
    shared: Arc<Shared>,
    pub(super) progress: Progress,
}

impl Copied {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let polled = self.shared.lock().poll_frame(cx);
        self.progress.polled(polled.is_ready());
        if let Poll::Ready(Some(Err(_))) = polled {
            self.progress.broken(Fault::Broken);
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let waiting = self.shared.lock();
        waiting.end == Some(End::Whole) && waiting.data.is_empty() && waiting.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let waiting = self.shared.lock();
        let here = waiting.length as u64;
        waiting.left.map_or_else(SizeHint::new, |left| SizeHint::with_exact(left + here))
    }

    /// Returns where it breaks off, and why.
    pub(super) fn broken_off(&self) -> impl Future<Output = Break> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                shared.broken_off.notified().await;
                if let Some(End::BrokenOff(why)) = shared.lock().end {
                    return why;
                }
            }
        }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let mut waiting = self.shared.lock();
        waiting.clear();
        waiting.end(End::Unread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(copies: &mut Copies, data: &'static [u8]) {
        copies.passed(&Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))), false);
    }

    #[test]
    fn small_pieces_are_put_together_and_what_nobody_reads_makes_room() {
        let (backlog, mut copies) = (Backlog::default(), Copies::default());
        let copied = copies.begin(None, &backlog);
        for _ in 0..3 * TOGETHER {
            pass(&mut copies, b"x");
            pass(&mut copies, b"");
        }
        assert_eq!(copied.shared.lock().data.len(), 3);
        assert_eq!(backlog.0.load(Ordering::Relaxed), 3 * TOGETHER);
        drop(copied);
        assert_eq!(backlog.0.load(Ordering::Relaxed), 0);
        pass(&mut copies, b"x");
        assert!(copies.0.is_empty() && backlog.0.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn one_copy_may_be_so_far_behind_and_all_together_so_far() {
        static PIECE: [u8; FARTHEST_BEHIND / 4] = [0; FARTHEST_BEHIND / 4];
        let (backlog, mut copies) = (Backlog::default(), Copies::default());
        let all: Vec<_> =
            (0..ALL_BEHIND / FARTHEST_BEHIND + 10).map(|_| copies.begin(None, &backlog)).collect();
        for _ in 0..4 {
            pass(&mut copies, &PIECE);
        }
        let behind = all.iter().filter(|copied| copied.shared.lock().end.is_some()).count();
        assert_eq!((copies.0.len(), behind), (ALL_BEHIND / FARTHEST_BEHIND, 10));
        pass(&mut copies, b"x");
        assert!(
            copies.0.is_empty() && backlog.0.load(Ordering::Relaxed) == 0,
            "no copy may be farther behind"
        );
    }
}
