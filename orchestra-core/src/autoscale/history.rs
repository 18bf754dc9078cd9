//! What an autoscaler remembers.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;

/// How many wishes are kept: an hour of them, the longest window there is, at one in four seconds. Beyond it the
/// oldest are forgotten.
const MAX_WISHES: usize = 900;
/// How many changes are kept: as many as may fall into half an hour, the longest period of a policy, at one in two
/// seconds.
const MAX_EVENTS: usize = 900;

/// A change of the number of replicas that an autoscaler made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// When.
    pub at: Timestamp,
    /// By how many replicas, up or down.
    pub change: i64,
}

/// What an autoscaler wished for and did, as far back as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScaleHistory {
    wishes: VecDeque<(Timestamp, u32)>,
    events: VecDeque<ScaleEvent>,
}

impl ScaleHistory {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty() && self.events.is_empty()
    }

    /// Remembers a wish, before any window or bound was applied to it.
    pub fn wish(&mut self, at: Timestamp, replicas: u32) {
        // The same wish again in the same window says nothing new, but it says it later.
        if let Some(last) = self.wishes.back_mut()
            && last.1 == replicas
            && at.since(last.0) < Duration::from_secs(1)
        {
            last.0 = at;
            return;
        }
        if self.wishes.len() == MAX_WISHES {
            self.wishes.pop_front();
        }
        self.wishes.push_back((at, replicas));
    }

    /// Remembers a change.
    pub fn changed(&mut self, at: Timestamp, from: u32, to: u32) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(ScaleEvent { at, change: i64::from(to) - i64::from(from) });
    }

    /// Forgets wishes older than `wishes` and changes older than `events`.
    pub fn forget(&mut self, now: Timestamp, wishes: Duration, events: Duration) {
        // A clock that was set back makes what was just now lie ahead. It ages from now on.
        self.wishes.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        self.events.iter_mut().for_each(|event| event.at = event.at.min(now));
        self.wishes.retain(|(at, _)| now.since(*at) < wishes);
        self.events.retain(|event| now.since(event.at) < events);
    }

    /// The wishes of the last `window`.
    pub fn wishes_since(&self, now: Timestamp, window: Duration) -> impl Iterator<Item = u32> {
        self.wishes.iter().filter(move |(at, _)| now.since(*at) < window).map(|(_, replicas)| *replicas)
    }

    /// By how many replicas the number changed in the last `period`, all in all.
    #[must_use]
    pub fn change_since(&self, now: Timestamp, period: Duration) -> i64 {
        self.events.iter().filter(|event| now.since(event.at) < period).map(|event| event.change).sum()
    }
}
