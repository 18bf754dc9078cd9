//! Endpoints that are avoided for a while because they fail, or because a health check says so.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestra_core::balance::EndpointId;

use super::EndpointState;

/// The time out grows up to this many times its first length.
const LONGEST: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Ejections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ejected: BTreeMap<EndpointId, Ejected>,
    /// How often in a row each has been out.
    times: BTreeMap<EndpointId, u32>,
    unhealthy: BTreeMap<EndpointId, Unhealthy>,
}

#[derive(Debug)]
struct Ejected {
    since: Duration,
    until: Duration,
    /// How many requests had failed in a row.
    failures: u32,
}

#[derive(Debug)]
struct Unhealthy {
    since: Duration,
    /// What the last check found.
    why: String,
}

/// Why an endpoint is avoided.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Avoided {
    pub(super) state: EndpointState,
    pub(super) since: Duration,
    pub(super) why: String,
}

impl Ejections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ejects an endpoint at `now`, after so many failures in a row, where no more than `most` are then out. Whether it is out now.
    pub(super) fn eject(
        &self,
        id: &EndpointId,
        failures: u32,
        most: usize,
        first: Duration,
        now: Duration,
    ) -> bool {
        let mut state = self.lock();
        if state.ejected.contains_key(id) || state.out() >= most {
            return false;
        }
        let times = state.times.entry(id.clone()).or_default();
        *times = (*times + 1).min(LONGEST);
        // Of one that is out for ever that is never.
        let until = now.saturating_add(first.saturating_mul(*times));
        state.ejected.insert(id.clone(), Ejected { since: now, until, failures });
        true
    }

    /// Lets in again whose time is over at `now`, and returns them.
    pub(super) fn readmit(&self, now: Duration) -> Vec<EndpointId> {
        let mut state = self.lock();
        let back: Vec<EndpointId> =
            state.ejected.iter().filter(|(_, out)| out.until <= now).map(|(id, _)| id.clone()).collect();
        state.ejected.retain(|_, out| out.until > now);
        back
    }

    /// When the next one is let in again.
    pub(super) fn next(&self) -> Option<Duration> {
        self.lock().ejected.values().map(|out| out.until).min()
    }

    /// An endpoint does well: next time it is out as if for the first time.
    pub(super) fn pardon(&self, id: &EndpointId) {
        self.lock().times.remove(id);
    }

    /// What a health check says at `now`, or why it fails. Whether that is new.
    pub(super) fn health(&self, id: &EndpointId, check: Result<(), String>, now: Duration) -> bool {
        let mut state = self.lock();
        let Err(why) = check else { return state.unhealthy.remove(id).is_some() };
        let since = state.unhealthy.get(id).map(|before| before.since);
        state.unhealthy.insert(id.clone(), Unhealthy { since: since.unwrap_or(now), why });
        since.is_none()
    }

    /// They are no members any more.
    pub(super) fn forget(&self, ids: &[EndpointId]) {
        let mut state = self.lock();
        for id in ids {
            state.ejected.remove(id);
            state.times.remove(id);
            state.unhealthy.remove(id);
        }
    }

    /// Tells who is to be avoided, while nobody changes that: of two who tell, the later one knows more.
    pub(super) fn tell<R>(&self, tell: impl FnOnce(Vec<EndpointId>) -> R) -> R {
        let state = self.lock();
        let unhealthy = state.unhealthy.keys().filter(|id| !state.ejected.contains_key(*id));
        tell(state.ejected.keys().chain(unhealthy).cloned().collect())
    }

    /// Why each is avoided at `now`. Of one that is ejected and fails its checks those count, which outlast its time.
    pub(super) fn avoided(&self, now: Duration) -> BTreeMap<EndpointId, Avoided> {
        let state = self.lock();
        let ejected = state.ejected.iter().filter(|(_, out)| out.until > now).map(|(id, out)| {
            let why = format!("failures in a row: {}", out.failures);
            (id.clone(), Avoided { state: EndpointState::Ejected, since: out.since, why })
        });
        let unhealthy = state.unhealthy.iter().map(|(id, Unhealthy { since, why })| {
            (id.clone(), Avoided { state: EndpointState::Unhealthy, since: *since, why: why.clone() })
        });
        ejected.chain(unhealthy).collect()
    }
}

impl State {
    fn out(&self) -> usize {
        self.ejected.len() + self.unhealthy.keys().filter(|id| !self.ejected.contains_key(*id)).count()
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
        assert!(ejections.eject(&id(1), 5, 2, SECOND, SECOND));
        assert!(!ejections.eject(&id(1), 5, 2, SECOND, SECOND), "it is out already");
        assert!(ejections.eject(&id(2), 5, 2, SECOND, SECOND));
        assert!(!ejections.eject(&id(3), 5, 2, SECOND, SECOND), "two are out");
        assert!(ejections.readmit(SECOND + SECOND / 2).is_empty());
        assert_eq!(ejections.readmit(2 * SECOND), [id(1), id(2)]);
        assert!(ejections.eject(&id(1), 5, 2, SECOND, 2 * SECOND));
        assert!(ejections.readmit(3 * SECOND).is_empty(), "the second time takes two seconds");
        assert_eq!(ejections.readmit(4 * SECOND), [id(1)]);
        ejections.pardon(&id(1));
        assert!(ejections.eject(&id(1), 5, 2, SECOND, 4 * SECOND));
        assert_eq!(ejections.readmit(5 * SECOND), [id(1)]);
    }

    #[test]
    fn the_unhealthy_are_avoided_and_count() {
        let ejections = Ejections::default();
        let silent = || Err("it is silent".to_owned());
        assert!(ejections.health(&id(1), silent(), SECOND));
        assert!(!ejections.health(&id(1), silent(), 2 * SECOND), "that was known");
        assert!(!ejections.eject(&id(2), 5, 1, SECOND, SECOND));
        assert_eq!(ejections.tell(|ids| ids), [id(1)]);
        assert!(ejections.health(&id(1), Ok(()), 2 * SECOND));
        assert!(ejections.tell(|ids| ids).is_empty());
    }

    #[test]
    fn it_is_known_why_an_endpoint_is_avoided_and_since_when() {
        let ejections = Ejections::default();
        assert!(ejections.eject(&id(1), 5, 2, SECOND, SECOND));
        let why = |now| ejections.avoided(now).remove(&id(1));
        let ejected =
            |why: &str| Avoided { state: EndpointState::Ejected, since: SECOND, why: why.to_owned() };
        assert_eq!(why(SECOND), Some(ejected("failures in a row: 5")));
        assert_eq!(why(2 * SECOND), None, "the next request is let in");
        assert!(ejections.health(&id(1), Err("it is silent".to_owned()), 3 * SECOND / 2));
        assert!(!ejections.health(&id(1), Err("it answers 500".to_owned()), 2 * SECOND));
        let unhealthy =
            Avoided { state: EndpointState::Unhealthy, since: 3 * SECOND / 2, why: "it answers 500".into() };
        assert_eq!(why(SECOND), Some(unhealthy), "what the last check says, since the first that counted");
    }
}
