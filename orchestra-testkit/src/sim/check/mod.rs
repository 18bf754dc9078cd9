//! The invariants, a file for each or for a few that belong together, judged after every event against what is true.

mod l01_desired;
mod l09_fixpoint;
mod numbers;
mod s05_identity;
mod s16_containers;
mod s17_phase;
mod s19_capacity;
mod s24_creation;
mod s26_availability;
mod s27_revisions;
mod s34_garbage;
mod s35_budget;
mod s37_outage;
mod s39_drain;
mod s40_adoption;
mod s41_leftovers;
mod s42_ending;
mod watch_log;

use super::event::Event;
use super::view::View;

pub(crate) use watch_log::WatchLog;

/// What is wrong.
#[derive(Debug, Default)]
pub(crate) struct Found(pub(super) Vec<(&'static str, String)>);

impl Found {
    /// The invariant of this number does not hold.
    pub(crate) fn add(&mut self, invariant: &'static str, what: impl Into<String>) {
        self.0.push((invariant, what.into()));
    }
}

/// Judges events. A commit is told of after the view shows it; what happens on a host, before.
pub(crate) trait Check: Send {
    /// Something happened.
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found);
}

/// All checks of a run.
pub(crate) fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(s05_identity::Identity::default()),
        Box::new(s16_containers::Containers),
        Box::new(s17_phase::Phases::default()),
        Box::new(s19_capacity::Capacity::default()),
        Box::new(s24_creation::Creation::default()),
        Box::new(s26_availability::Availability::default()),
        Box::new(s27_revisions::Revisions::default()),
        Box::new(s34_garbage::Garbage),
        Box::new(s35_budget::Budgets),
        Box::new(s37_outage::Outage::default()),
        Box::new(s39_drain::Drains::default()),
        Box::new(s40_adoption::Adoption::default()),
        Box::new(s41_leftovers::Leftovers),
        Box::new(s42_ending::Endings::default()),
        Box::new(l01_desired::Desired),
        Box::new(l09_fixpoint::Fixpoint::default()),
    ]
}
