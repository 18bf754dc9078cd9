//! S42: what ends is not started again. S43: what crashes waits before it is started again, and nothing is killed early.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestra_core::model::{AnyObjectExt, Pod, Revision, Uid};

use super::{Check, Found};
use crate::sim::event::{Event, ExitCause, Ground};
use crate::sim::process::Actor;
use crate::sim::view::View;

/// How long an operation that was under way may go on after the agent was told.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// Rounding: timers have a grain of a millisecond, and the agent's clock counts from when it looked.
const GRAIN: Duration = Duration::from_millis(1100);

/// A run of at least this length ends a series of crashes.
const RESET: Duration = Duration::from_secs(600);

/// Checks S42 and S43.
#[derive(Debug, Default)]
pub(super) struct Endings {
    /// When, and with which revision, a pod was deleted.
    deleted: BTreeMap<Uid, (Duration, Revision)>,
    /// For each container: since when it runs, how often in a row it ended by itself, and when it last did.
    runs: BTreeMap<(Uid, String), Run>,
}

#[derive(Debug, Default)]
struct Run {
    since: Duration,
    ends: u32,
    ended: Option<Duration>,
    /// When it was first asked to stop.
    asked: Option<Duration>,
}

impl Check for Endings {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        match event {
            Event::Commit(seen) => {
                for pod in seen.changes.iter().filter_map(|c| c.object.as_ref()?.as_resource::<Pod>()) {
                    if pod.is_terminating() {
                        self.deleted.entry(pod.metadata.uid.clone()).or_insert((seen.at, seen.revision));
                    }
                }
            }
            Event::Ground { host, pod, what: Ground::Started { container, .. } } => {
                self.started(*host, pod, container, view, found);
            }
            Event::Ground { pod, what: Ground::StopAsked { container, .. }, .. } => {
                let run = self.runs.entry(((*pod).clone(), container.clone())).or_default();
                run.asked.get_or_insert(view.at);
            }
            Event::Ground { pod, what: Ground::Exited { container, cause, .. }, .. } => {
                self.exited(pod, container, *cause, view, found);
            }
            _ => {}
        }
    }
}

impl Endings {
    fn started(&mut self, host: usize, pod: &Uid, container: &str, view: &View<'_>, found: &mut Found) {
        if let Some((_, revision)) = self.deleted.get(pod)
            && let Some(told) = view.told.get(&Actor::Node(host))
        {
            let first = told.partition_point(|(seen, _)| seen < revision);
            if let Some((_, at)) = told.get(first).filter(|(_, at)| *at + UNDER_WAY < view.at) {
                let since = view.at.saturating_sub(*at);
                found.add(
                    "S42",
                    format!(
                        "node-{host} starts {container} of pod {pod}, {since:?} after it was told to end it"
                    ),
                );
            }
        }
        let run = self.runs.entry((pod.clone(), container.to_owned())).or_default();
        if let Some(ended) = run.ended {
            let least = delay(run.ends);
            if view.at + GRAIN < ended + least {
                let waited = view.at.saturating_sub(ended);
                let ends = run.ends;
                found.add(
                    "S43",
                    format!("{container} of pod {pod} ended {ends} times and came back after {waited:?}, not {least:?}"),
                );
            }
        }
        run.since = view.at;
        run.asked = None;
    }

    fn exited(&mut self, pod: &Uid, container: &str, cause: ExitCause, view: &View<'_>, found: &mut Found) {
        let run = self.runs.entry((pod.clone(), container.to_owned())).or_default();
        if cause == ExitCause::Itself {
            run.ends = if run.since + RESET <= view.at { 1 } else { run.ends + 1 };
            run.ended = Some(view.at);
        } else {
            // The agent ended it, or the host died: another reason to start it again.
            run.ended = None;
        }
        let Some(object) = view.objects.pod(pod).filter(|_| cause == ExitCause::Killed) else { return };
        let Some(grace) = object.metadata.deletion_grace_period_seconds.map(Duration::from_secs) else {
            return;
        };
        let Some((deleted, _)) = self.deleted.get(pod) else { return };
        // A stop that was under way when the pod was deleted goes on: its grace began when it was asked.
        let began = run.asked.map_or(*deleted, |asked| asked.min(*deleted));
        if view.at + GRAIN < began + grace {
            found.add(
                "S43",
                format!("{container} of pod {pod} was killed before its grace of {grace:?} was over"),
            );
        }
    }
}

/// The least time between an end and the next start, after so many ends in a row.
fn delay(ends: u32) -> Duration {
    match ends {
        0 | 1 => Duration::ZERO,
        n => Duration::from_secs(10).saturating_mul(1 << (n - 2).min(5)).min(Duration::from_secs(300)),
    }
}
