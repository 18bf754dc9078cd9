//! Following objects of one kind.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{AnyObjectExt, LabelSelector, Resource, Revision};
use crate::store::{StoreError, Watch};

/// A change of an object, as seen through a selector: one that begins to match is added, one that no longer
/// does is deleted.
#[derive(Clone, Debug)]
pub enum ObjectEvent<T> {
    /// The object is new to the watch.
    Added(Arc<T>),
    /// The object changed.
    Modified(Arc<T>),
    /// The object is gone, or left the selector; as it last was.
    Deleted(Arc<T>),
}

impl<T> ObjectEvent<T> {
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
pub struct ObjectWatch<T> {
    watch: Watch,
    labels: LabelSelector,
    revision: Revision,
    pending: VecDeque<ObjectEvent<T>>,
}

impl<T: Resource> ObjectWatch<T> {
    pub(super) fn new(watch: Watch, labels: LabelSelector) -> Self {
        Self { watch, labels, revision: Revision::ZERO, pending: VecDeque::new() }
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
                let matching = |object: &Option<crate::model::AnyObject>| {
                    object
                        .clone()
                        .filter(|o| self.labels.matches(&o.meta().labels))
                        .and_then(AnyObjectExt::downcast)
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
