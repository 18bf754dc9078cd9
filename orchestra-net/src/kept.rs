//! A request's body that is kept as it passes, so that it can be sent again from its begin.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::{Polled, Sent};
use crate::progress::Progress;

/// How much of a body is kept, in bytes: as much as of one whose length is said.
const LONGEST: usize = 64 * 1024;

/// One who reads the body. Where there is a later one, an earlier one is told that it is over.
pub(crate) struct Reader {
    body: Arc<Mutex<Body>>,
    number: usize,
    /// How many of the frames that were kept it has read.
    at: usize,
}

/// What makes another reader. As long as it lives, frames are kept.
pub(crate) struct Kept(Arc<Mutex<Body>>);

struct Body {
    sent: Sent,
    kept: Vec<Piece>,
    bytes: usize,
    keeping: bool,
    /// The number of the reader that counts.
    reader: usize,
}

enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    /// `None` for frames that nobody has heard of yet.
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        match frame.data_ref() {
            Some(data) => Some(Self::Data(data.clone())),
            None => frame.trailers_ref().cloned().map(Self::Trailers),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

fn lock(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to keep a body, which is read by the reader.
pub(crate) fn keep(sent: Sent) -> (Reader, Kept) {
    let body = Body { sent, kept: Vec::new(), bytes: 0, keeping: true, reader: 0 };
    let body = Arc::new(Mutex::new(body));
    (Reader { body: Arc::clone(&body), number: 0, at: 0 }, Kept(body))
}

impl Kept {
    /// The body from its begin; `None` where more than may be kept has passed.
    pub(crate) fn again(&self) -> Option<Reader> {
        let mut body = lock(&self.0);
        body.reader += 1;
        body.keeping.then(|| Reader { body: Arc::clone(&self.0), number: body.reader, at: 0 })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        lock(&self.0).keeping = false;
    }
}

impl Reader {
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.body).sent.progress.clone()
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let mut body = lock(&self.body);
        if self.number != body.reader {
            return Poll::Ready(Some(Err("the request is sent again".into())));
        }
        if let Some(piece) = body.kept.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        if !body.keeping {
            body.forget();
            self.at = 0;
        }
        let polled = body.poll(cx);
        self.at = body.kept.len();
        polled
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let body = lock(&self.body);
        self.at >= body.kept.len() && body.sent.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let body = lock(&self.body);
        let left: usize = body.kept.iter().skip(self.at).map(Piece::length).sum();
        let (left, rest) = (left as u64, body.sent.incoming.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + left);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}

impl Body {
    fn forget(&mut self) {
        self.kept = Vec::new();
        self.keeping = false;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        let polled = self.sent.poll_frame(cx);
        if let (true, Poll::Ready(Some(Ok(frame)))) = (self.keeping, &polled) {
            match Piece::of(frame) {
                Some(piece) if self.bytes + piece.length() <= LONGEST => {
                    self.bytes += piece.length();
                    self.kept.push(piece);
                }
                _ => self.forget(),
            }
        }
        polled
    }
}
