//! S40: an agent never stops what is wanted and well: not when it comes back, not when it is confused.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestra_core::model::{AnyObjectExt, Pod, RestartPolicy, Uid};

use super::{Check, Found};
use crate::sim::event::{Event, Ground};
use crate::sim::image::runs_any;
use crate::sim::process::Actor;
use crate::sim::view::View;

/// How long a process must have run to be expected to be ready.
const SETTLES: Duration = Duration::from_secs(60);

/// Checks S40.
#[derive(Debug, Default)]
pub(super) struct Adoption {
    /// When a process of a pod last hung.
    hung: BTreeMap<Uid, Duration>,
    /// When a process of a pod last ended by itself.
    ended: BTreeMap<Uid, Duration>,
}

impl Check for Adoption {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        match event {
            Event::Hung { pod } => {
                self.hung.insert((*pod).clone(), view.at);
            }
            Event::Ground { pod, what: Ground::Exited { .. }, .. } => {
                self.ended.insert((*pod).clone(), view.at);
            }
            Event::Ground { host, pod, what: Ground::StopAsked { container, .. } }
                if self.is_well(pod, view) =>
            {
                let name = view.objects.pod(pod).map_or("", |pod| pod.metadata.name.as_str());
                found.add(
                    "S40",
                    format!("node-{host} stops {container} of pod {name}, which is well and wanted"),
                );
            }
            Event::Ground { host, pod, what: Ground::SandboxDown { .. } } if view.truth.power[*host] => {
                let Some(object) = view.objects.pod(pod) else { return };
                if !object.is_terminating()
                    && !object.is_terminal()
                    && view.truth.of_pod(pod).next().is_some()
                {
                    let name = &object.metadata.name;
                    found.add("S40", format!("node-{host} tears down pod {name}, which runs and is wanted"));
                }
            }
            Event::Commit(seen) if matches!(seen.actor, Actor::Node(_)) => {
                for change in seen.changes.iter() {
                    let pods = (change.previous.as_ref(), change.object.as_ref());
                    let (Some(old), Some(new)) = pods else { continue };
                    let (Some(old), Some(new)) = (old.as_resource::<Pod>(), new.as_resource::<Pod>()) else {
                        continue;
                    };
                    if old.is_ready() && !new.is_ready() && self.settled(new, view) {
                        let name = &new.metadata.name;
                        found.add("S40", format!("pod {name} is well, and is said not to be ready any more"));
                    }
                }
            }
            _ => {}
        }
    }
}

impl Adoption {
    fn is_well(&self, uid: &Uid, view: &View<'_>) -> bool {
        let Some(pod) = view.objects.pod(uid) else { return false };
        !pod.is_terminating()
            && !pod.is_terminal()
            && pod.spec.restart_policy == RestartPolicy::Always
            && pod.spec.active_deadline_seconds.is_none()
            && !self.hung.contains_key(uid)
            && !runs_any(&pod.spec, |image| image.never_ready)
    }

    /// Whether all has been well for so long that nothing can be said against it.
    fn settled(&self, pod: &Pod, view: &View<'_>) -> bool {
        let uid = &pod.metadata.uid;
        let long_ago = |at: Option<&Duration>| at.is_none_or(|at| *at + SETTLES < view.at);
        self.is_well(uid, view)
            && long_ago(self.ended.get(uid))
            && view.truth.serves(pod)
            && view.truth.of_pod(uid).all(|live| live.since + SETTLES < view.at)
    }
}
