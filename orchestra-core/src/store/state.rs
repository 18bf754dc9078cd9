//! The objects and the recent history of a store, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Change, Commit, Committed, Epoch, Listing, Precondition, Scope, StoreError, WatchEvent, Write};
use crate::model::{AnyObject, GroupKind, ObjectKey, Revision};

/// The objects of one kind, and what lately happened to them.
#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<ObjectKey, AnyObject>,
    /// The commits that touched this kind, oldest first.
    history: VecDeque<Arc<WatchEvent>>,
    /// The last commit that touched it, also in each of its namespaces.
    last: Revision,
    last_in: BTreeMap<Arc<str>, Revision>,
}

/// All objects by kind, one history, and the counters.
///
/// It is the part that every store of this crate shares: it checks and applies commits, and answers reads.
/// It waits for nothing and writes nothing.
#[derive(Debug)]
pub(super) struct State {
    kinds: BTreeMap<GroupKind, Kind>,
    history: VecDeque<Arc<WatchEvent>>,
    /// How many changes the history holds, and may hold.
    held: usize,
    limit: usize,
    revision: Revision,
    /// The history begins after this revision.
    compacted: Revision,
    epoch: Epoch,
}

/// A commit that was checked and may be applied: what it will have changed.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) event: WatchEvent,
    pub(super) epoch: Option<Epoch>,
    /// For each write, the change it became, if any.
    written: Vec<Option<usize>>,
}

