//! Bodies, on their way through.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::backend::Release;

/// A body that a proxy sends: of its own, or passed through as it arrives.
#[derive(Debug, Default)]
pub enum ProxyBody {
    /// Nothing.
    #[default]
    Empty,
    /// Some bytes.
    Full(Bytes),
    /// What the other side sends, frame by frame. The guard is let go when it has ended.
    #[doc(hidden)]
    Stream(Incoming, Option<Box<Release>>),
}

impl ProxyBody {
    /// A copy, where that is possible: of a body that is not a stream.
    pub(crate) fn replay(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream(..) => None,
        }
    }
}

impl From<Bytes> for ProxyBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl From<String> for ProxyBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream(incoming, release) => {
                let frame = Pin::new(&mut *incoming).poll_frame(cx);
                match &frame {
                    Poll::Ready(None) => {
                        if let Some(release) = release.take() {
                            release.reuse();
                        }
                    }
                    // A broken connection is not used again.
                    Poll::Ready(Some(Err(_))) => drop(release.take()),
                    _ if incoming.is_end_stream() => {
                        if let Some(release) = release.take() {
                            release.reuse();
                        }
                    }
                    _ => {}
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}
