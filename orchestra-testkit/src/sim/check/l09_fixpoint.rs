//! L9b: when everything is as desired, nothing is done any more.

use orchestra_core::model::{AnyObjectExt, Node};
use orchestra_core::store::Change;

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::view::View;

/// Checks L9b: between settling and the end there are no writes but signs of life, and no calls of a runtime but
/// questions.
#[derive(Debug, Default)]
pub(super) struct Fixpoint {
    quiet: bool,
}

impl Check for Fixpoint {
    fn on(&mut self, event: &Event<'_>, _: &View<'_>, found: &mut Found) {
        match event {
            Event::Settled => self.quiet = true,
            Event::End => self.quiet = false,
            Event::Commit(seen) if self.quiet => {
                for change in seen.changes.iter().filter(|change| !is_heartbeat(change)) {
                    found.add(
                        "L9b",
                        format!("{} wrote {} though nothing was to be done", seen.actor, change.key),
                    );
                }
            }
            Event::Called { host, call } if self.quiet => {
                found.add("L9b", format!("node-{host} called {call} though nothing was to be done"));
            }
            _ => {}
        }
    }
}

fn is_heartbeat(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.previous, &change.object) else { return false };
    let same_spec = old.same_desired(&**new);
    change.key.kind.kind == "Lease" || (new.as_resource::<Node>().is_some() && same_spec)
}
