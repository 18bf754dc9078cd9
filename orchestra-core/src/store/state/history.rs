//! What lately happened, for the watches.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Revision;
use crate::store::{Change, Scope, StoreError, WatchEvent};

/// How many events a watch looks at in one go, so that a watch of a small part of a busy kind does not hold the
/// store's lock for long.
const SCAN: usize = 512;

/// Commits in order, oldest first, back to a certain one.
#[derive(Debug, Default)]
pub(super) struct History {
    events: VecDeque<Arc<WatchEvent>>,
    /// The newest commit that is no longer held.
    dropped: Revision,
}

/// What a watch finds when it looks.
#[derive(Debug)]
pub(in crate::store) enum Step {
    /// The next event of its scope.
    Event(WatchEvent),
    /// Nothing for it up to here; there is more to look at.
    Skipped(Revision),
    /// Nothing for it up to here, the newest commit.
    End(Revision),
}

impl History {
    pub(super) fn push(&mut self, event: Arc<WatchEvent>) {
        self.events.push_back(event);
    }

    pub(super) fn first(&self) -> Option<&Arc<WatchEvent>> {
        self.events.front()
    }

    pub(super) fn pop(&mut self) -> Option<Arc<WatchEvent>> {
        let event = self.events.pop_front()?;
        self.dropped = event.revision;
        Some(event)
    }

    /// Forgets the event of `revision`, which is the first where this history has it.
    pub(super) fn pop_at(&mut self, revision: Revision) {
        if self.first().is_some_and(|event| event.revision == revision) {
            self.pop();
        }
    }

    /// Says that there was history through `through` which isn't held.
    pub(super) fn begin_after(&mut self, through: Revision) {
        self.dropped = through;
    }

    /// What there is for a watch of `scope` that has seen all through `after`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`]
    pub(super) fn next_after(&self, scope: &Scope, after: Revision) -> Result<Step, StoreError> {
        if after < self.dropped {
            return Err(StoreError::Compacted { requested: after, oldest: self.dropped });
        }
        let start = self.events.partition_point(|event| event.revision <= after);
        let mut seen = after;
        for event in self.events.range(start..).take(SCAN) {
            if event.changes.iter().all(|change| scope.contains(&change.key)) {
                return Ok(Step::Event((**event).clone()));
            }
            let inside = event.changes.iter().filter(|change| scope.contains(&change.key));
            let changes: Arc<[Change]> = inside.cloned().collect();
            if !changes.is_empty() {
                return Ok(Step::Event(WatchEvent { revision: event.revision, changes }));
            }
            seen = event.revision;
        }
        Ok(if start + SCAN < self.events.len() { Step::Skipped(seen) } else { Step::End(seen) })
    }
}
