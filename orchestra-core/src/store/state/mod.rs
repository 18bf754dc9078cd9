//! The objects and the recent history of a store, in memory: the part that the stores of this crate share.
//!
//! It checks and applies commits and answers reads. It waits for nothing and writes nothing.

mod history;
mod objects;
mod pending;
mod prepare;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) use history::Step;
pub(super) use pending::Pending;
pub(super) use prepare::{Prepared, at_revision, own_objects};
use tokio::time::Instant;

use super::{Change, Epoch, HistoryLimits, Listing, Scope, StoreError, WatchEvent};
use crate::model::{AnyObject, GroupKind, ObjectKey, Revision};
use history::History;
use objects::Objects;

/// The objects of one kind, and what lately happened to them.
#[derive(Debug, Default)]
struct Kind {
    objects: Objects,
    history: History,
    last: Last,
}

/// The last commit that touched a kind, also in each of its namespaces: one entry for every namespace that ever
/// had an object of the kind, as an answer of "never" would let a reader take an old view for a new one.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    pub(super) revision: Revision,
    pub(super) namespaces: BTreeMap<Arc<str>, Revision>,
}

/// What is known of a commit in the history beside its event.
#[derive(Clone, Copy, Debug)]
struct Held {
    bytes: usize,
    since: Instant,
}

/// All objects by kind, one history, and the counters.
#[derive(Debug)]
pub(super) struct State {
    kinds: BTreeMap<GroupKind, Kind>,
    history: History,
    /// Of each commit in the history.
    held: VecDeque<Held>,
    held_changes: usize,
    held_bytes: usize,
    limits: HistoryLimits,
    revision: Revision,
    epoch: Epoch,
}

/// What a commit wrote: by key, the object or its removal.
pub(super) type Replayed = Vec<(ObjectKey, Option<AnyObject>)>;

/// A state without its history, as it goes into a snapshot and comes out of it.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) revision: Revision,
    pub(super) epoch: Epoch,
    pub(super) last: BTreeMap<GroupKind, Last>,
    pub(super) objects: Vec<AnyObject>,
}

impl State {
    pub(super) fn new(limits: HistoryLimits) -> Self {
        Self::restore(Image::default(), limits)
    }

    /// The state of `image`. Its history begins there.
    pub(super) fn restore(image: Image, limits: HistoryLimits) -> Self {
        let mut state = Self {
            kinds: BTreeMap::new(),
            history: History::default(),
            held: VecDeque::new(),
            held_changes: 0,
            held_bytes: 0,
            limits,
            revision: image.revision,
            epoch: image.epoch,
        };
        state.history.begin_after(image.last.values().map(|last| last.revision).max().unwrap_or_default());
        for (name, last) in image.last {
            let kind = state.kinds.entry(name).or_default();
            kind.history.begin_after(last.revision);
            kind.last = last;
        }
        for object in image.objects {
            let key = ObjectKey::of(&*object);
            state.set(&key, Some(object));
        }
        state
    }

