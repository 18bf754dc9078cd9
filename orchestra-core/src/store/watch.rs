//! Following a store's commits.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::StoreError;
use crate::model::{AnyObject, ObjectKey, Revision};

/// What one commit did to one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which object.
    pub key: ObjectKey,
    /// The object as it is now; `None`: it was removed.
    pub object: Option<AnyObject>,
    /// The object as it was before; `None`: it is new.
    pub previous: Option<AnyObject>,
}

/// The changes of one commit that a watch is about, together.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// The commit's revision. A watch after it goes on where this event ends.
    pub revision: Revision,
    /// What it changed, in the order it was written. Never empty.
    pub changes: Arc<[Change]>,
}

/// A stream of commits. Dropping it ends the watch.
///
/// After an error, or after the store was closed, the stream ends.
pub struct Watch(Pin<Box<dyn Stream<Item = Result<WatchEvent, StoreError>> + Send>>);

impl Watch {
    /// A watch over a stream of events.
    pub fn new(events: impl Stream<Item = Result<WatchEvent, StoreError>> + Send + 'static) -> Self {
        Self(Box::pin(events))
    }

    /// The next event; `None` when the watch has ended. Cancel-safe: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent, StoreError>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
