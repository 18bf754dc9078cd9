//! Commits that were accepted and are not yet done.

use std::collections::HashMap;

use super::Prepared;
use crate::model::{AnyObject, ObjectKey, Revision};
use crate::store::Epoch;

/// What the state will be when all accepted commits are done. Later commits are checked against it; reads and
/// watches don't see it. Empty in a store whose commits are done at once.
#[derive(Debug, Default)]
pub(in crate::store) struct Pending {
    /// By key, the last pending commit that writes it, and what it makes of it.
    objects: HashMap<ObjectKey, (Revision, Option<AnyObject>)>,
    revision: Revision,
    epoch: Epoch,
}

impl Pending {
    /// What is pending for `key`, if anything; inside, the object or its removal.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Option<&AnyObject>> {
        self.objects.get(key).map(|(_, object)| object.as_ref())
    }

    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds an accepted commit.
    pub(in crate::store) fn add(&mut self, prepared: &Prepared) {
        self.revision = prepared.event.revision;
        self.epoch = self.epoch.max(prepared.epoch.unwrap_or_default());
        for change in prepared.event.changes.iter() {
            self.objects.insert(change.key.clone(), (self.revision, change.object.clone()));
        }
    }

    /// Takes out a commit that is done.
    pub(in crate::store) fn settle(&mut self, prepared: &Prepared) {
        for change in prepared.event.changes.iter() {
            if self.objects.get(&change.key).is_some_and(|(last, _)| *last == prepared.event.revision) {
                self.objects.remove(&change.key);
            }
        }
    }
}
