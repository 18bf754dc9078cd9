//! Following objects of one kind.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{AnyObject, LabelSelector, Object, Revision};
use crate::store::{StoreError, Watch};

/// A change of an object, as seen through a selector: one that begins to match is added, one that no longer
/// does is deleted.
#[derive(Clone, Debug)]
pub enum ObjectEvent<T: ?Sized> {
    /// The object is new to the watch.
    Added(Arc<T>),
    /// The object changed.
    Modified(Arc<T>),
    /// The object is gone, or left the selector; as it last was.
    Deleted(Arc<T>),
}

impl<T: ?Sized> ObjectEvent<T> {
    /// The object.
    #[must_use]
    pub fn object(&self) -> &Arc<T> {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => object,
        }
    }
}

/// A stream of changes of the objects of one kind.
#[derive(Debug)]
pub struct ObjectWatch<T: ?Sized> {
    watch: Watch,
    labels: LabelSelector,
    /// From an object of whatever kind to what is watched.
    typed: fn(AnyObject) -> Option<Arc<T>>,
    revision: Revision,
    pending: VecDeque<ObjectEvent<T>>,
}

impl<T: Object + ?Sized> ObjectWatch<T> {
    pub(super) fn new(watch: Watch, labels: LabelSelector, typed: fn(AnyObject) -> Option<Arc<T>>) -> Self {
        Self { watch, labels, typed, revision: Revision::ZERO, pending: VecDeque::new() }
    }

    /// The next change; `None` when the store was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<ObjectEvent<T>, StoreError>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            let event = match self.watch.next().await? {
                Ok(event) => event,
                Err(error) => return Some(Err(error)),
            };
            self.revision = event.revision;
            for change in event.changes.iter() {
                let matching = |object: &Option<AnyObject>| {
                    object.clone().filter(|o| self.labels.matches(&o.meta().labels)).and_then(self.typed)
                };
                let changed = match (matching(&change.previous), matching(&change.object)) {
                    (None, Some(new)) => ObjectEvent::Added(new),
                    (Some(_), Some(new)) => ObjectEvent::Modified(new),
                    (Some(old), None) => ObjectEvent::Deleted(old),
                    (None, None) => continue,
                };
                self.pending.push_back(changed);
            }
        }
    }

    /// The revision of the commit that the last event came from.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }
}
