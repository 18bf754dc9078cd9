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
    /// How much of what was kept it has read, in bytes.
    at: usize,
    /// Whether it has read the trailers, after which nothing comes.
    ended: bool,
}

/// What makes another reader. As long as it lives, what passes is kept.
pub(crate) struct Kept(Arc<Mutex<Body>>);

struct Body {
    sent: Sent,
    /// A copy: pieces as they come may each hold a buffer that is larger by far.
    kept: Vec<u8>,
    trailers: Option<HeaderMap>,
    keeping: bool,
    /// Whether all of it has come: not every body may be asked again.
    ended: bool,
    /// The number of the reader that counts.
    reader: usize,
}

fn lock(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to keep a body, which is read by the reader.
pub(crate) fn keep(sent: Sent) -> (Reader, Kept) {
    let body = Body { sent, kept: Vec::new(), trailers: None, keeping: true, ended: false, reader: 0 };
    let body = Arc::new(Mutex::new(body));
    (Reader::new(&body, 0), Kept(body))
}

impl Kept {
    /// The body from its begin; `None` where more than may be kept has passed.
    pub(crate) fn again(&self) -> Option<Reader> {
        let mut body = lock(&self.0);
        body.reader += 1;
        body.keeping.then(|| Reader::new(&self.0, body.reader))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        lock(&self.0).keeping = false;
    }
}

impl Reader {
    fn new(body: &Arc<Mutex<Body>>, number: usize) -> Self {
        Self { body: Arc::clone(body), number, at: 0, ended: false }
    }

    pub(crate) fn progress(&self) -> Progress {
        lock(&self.body).sent.progress.clone()
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let mut body = lock(&self.body);
        if self.number != body.reader {
            return Poll::Ready(Some(Err("the request is sent again".into())));
        }
        let polled = match (&body.kept[self.at..], &body.trailers) {
            ([], Some(trailers)) if !self.ended => Poll::Ready(Some(Ok(Frame::trailers(trailers.clone())))),
            ([], _) => body.poll(cx),
            (rest, _) => Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(rest))))),
        };
        self.at = body.kept.len();
        self.ended |= matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_trailers());
        polled
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let body = lock(&self.body);
        let all_read = self.at >= body.kept.len() && (self.ended || body.trailers.is_none());
        all_read && body.sent.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let body = lock(&self.body);
        let left = body.kept.len().saturating_sub(self.at) as u64;
        let rest = body.sent.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + left);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}

impl Body {
    /// What the client sends next.
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.sent.poll_frame(cx);
        self.ended = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None) => true,
            _ => false,
        };
        if let (true, Poll::Ready(Some(Ok(frame)))) = (self.keeping, &polled) {
            self.keep(frame);
        }
        if !self.keeping {
            (self.kept, self.trailers) = (Vec::new(), None);
        }
        polled
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if self.kept.len() + data.len() <= LONGEST => self.kept.extend_from_slice(data),
            (None, Some(trailers)) => self.trailers = Some(trailers.clone()),
            // Too much, or a frame that nobody has heard of yet.
            _ => self.keeping = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, Collected, StreamBody};

    use super::*;
    use crate::body::ProxyBody;

    /// A piece of a buffer that is larger by far.
    struct Buffer {
        _held: Arc<()>,
    }

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }

    /// A body of so many small pieces, and trailers; and what each piece holds that is still there.
    fn small_pieces(count: usize) -> (ProxyBody, Arc<()>) {
        let held = Arc::new(());
        let buffer = Arc::clone(&held);
        let pieces =
            (0..count).map(move |_| Frame::data(Bytes::from_owner(Buffer { _held: Arc::clone(&buffer) })));
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("1"))]);
        let frames = pieces.chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
        (ProxyBody::new(StreamBody::new(futures_util::stream::iter(frames))).own(), held)
    }

    async fn read(body: ProxyBody) -> Collected<Bytes> {
        body.collect().await.unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_is_a_copy_with_the_trailers_and_holds_no_piece() {
        let (mut body, held) = small_pieces(1000);
        let kept = body.keep().unwrap();
        for _ in 0..700 {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        }
        // Only what makes the rest.
        assert_eq!(Arc::strong_count(&held), 2);
        let again = ProxyBody::from(kept.again().unwrap());
        body.frame().await.unwrap().unwrap_err();
        let all = read(again).await;
        assert_eq!(all.trailers().unwrap()[http::header::ETAG], "1");
        assert_eq!(all.to_bytes().len(), 1000);
        let last = ProxyBody::from(kept.again().unwrap());
        drop(kept);
        let all = read(last).await;
        assert_eq!(all.trailers().unwrap()[http::header::ETAG], "1");
        assert_eq!(all.to_bytes().len(), 1000);
    }

    #[tokio::test]
    async fn of_what_is_too_long_nothing_is_kept() {
        let (mut body, _held) = small_pieces(LONGEST + 1);
        let kept = body.keep().unwrap();
        let all = read(body).await;
        assert_eq!(all.trailers().unwrap()[http::header::ETAG], "1");
        assert_eq!(all.to_bytes().len(), LONGEST + 1);
        assert!(kept.again().is_none());
    }
}
