//! What waits for the readers of copies, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// How far the reader of a copy may be behind, in bytes: what a client of 1 Gbit/s sends in 8 ms, in which a mirror is connected to, and
/// several of the largest pieces that come at once.
pub(super) const FARTHEST_BEHIND: usize = 1024 * 1024;

/// How far all readers of copies for one mirror may be behind together, in bytes.
pub(super) const ALL_BEHIND: usize = 64 * 1024 * 1024;

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

    #[cfg(test)]
    pub(super) fn length(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What waits for one reader.
#[derive(Default)]
pub(super) struct Queue {
    pieces: VecDeque<BytesMut>,
    length: usize,
    backlog: Backlog,
}

impl Queue {
    /// An empty one, of those for one mirror.
    pub(super) fn new(backlog: &Backlog) -> Self {
        Self { backlog: backlog.clone(), ..Self::default() }
    }

    /// How many bytes wait.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Returns whether there was room for it.
    pub(super) fn add(&mut self, data: &[u8]) -> bool {
        if self.length + data.len() > FARTHEST_BEHIND || !self.backlog.add(data.len()) {
            return false;
        }
        self.length += data.len();
        match self.pieces.back_mut() {
            _ if data.is_empty() => {}
            Some(last) if last.len() + data.len() <= last.capacity() => last.extend_from_slice(data),
            _ => {
                let mut piece = BytesMut::with_capacity(data.len().max(TOGETHER));
                piece.extend_from_slice(data);
                self.pieces.push_back(piece);
            }
        }
        true
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        let data = self.pieces.pop_front()?;
        self.length -= data.len();
        self.backlog.remove(data.len());
        Some(data.freeze())
    }

    /// Nobody will have the rest.
    pub(super) fn clear(&mut self) {
        while self.next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_put_together_and_empty_ones_are_none() {
        let backlog = Backlog::default();
        let mut queue = Queue::new(&backlog);
        for _ in 0..3 * TOGETHER {
            assert!(queue.add(b"x") && queue.add(b""));
        }
        assert_eq!((queue.pieces.len(), queue.length(), backlog.length()), (3, 3 * TOGETHER, 3 * TOGETHER));
        assert_eq!(queue.next().unwrap(), [b'x'; TOGETHER][..]);
        assert_eq!((queue.length(), backlog.length()), (2 * TOGETHER, 2 * TOGETHER));
        queue.clear();
        assert_eq!((queue.length(), backlog.length()), (0, 0));
    }
}
