//! S2, S7 to S11 and S14: revisions grow, and watches and lists tell the history as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::Revision;
use orchestra_core::store::{Change, Listing, Scope, WatchEvent};

use super::Found;
use crate::sim::event::Committed;
use crate::sim::view::Objects;

/// All commits, and how far each watch has got.
#[derive(Debug, Default)]
pub(crate) struct WatchLog {
    history: Vec<Arc<Committed>>,
    watches: BTreeMap<u64, Position>,
    begun: u64,
}

#[derive(Debug)]
struct Position {
    scope: Scope,
    after: Revision,
    /// The first entry of the history that was not looked at.
    next: usize,
}

impl WatchLog {
    /// S2: revisions grow strictly.
    pub(crate) fn committed(&mut self, seen: &Arc<Committed>, found: &mut Found) {
        let last = self.history.last().map_or(Revision::ZERO, |last| last.revision);
        if seen.revision <= last {
            found.add("S2", format!("revision {} was given after {last}", seen.revision));
        }
        self.history.push(Arc::clone(seen));
    }

    pub(crate) fn begin(&mut self, scope: &Scope, after: Revision) -> u64 {
        self.begun += 1;
        let next = self.history.partition_point(|seen| seen.revision <= after);
        self.watches.insert(self.begun, Position { scope: scope.clone(), after, next });
        self.begun
    }

    /// S7 to S10: each commit in scope once, whole, in order, none left out.
    pub(crate) fn delivered(&mut self, watch: u64, event: &WatchEvent, found: &mut Found) {
        let Some(position) = self.watches.get_mut(&watch) else { return };
        let scope = &position.scope;
        let expected = self.history[position.next..].iter().enumerate().find_map(|(skipped, seen)| {
            let changes: Vec<&Change> = seen.changes.iter().filter(|c| scope.contains(&c.key)).collect();
            (!changes.is_empty()).then_some((skipped, seen.revision, changes))
        });
        let what = format!("watch {watch} of {scope:?}");
        if event.revision <= position.after {
            found.add("S7", format!("{what} got revision {} after {}", event.revision, position.after));
            return;
        }
        position.after = event.revision;
        let Some((skipped, revision, changes)) = expected else {
            return found
                .add("S10", format!("{what} got revision {}, which changed nothing there", event.revision));
        };
        position.next += skipped + 1;
        if revision != event.revision {
            found.add("S10", format!("{what} got revision {} and never {revision}", event.revision));
        } else if !same(&changes, &event.changes) {
            found.add("S9", format!("{what} got other changes of revision {revision} than were made"));
        }
    }

    /// S14: a list is what was there at its revision.
    pub(crate) fn listed(&self, scope: &Scope, listing: &Listing, objects: &Objects, found: &mut Found) {
        let last = self.history.last().map_or(Revision::ZERO, |last| last.revision);
        if listing.revision != last {
            found.add("S14", format!("a list at revision {last} says it is of {}", listing.revision));
        }
        let mut wanted = objects.all().filter(|(key, _)| scope.contains(key)).map(|(_, object)| object);
        let mut listed = listing.objects.iter();
        loop {
            match (wanted.next(), listed.next()) {
                (None, None) => return,
                (Some(a), Some(b)) if a.meta().resource_version == b.meta().resource_version => {}
                (a, b) => {
                    let name = |o: Option<&orchestra_core::model::AnyObject>| {
                        o.map_or("nothing".to_owned(), |o| {
                            format!("{} at {}", o.meta().name, o.meta().resource_version)
                        })
                    };
                    let (a, b) = (name(a), name(b));
                    return found.add("S14", format!("a list of {scope:?} has {b} where there is {a}"));
                }
            }
        }
    }
}

fn same(expected: &[&Change], got: &[Change]) -> bool {
    let equal = |(a, b): (&&Change, &Change)| {
        let revision =
            |c: &Change| c.object.as_ref().map(|o| (o.meta().uid.clone(), o.meta().resource_version));
        a.key == b.key && revision(a) == revision(b)
    };
    expected.len() == got.len() && expected.iter().zip(got).all(equal)
}
