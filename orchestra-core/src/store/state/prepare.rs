//! Checking a commit, before anything of it happens.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Pending, State};
use crate::model::{AnyObject, ObjectKey, Revision};
use crate::store::{Change, Commit, Committed, Epoch, Precondition, StoreError, WatchEvent, Write};

/// A commit that was checked and may be applied: what it will have changed.
#[derive(Clone, Debug)]
pub(in crate::store) struct Prepared {
    /// Its revision and changes. Without changes it has no revision of its own and is not applied.
    pub(in crate::store) event: WatchEvent,
    pub(in crate::store) epoch: Option<Epoch>,
    /// How large it is, in whatever measure the store's history is limited by.
    pub(in crate::store) bytes: usize,
    /// For each write, the change it became, if any.
    written: Vec<Option<usize>>,
}

/// The answer to a commit.
#[derive(Debug)]
pub(in crate::store) struct Verdict {
    pub(in crate::store) result: Result<Prepared, StoreError>,
    /// Whether it rests on commits that are not done yet. A refusal or an idle commit that does is
    /// answered only after them, else it would tell of what nobody can read yet and may never come true.
    pub(in crate::store) unsettled: bool,
}

impl Prepared {
    /// Whether nothing changes.
    pub(in crate::store) fn is_idle(&self) -> bool {
        self.event.changes.is_empty()
    }

    /// What the committer is told; `last`: the revision of an idle commit.
    pub(in crate::store) fn committed(&self, last: Revision) -> Committed {
        let object = |index: &Option<usize>| {
            let change = &self.event.changes[(*index)?];
            change.object.clone().or_else(|| change.previous.clone())
        };
        let revision = if self.is_idle() { last } else { self.event.revision };
        Committed { revision, objects: self.written.iter().map(object).collect() }
    }
}

/// Makes every object that `commit` stores its own, so that the revision can be set in place: to be done
/// before taking the store's lock, as it may copy.
pub(in crate::store) fn own_objects(commit: &mut Commit) {
    for write in &mut commit.writes {
        if let Write::Put(object) = write
            && Arc::get_mut(object).is_none()
        {
            *object = object.clone_object();
        }
    }
}

impl State {
    /// Checks `commit` against this state and what is pending, and works out what it changes.
    pub(in crate::store) fn prepare(&self, commit: Commit, pending: &Pending) -> Verdict {
        let current = self.epoch.max(pending.epoch());
        if let Some(epoch) = commit.epoch.filter(|epoch| *epoch < current) {
            let result = Err(StoreError::Fenced { epoch, current });
            return Verdict { result, unsettled: epoch >= self.epoch };
        }
        for precondition in &commit.preconditions {
            if let Err(error) = self.check(precondition, pending) {
                return Verdict { result: Err(error), unsettled: pending.contains(precondition.key()) };
            }
        }
        let keys: Vec<ObjectKey> = commit.writes.iter().map(Write::key).collect();
        if let Some(twice) = first_twice(&keys) {
            let result = Err(StoreError::Invalid(format!("{twice} is written twice in one commit")));
            return Verdict { result, unsettled: false };
        }
        let unsettled = keys.iter().any(|key| pending.contains(key));
        let revision = self.revision.max(pending.revision()).next();
        let prepared = self.changes(revision, commit, keys, pending);
        Verdict { unsettled: prepared.is_idle() && unsettled, result: Ok(prepared) }
    }

    /// What `commit`, which was checked and writes to `keys`, changes as the commit of `revision`.
    fn changes(
        &self,
        revision: Revision,
        commit: Commit,
        keys: Vec<ObjectKey>,
        pending: &Pending,
    ) -> Prepared {
        let mut changes: Vec<Change> = Vec::with_capacity(commit.writes.len());
        let mut written = Vec::with_capacity(commit.writes.len());
        for (write, key) in commit.writes.into_iter().zip(keys) {
            let previous = self.latest(&key, pending).cloned();
            let object = match write {
                Write::Put(object) => Some(at_revision(object, revision)),
                Write::Delete(_) => None,
            };
            if object.is_none() && previous.is_none() {
                written.push(None);
                continue;
            }
            written.push(Some(changes.len()));
            changes.push(Change { key, object, previous });
        }
        let event = WatchEvent { revision, changes: changes.into() };
        Prepared { event, epoch: commit.epoch, bytes: 0, written }
    }

    /// The object at `key` once all that is pending is done.
    fn latest<'a>(&'a self, key: &ObjectKey, pending: &'a Pending) -> Option<&'a AnyObject> {
        pending.get(key).unwrap_or_else(|| self.get(key))
    }

    fn check(&self, precondition: &Precondition, pending: &Pending) -> Result<(), StoreError> {
        let key = precondition.key();
        let live = self.latest(key, pending).map(|object| object.meta());
        let (holds, expected) = match precondition {
            Precondition::Absent(_) => (live.is_none(), None),
            Precondition::Revision(_, wanted) => {
                (live.is_some_and(|meta| meta.resource_version == *wanted), Some(*wanted))
            }
            Precondition::Uid(_, wanted) => (live.is_some_and(|meta| meta.uid == *wanted), None),
        };
        if holds {
            return Ok(());
        }
        let found = live.map(|meta| meta.resource_version);
        Err(StoreError::Conflict { key: key.clone(), expected, found })
    }
}

/// The first key that an earlier one equals.
fn first_twice(keys: &[ObjectKey]) -> Option<&ObjectKey> {
    // One write is the rule, and needs no set.
    let mut seen = HashSet::with_capacity(if keys.len() > 1 { keys.len() } else { 0 });
    keys.iter().find(|key| keys.len() > 1 && !seen.insert(*key))
}

/// Sets the object's revision: in place, unless it is shared.
pub(in crate::store) fn at_revision(mut object: AnyObject, revision: Revision) -> AnyObject {
    if Arc::get_mut(&mut object).is_none() {
        object = object.clone_object();
    }
    if let Some(own) = Arc::get_mut(&mut object) {
        own.meta_mut().resource_version = revision;
    }
    object
}
