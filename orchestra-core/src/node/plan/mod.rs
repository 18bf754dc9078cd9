//! What to do next for a pod. Pure: a plan follows from a [`View`] alone, and a [`View`] is all data.

mod ending;
mod running;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use ending::{Ending, ending, is_clear};

use super::action::{Action, OpKey};
use super::memory::{Memory, Trouble};
use super::moment::Moment;
use crate::model::Pod;

/// How long what the runtime tells waits for the end of an operation that may have caused it: an engine tells of a start or
/// an end right before it answers.
const NEWS_LAG: Duration = Duration::from_millis(250);

/// All that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The pod as last read; `None`: it is gone from the store.
    pub(crate) pod: Option<&'a Pod>,
    pub(crate) memory: &'a Memory,
    /// Whether the agent stops all its pods.
    pub(crate) shutdown: bool,
    pub(crate) now: Moment,
    /// How long balancers may take to let go of the pod.
    pub(crate) drain_limit: Duration,
}

/// What to do for a pod, and when to look at it again without a cause.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// To start, as far as nothing else works on the same.
    pub(crate) actions: Vec<Action>,
    /// To give up first.
    pub(crate) cancel: Vec<OpKey>,
    pub(crate) wake: Option<Instant>,
}

/// Plans for a pod that is in `ending`, or runs on.
pub(crate) fn plan(view: &View<'_>, ending: Option<&Ending>) -> Plan {
    let mut plan = Plan::default();
    match (ending, view.pod) {
        (Some(ending), _) => ending::end(view, ending, &mut plan),
        (None, Some(pod)) => running::run(view, pod, &mut plan),
        // Not in the store: `ending` says so.
        (None, None) => {}
    }
    plan
}

impl Plan {
    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Adds an action, unless something works on the same already.
    fn act(&mut self, view: &View<'_>, action: Action) {
        if action.key().is_none_or(|key| !view.memory.is_busy(&key)) {
            self.actions.push(action);
        }
    }

    /// Adds an action, unless it failed just now.
    fn act_unless(&mut self, view: &View<'_>, trouble: Option<&Trouble>, action: Action) {
        if self.may_retry(view, trouble) {
            self.act(view, action);
        }
    }

    /// Whether what failed may be tried again now. Plans to look again when it may.
    fn may_retry(&mut self, view: &View<'_>, trouble: Option<&Trouble>) -> bool {
        match trouble.map(|t| t.retry) {
            None => true,
            Some(None) => false,
            Some(Some(at)) if at > view.now.instant => {
                self.wake_at(at);
                false
            }
            Some(Some(_)) => true,
        }
    }

    /// Reads how things are. What works on the pod reads it when it is done, so what the runtime tells meanwhile waits a
    /// moment for that.
    fn observe(&mut self, view: &View<'_>) {
        let works = |key: &OpKey| matches!(key, OpKey::Sandbox | OpKey::Container(_));
        if let Some(due) = view.memory.changed_at.map(|at| at + NEWS_LAG)
            && due > view.now.instant
            && view.memory.busy.keys().any(works)
        {
            return self.wake_at(due);
        }
        self.act_unless(view, view.memory.observe_trouble.as_ref(), Action::Observe);
    }
}
