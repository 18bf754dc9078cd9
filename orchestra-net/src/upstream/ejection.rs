//! Endpoints that are avoided for a while because they fail, or because a health check says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestra_core::balance::EndpointId;

/// The time out grows up to this many times its first length.
const LONGEST: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Ejections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Who is out, and until when.
    until: BTreeMap<EndpointId, Duration>,
    /// How often in a row each has been out.
    times: BTreeMap<EndpointId, u32>,
    unhealthy: BTreeSet<EndpointId>,
}

impl Ejections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ejects an endpoint at `now`, where no more than `most` are then out. Whether it is out now.
    pub(super) fn eject(&self, id: &EndpointId, most: usize, first: Duration, now: Duration) -> bool {
        let mut state = self.lock();
        if state.until.contains_key(id) || state.out() >= most {
            return false;
        }
        let times = state.times.entry(id.clone()).or_default();
        *times = (*times + 1).min(LONGEST);
        let until = now + first * *times;
        state.until.insert(id.clone(), until);
        true
    }

    /// Lets in again whose time is over at `now`, and returns them.
    pub(super) fn readmit(&self, now: Duration) -> Vec<EndpointId> {
        let mut state = self.lock();
        let back: Vec<EndpointId> =
            state.until.iter().filter(|(_, until)| **until <= now).map(|(id, _)| id.clone()).collect();
        state.until.retain(|_, until| *until > now);
        back
    }

    /// An endpoint does well: next time it is out as if for the first time.
    pub(super) fn pardon(&self, id: &EndpointId) {
        self.lock().times.remove(id);
    }

    /// What a health check says. Whether that is new.
    pub(super) fn health(&self, id: &EndpointId, healthy: bool) -> bool {
        let mut state = self.lock();
        if healthy { state.unhealthy.remove(id) } else { state.unhealthy.insert(id.clone()) }
    }

    /// They are no members any more.
    pub(super) fn forget(&self, ids: &[EndpointId]) {
        let mut state = self.lock();
        for id in ids {
            state.until.remove(id);
            state.times.remove(id);
            state.unhealthy.remove(id);
        }
    }

    /// Tells who is to be avoided, while nobody changes that: of two who tell, the later one knows more.
    pub(super) fn tell<R>(&self, tell: impl FnOnce(Vec<EndpointId>) -> R) -> R {
        let state = self.lock();
        let unhealthy = state.unhealthy.iter().filter(|id| !state.until.contains_key(id));
        tell(state.until.keys().chain(unhealthy).cloned().collect())
    }
}

impl State {
    fn out(&self) -> usize {
        self.until.len() + self.unhealthy.iter().filter(|id| !self.until.contains_key(id)).count()
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::balance::Endpoint;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: u8) -> EndpointId {
        Endpoint::new(format!("pod-{n}"), ([127, 0, 0, n], 80)).id
    }

    #[test]
    fn no_more_are_out_than_may_be_and_each_comes_back_later_every_time() {
        let ejections = Ejections::default();
        assert!(ejections.eject(&id(1), 2, SECOND, SECOND));
        assert!(!ejections.eject(&id(1), 2, SECOND, SECOND), "it is out already");
        assert!(ejections.eject(&id(2), 2, SECOND, SECOND));
        assert!(!ejections.eject(&id(3), 2, SECOND, SECOND), "two are out");
        assert!(ejections.readmit(SECOND + SECOND / 2).is_empty());
        assert_eq!(ejections.readmit(2 * SECOND), [id(1), id(2)]);
        assert!(ejections.eject(&id(1), 2, SECOND, 2 * SECOND));
        assert!(ejections.readmit(3 * SECOND).is_empty(), "the second time takes two seconds");
        assert_eq!(ejections.readmit(4 * SECOND), [id(1)]);
        ejections.pardon(&id(1));
        assert!(ejections.eject(&id(1), 2, SECOND, 4 * SECOND));
        assert_eq!(ejections.readmit(5 * SECOND), [id(1)]);
    }

    #[test]
    fn the_unhealthy_are_avoided_and_count() {
        let ejections = Ejections::default();
        assert!(ejections.health(&id(1), false));
        assert!(!ejections.health(&id(1), false), "that was known");
        assert!(!ejections.eject(&id(2), 1, SECOND, SECOND));
        assert_eq!(ejections.tell(|ids| ids), [id(1)]);
        assert!(ejections.health(&id(1), true));
        assert!(ejections.tell(|ids| ids).is_empty());
    }
}
