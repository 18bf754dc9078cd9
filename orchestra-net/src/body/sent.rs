//! What a client sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::Polled;
use crate::error::{Cause, NetError};
use crate::progress::{Fault, Limit, Progress};

/// What a client sends, how it gets on, and how much more it may be.
pub(crate) struct Sent {
    pub(crate) incoming: Upload,
    pub(crate) progress: Progress,
    pub(super) limit: Option<Limit>,
}

/// Where what a client sends comes from.
pub(crate) enum Upload {
    Listener(Incoming),
    Caller(UnsyncBoxBody<Bytes, Cause>),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Listener(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Caller(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Listener(body) => body.is_end_stream(),
            Self::Caller(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Listener(body) => body.size_hint(),
            Self::Caller(body) => body.size_hint(),
        }
    }
}

impl Sent {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        self.progress.polled(frame.is_ready());
        if matches!(frame, Poll::Ready(None)) || self.incoming.is_end_stream() {
            self.progress.ended();
        }
        match (&frame, &mut self.limit) {
            (Poll::Ready(Some(Err(_))), _) => self.progress.broken(Fault::Broken),
            (Poll::Ready(Some(Ok(frame))), Some(Limit { longest, left })) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(less) = left.checked_sub(length) else {
                    self.progress.broken(Fault::TooLarge(*longest));
                    return Poll::Ready(Some(Err(NetError::BodyTooLarge { limit: *longest }.into())));
                };
                *left = less;
            }
            _ => {}
        }
        frame
    }
}