impl State {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            kinds: BTreeMap::new(),
            history: VecDeque::new(),
            held: 0,
            limit,
            revision: Revision::ZERO,
            compacted: Revision::ZERO,
            epoch: Epoch::default(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&AnyObject> {
        self.kinds.get(&key.kind)?.objects.get(key)
    }

    pub(super) fn list(&self, scope: &Scope) -> Listing {
        let mut objects = Vec::new();
        let kinds: Vec<&Kind> = match &scope.kind {
            Some(kind) => self.kinds.get(kind).into_iter().collect(),
            None => self.kinds.values().collect(),
        };
        for kind in kinds {
            match &scope.namespace {
                None => objects.extend(kind.objects.values().cloned()),
                Some(namespace) => {
                    let Some(first) = kind.objects.keys().next() else { continue };
                    let from = ObjectKey {
                        kind: first.kind.clone(),
                        namespace: Arc::clone(namespace),
                        name: "".into(),
                    };
                    let range = kind.objects.range(from..).take_while(|(key, _)| key.namespace == *namespace);
                    objects.extend(range.map(|(_, object)| Arc::clone(object)));
                }
            }
        }
        Listing { revision: self.revision, objects }
    }

    pub(super) fn last(&self, scope: &Scope) -> Revision {
        let last = |kind: &Kind| match &scope.namespace {
            None => kind.last,
            Some(namespace) => kind.last_in.get(namespace).copied().unwrap_or_default(),
        };
        match &scope.kind {
            Some(kind) => self.kinds.get(kind).map(last).unwrap_or_default(),
            None => self.kinds.values().map(last).max().unwrap_or_default(),
        }
    }

    /// Checks `commit` and works out what it changes. `None`: it changes nothing.
    pub(super) fn prepare(&self, commit: Commit) -> Result<Option<Prepared>, StoreError> {
        if let Some(epoch) = commit.epoch.filter(|epoch| *epoch < self.epoch) {
            return Err(StoreError::Fenced { epoch, current: self.epoch });
        }
        for precondition in &commit.preconditions {
            self.check(precondition)?;
        }
        let revision = self.revision.next();
        let mut changes: Vec<Change> = Vec::with_capacity(commit.writes.len());
        let mut written = Vec::with_capacity(commit.writes.len());
        let mut keys = std::collections::BTreeSet::new();
        for write in commit.writes {
            let key = write.key();
            if !keys.insert(key.clone()) {
                return Err(StoreError::Invalid(format!("{key} is written twice in one commit")));
            }
            let previous = self.get(&key).cloned();
            let object = match write {
                Write::Put(mut object) => {
                    if Arc::get_mut(&mut object).is_none() {
                        object = object.clone_object();
                    }
                    if let Some(unique) = Arc::get_mut(&mut object) {
                        unique.meta_mut().resource_version = revision;
                    }
                    Some(object)
                }
                Write::Delete(_) => None,
            };
            if object.is_none() && previous.is_none() {
                written.push(None);
                continue;
            }
            written.push(Some(changes.len()));
            changes.push(Change { key, object, previous });
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let event = WatchEvent { revision, changes: changes.into() };
        Ok(Some(Prepared { event, epoch: commit.epoch, written }))
    }

    fn check(&self, precondition: &Precondition) -> Result<(), StoreError> {
        let key = precondition.key();
        let live = self.get(key).map(|object| object.meta());
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
        Err(StoreError::Conflict {
            key: key.clone(),
            expected,
            found: live.map(|meta| meta.resource_version),
        })
    }

    /// Makes a prepared commit so. It must have been prepared against this very state.
    pub(super) fn apply(&mut self, prepared: &Prepared) {
        let event = &prepared.event;
        self.revision = event.revision;
        self.epoch = self.epoch.max(prepared.epoch.unwrap_or_default());
        let mut touched: BTreeMap<&GroupKind, Vec<&Change>> = BTreeMap::new();
        for change in event.changes.iter() {
            touched.entry(&change.key.kind).or_default().push(change);
        }
        let whole = Arc::new(event.clone());
        let one_kind = touched.len() == 1;
        for (name, changes) in touched {
            let kind = self.kinds.entry(name.clone()).or_default();
            kind.last = event.revision;
            for change in &changes {
                kind.last_in.insert(Arc::clone(&change.key.namespace), event.revision);
                match &change.object {
                    Some(object) => kind.objects.insert(change.key.clone(), Arc::clone(object)),
                    None => kind.objects.remove(&change.key),
                };
            }
            let part = if one_kind {
                Arc::clone(&whole)
            } else {
                let changes = changes.into_iter().cloned().collect();
                Arc::new(WatchEvent { revision: event.revision, changes })
            };
            kind.history.push_back(part);
        }
        self.held += event.changes.len();
        self.history.push_back(whole);
        while self.held > self.limit && self.history.len() > 1 {
            let Some(oldest) = self.history.front().map(|event| event.revision) else { break };
            self.compact(oldest);
        }
    }

    /// Forgets the history through `through`.
    pub(super) fn compact(&mut self, through: Revision) {
        let through = through.min(self.revision);
        while let Some(event) = self.history.front().filter(|event| event.revision <= through).cloned() {
            self.held -= event.changes.len();
            for change in event.changes.iter() {
                if let Some(kind) = self.kinds.get_mut(&change.key.kind)
                    && kind.history.front().is_some_and(|first| first.revision <= event.revision)
                {
                    kind.history.pop_front();
                }
            }
            self.history.pop_front();
        }
        self.compacted = self.compacted.max(through);
    }

    /// The next event in `scope` after `after`; `None`: there is none yet.
    pub(super) fn next_after(
        &self,
        scope: &Scope,
        after: Revision,
    ) -> Result<Option<WatchEvent>, StoreError> {
        if after < self.compacted {
            return Err(StoreError::Compacted { requested: after, oldest: self.compacted });
        }
        let history = match &scope.kind {
            None => Some(&self.history),
            Some(kind) => self.kinds.get(kind).map(|kind| &kind.history),
        };
        let Some(history) = history else { return Ok(None) };
        let start = history.partition_point(|event| event.revision <= after);
        for event in history.range(start..) {
            if event.changes.iter().all(|change| scope.contains(&change.key)) {
                return Ok(Some((**event).clone()));
            }
            let changes: Arc<[Change]> =
                event.changes.iter().filter(|change| scope.contains(&change.key)).cloned().collect();
            if !changes.is_empty() {
                return Ok(Some(WatchEvent { revision: event.revision, changes }));
            }
        }
        Ok(None)
    }
}

impl Prepared {
    /// What the committer is told.
    pub(super) fn committed(&self) -> Committed {
        let object = |index: &Option<usize>| {
            let change = &self.event.changes[(*index)?];
            change.object.clone().or_else(|| change.previous.clone())
        };
        Committed { revision: self.event.revision, objects: self.written.iter().map(object).collect() }
    }

    /// The kinds it touches, each once.
    pub(super) fn kinds(&self) -> std::collections::BTreeSet<&GroupKind> {
        self.event.changes.iter().map(|change| &change.key.kind).collect()
    }
}
