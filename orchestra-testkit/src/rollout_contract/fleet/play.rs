//! Random events, one after the other, until nothing is left to do.

use std::time::Duration;

use orchestra_core::rollout::{PROMOTE, Phase};

use super::set::{Pod, Set};
use super::{Event, Fleet};

/// How many events one settling may take: a dozen pods in a handful of versions need a few hundred.
const SETTLE_EVENTS: usize = 20_000;

impl Fleet<'_> {
    /// One random event; whether anything happened.
    fn event(&mut self) -> bool {
        let index = usize::try_from(self.rng.below(self.sets.len() as u64)).unwrap_or_default();
        match self.rng.below(if self.faults { 7 } else { 6 }) {
            0 if self.dirty => {
                self.step();
                true
            }
            0..=2 => self.sync(index),
            6 => self.break_pod(index),
            _ => self.progress_pod(index),
        }
    }

    /// Plays so many random events.
    pub fn play(&mut self, events: u64) {
        for _ in 0..events {
            self.event();
            self.now = self.now + Duration::from_millis(100);
        }
    }

    /// Plays until nothing is left to do.
    ///
    /// # Panics
    /// Where that takes too long, or ends in another phase than `expected`.
    pub fn settle(&mut self, expected: Phase) {
        for _ in 0..SETTLE_EVENTS {
            self.event();
            self.now = self.now + Duration::from_millis(100);
            if self.is_idle() && !self.move_on() {
                assert_eq!(self.phase, expected, "it settled elsewhere\n{self}");
                self.check_settled();
                return;
            }
        }
        panic!("it never settles\n{self}");
    }

    fn is_idle(&self) -> bool {
        let guarded = self.guarded && self.serving() <= self.floor();
        let idle = |set: &Set| {
            let kept = guarded && !set.held_back && set.alive() == set.count(Pod::Ready);
            let synced = set.alive() == set.size || (kept && set.alive() > set.size);
            let stuck = |pod: &Pod| match pod {
                Pod::Starting | Pod::Unready => !set.good && !set.crashes,
                Pod::Young | Pod::Ending => false,
                Pod::Ready => true,
            };
            synced && set.pods.iter().all(stuck)
        };
        !self.dirty && self.sets.iter().all(idle)
    }

    /// Lets time pass, or a person go on; whether that may change something.
    fn move_on(&mut self) -> bool {
        if let Some(at) = self.wake_at.take() {
            self.now = self.now.max(at);
            self.log(Event::Waited(at));
            return true;
        }
        if self.phase == Phase::Paused && !self.paused {
            let revision = self.sets[self.new].revision.to_string();
            if self.annotations.value(PROMOTE) != Some(&revision) {
                self.annotations.insert(PROMOTE.to_owned(), revision);
                self.user("lets it go on".to_owned());
                return true;
            }
        }
        false
    }

    fn check_settled(&self) {
        let set = &self.sets[self.new];
        if self.phase == Phase::Complete {
            assert_eq!(
                (set.serving(), self.alive()),
                (self.replicas, self.replicas),
                "complete, but not so\n{self}"
            );
        }
    }
}
