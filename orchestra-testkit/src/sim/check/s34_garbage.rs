//! S34: only what nobody owns any more is garbage.

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::process::Actor;
use crate::sim::view::View;

/// Checks S34.
#[derive(Debug, Default)]
pub(super) struct Garbage;

impl Check for Garbage {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        if seen.actor != Actor::Controller("garbage") {
            return;
        }
        for change in seen.changes.iter() {
            let Some(old) = change.previous.as_ref().filter(|old| !old.meta().is_deleting()) else {
                continue;
            };
            if change.object.as_ref().is_some_and(|new| !new.meta().is_deleting()) {
                continue;
            }
            if old.meta().owner_references.is_empty() {
                found.add("S34", format!("{} has no owner and was collected", change.key));
            }
            for owner in &old.meta().owner_references {
                let waits = |object: &orchestra_core::model::AnyObject| {
                    let meta = object.meta();
                    meta.is_deleting() && meta.finalizers.iter().any(|f| f == "foregroundDeletion")
                };
                if view.objects.by_uid(&owner.uid).is_some_and(|object| !waits(object)) {
                    found.add("S34", format!("{} was collected while {} is there", change.key, owner.name));
                }
            }
        }
    }
}
