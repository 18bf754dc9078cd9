//! What a client sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::Polled;
use super::backlog::Backlog;
use super::copied::{Copied, Copies};
use crate::error::{Cause, NetError};
use crate::progress::{Fault, Limit, Progress};

/// What a client sends, how it gets on, and how much more it may be.
pub(crate) struct Sent {
    pub(crate) incoming: Upload,
    pub(crate) progress: Progress,
    pub(super) limit: Option<Limit>,
    pub(super) copies: Copies,
}

/// Where what a client sends comes from.
pub(crate) enum Upload {
    Listener { incoming: Incoming, http2: bool },
    Caller(UnsyncBoxBody<Bytes, Cause>),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Listener { incoming, http2 } => match Pin::new(&mut *incoming).poll_frame(cx) {
                // To hyper a reset with NO_ERROR ends a body well: of an answer it does, of a request it tells only that
                // the rest does not come.
                Poll::Ready(None) if *http2 && !incoming.is_end_stream() => {
                    Poll::Ready(Some(Err("its stream was reset".into())))
                }
                polled => polled.map_err(Into::into),
            },
            Self::Caller(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Listener { incoming, .. } => incoming.is_end_stream(),
            Self::Caller(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Listener { incoming, .. } => incoming.size_hint(),
            Self::Caller(body) => body.size_hint(),
        }
    }
}

impl Sent {
    /// A copy of it, as it passes.
    pub(super) fn copied(&mut self, backlog: &Backlog) -> Copied {
        self.copies.begin(self.incoming.size_hint().exact(), backlog)
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let mut polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.progress.polled(polled.is_ready());
        // Not everybody asks again after trailers.
        let trailers = matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_trailers());
        let ended = trailers || matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream();
        if ended {
            self.progress.ended();
        }
        if let Some(fault) = self.fault(&polled) {
            self.progress.broken(fault);
            if let Fault::TooLarge(limit) = fault {
                polled = Poll::Ready(Some(Err(NetError::BodyTooLarge { limit }.into())));
            }
        }
        self.copies.passed(&polled, ended);
        polled
    }

    /// What is wrong with what came.
    fn fault(&mut self, polled: &Polled) -> Option<Fault> {
        match polled {
            Poll::Ready(Some(Err(_))) => Some(Fault::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                let Limit { longest, left } = self.limit.as_mut()?;
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match left.checked_sub(length) {
                    Some(less) => *left = less,
                    None => return Some(Fault::TooLarge(*longest)),
                }
                None
            }
            _ => None,
        }
    }
}