    pub(super) fn image(&self) -> Image {
        Image {
            revision: self.revision,
            epoch: self.epoch,
            last: self.kinds.iter().map(|(name, kind)| (name.clone(), kind.last.clone())).collect(),
            objects: self.list(&Scope::default()).objects,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Says that revisions through `through` have been used, whatever became of them.
    pub(super) fn skip_to(&mut self, through: Revision) {
        self.revision = self.revision.max(through);
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&AnyObject> {
        self.kinds.get(&key.kind)?.objects.get(key)
    }

    pub(super) fn list(&self, scope: &Scope) -> Listing {
        let mut objects = Vec::new();
        let mut add = |kind: &Kind| match &scope.namespace {
            None => objects.extend(kind.objects.all().cloned()),
            Some(namespace) => objects.extend(kind.objects.in_namespace(namespace).cloned()),
        };
        match &scope.kind {
            Some(name) => self.kinds.get(name).into_iter().for_each(add),
            None => self.kinds.values().for_each(&mut add),
        }
        Listing { revision: self.revision, objects }
    }

    pub(super) fn last(&self, scope: &Scope) -> Revision {
        let last = |kind: &Kind| match &scope.namespace {
            None => kind.last.revision,
            Some(namespace) => kind.last.namespaces.get(namespace).copied().unwrap_or_default(),
        };
        match &scope.kind {
            Some(kind) => self.kinds.get(kind).map(last).unwrap_or_default(),
            None => self.kinds.values().map(last).max().unwrap_or_default(),
        }
    }

    /// Makes a prepared commit so. It must be the next after those already applied.
    pub(super) fn apply(&mut self, prepared: &Prepared) {
        if prepared.is_idle() {
            return;
        }
        for change in prepared.event.changes.iter() {
            self.set(&change.key, change.object.clone());
        }
        self.record(&prepared.event, prepared.epoch, prepared.bytes);
    }

    /// Applies a commit that an earlier life of the store accepted, and that takes `bytes` bytes.
    pub(super) fn replay(
        &mut self,
        revision: Revision,
        epoch: Option<Epoch>,
        writes: Replayed,
        bytes: usize,
    ) {
        let changes = writes.into_iter().filter_map(|(key, object)| {
            let previous = self.set(&key, object.clone());
            (object.is_some() || previous.is_some()).then_some(Change { key, object, previous })
        });
        let changes: Arc<[Change]> = changes.collect::<Vec<_>>().into();
        if !changes.is_empty() {
            self.record(&WatchEvent { revision, changes }, epoch, bytes);
        }
        self.skip_to(revision);
    }

    /// Makes `object` what is at `key`, and gives what was.
    fn set(&mut self, key: &ObjectKey, object: Option<AnyObject>) -> Option<AnyObject> {
        match object {
            // A modelled kind's name is borrowed, so that its clone copies no text.
            Some(object) => self.kinds.entry(key.kind.clone()).or_default().objects.insert(key, object),
            None => self.kinds.get_mut(&key.kind)?.objects.remove(key),
        }
    }

    /// Enters a commit, whose objects are set, into the history.
    fn record(&mut self, event: &WatchEvent, epoch: Option<Epoch>, bytes: usize) {
        debug_assert!(event.revision > self.revision, "commits are applied in order, once");
        self.revision = event.revision;
        self.epoch = self.epoch.max(epoch.unwrap_or_default());
        let whole = Arc::new(event.clone());
        let mut touched: BTreeMap<&GroupKind, Vec<&Change>> = BTreeMap::new();
        for change in event.changes.iter() {
            touched.entry(&change.key.kind).or_default().push(change);
        }
        let one_kind = touched.len() == 1;
        for (name, changes) in touched {
            let part = if one_kind {
                Arc::clone(&whole)
            } else {
                let changes = changes.iter().copied().cloned().collect();
                Arc::new(WatchEvent { revision: event.revision, changes })
            };
            if let Some(kind) = self.kinds.get_mut(name) {
                kind.record(&changes, part);
            }
        }
        self.history.push(whole);
        let now = Instant::now();
        self.held.push_back(Held { bytes, since: now });
        self.held_changes += event.changes.len();
        self.held_bytes += bytes;
        while self.held.len() > 1 && self.holds_too_much(now) {
            self.forget_oldest();
        }
    }

    fn holds_too_much(&self, now: Instant) -> bool {
        let limits = &self.limits;
        let is_old = |oldest: &Held| now.duration_since(oldest.since) > limits.age;
        self.held_changes > limits.changes
            || self.held_bytes > limits.bytes
            || (self.held_changes > HistoryLimits::WHATEVER_AGE && self.held.front().is_some_and(is_old))
    }

    /// Forgets the history through `through`.
    pub(super) fn compact(&mut self, through: Revision) {
        while self.history.first().is_some_and(|event| event.revision <= through) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(event) = self.history.pop() else { return };
        self.held_changes -= event.changes.len();
        self.held_bytes -= self.held.pop_front().map_or(0, |held| held.bytes);
        for change in event.changes.iter() {
            if let Some(kind) = self.kinds.get_mut(&change.key.kind) {
                kind.history.pop_at(event.revision);
            }
        }
    }

    /// What there is for a watch of `scope` that has seen all through `after`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`]
    pub(super) fn next_after(&self, scope: &Scope, after: Revision) -> Result<Step, StoreError> {
        match &scope.kind {
            None => self.history.next_after(scope, after),
            Some(kind) => match self.kinds.get(kind) {
                Some(kind) => kind.history.next_after(scope, after),
                None => Ok(Step::End(after)),
            },
        }
    }
}

impl Kind {
    fn record(&mut self, changes: &[&Change], event: Arc<WatchEvent>) {
        self.last.revision = event.revision;
        for change in changes {
            match self.last.namespaces.get_mut(&change.key.namespace) {
                Some(last) => *last = event.revision,
                None => {
                    self.last.namespaces.insert(Arc::clone(&change.key.namespace), event.revision);
                }
            }
        }
        self.history.push(event);
    }
}
