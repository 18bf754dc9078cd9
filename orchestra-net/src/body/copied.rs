//! A copy of what a client sends, taken as it passes.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::Polled;
use super::backlog::{Backlog, Queue};
use crate::http::Tap;
use crate::progress::{Fault, Progress};

/// The copies that are taken of a body.
#[derive(Default)]
pub(super) struct Copies(Vec<Taker>);

impl Copies {
    /// Begins another one, of a body that is so long, where that is known.
    pub(super) fn begin(&mut self, length: Option<u64>, backlog: &Backlog) -> Copied {
        let waiting = Waiting { left: length, data: Queue::new(backlog), ..Waiting::default() };
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
    data: Queue,
    trailers: Option<HeaderMap>,
    /// How much more is to come, where the client has said so.
    left: Option<u64>,
    end: Option<End>,
    reader: Option<Waker>,
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
        if let Some(data) = frame.data_ref() {
            if !waiting.data.add(data) {
                self.break_off(waiting, Break::Behind);
                return false;
            }
            waiting.left = waiting.left.map(|left| left.saturating_sub(data.len() as u64));
        }
        if let Some(trailers) = frame.trailers_ref() {
            waiting.trailers = Some(trailers.clone());
        }
        waiting.wake();
        true
    }

    fn break_off(&self, mut waiting: MutexGuard<'_, Waiting>, why: Break) {
        waiting.data.clear();
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
        if let Some(data) = self.data.next() {
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
        waiting.end == Some(End::Whole) && waiting.data.length() == 0 && waiting.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let waiting = self.shared.lock();
        let here = waiting.data.length() as u64;
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
        waiting.data.clear();
        waiting.end(End::Unread);
    }
}

#[cfg(test)]
mod tests {
    use super::super::backlog::{ALL_BEHIND, FARTHEST_BEHIND};
    use super::*;

    fn pass(copies: &mut Copies, data: &'static [u8]) {
        copies.passed(&Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))), false);
    }

    #[test]
    fn one_copy_may_be_so_far_behind_and_all_together_so_far() {
        static PIECE: [u8; FARTHEST_BEHIND / 4] = [0; FARTHEST_BEHIND / 4];
        let (backlog, mut copies) = (Backlog::default(), Copies::default());
        let most = ALL_BEHIND / FARTHEST_BEHIND;
        let all: Vec<_> = (0..most + 10).map(|_| copies.begin(None, &backlog)).collect();
        (0..4).for_each(|_| pass(&mut copies, &PIECE));
        let lost = |copied: &&Copied| copied.shared.lock().end == Some(End::BrokenOff(Break::Behind));
        assert_eq!((copies.0.len(), all.iter().filter(lost).count()), (most, 10));
        pass(&mut copies, b"x");
        assert_eq!((copies.0.len(), all.iter().filter(lost).count(), backlog.length()), (0, most + 10, 0));
    }

    #[test]
    fn a_copy_that_nobody_reads_is_taken_no_more() {
        let (backlog, mut copies) = (Backlog::default(), Copies::default());
        let copied = copies.begin(None, &backlog);
        pass(&mut copies, b"x");
        assert_eq!((copies.0.len(), backlog.length()), (1, 1));
        drop(copied);
        assert_eq!(backlog.length(), 0);
        pass(&mut copies, b"x");
        assert_eq!((copies.0.len(), backlog.length()), (0, 0));
    }
}
