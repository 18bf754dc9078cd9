//! S17: a pod's phase only goes forward, and its restarts are never forgotten. S18: a pod is bound once, and an init
//! container that has succeeded is not run again in the same sandbox.

use std::collections::BTreeMap;

use orchestra_core::model::{AnyObjectExt, Pod, PodPhase, Uid};

use super::{Check, Found};
use crate::sim::event::{Event, Ground};
use crate::sim::view::View;

/// Checks S17 and S18.
#[derive(Debug, Default)]
pub(super) struct Phases {
    /// Init containers that have succeeded, with the sandbox they did so in.
    succeeded: BTreeMap<(Uid, String), String>,
    /// The sandbox of each run.
    runs: BTreeMap<(Uid, String, u32), String>,
}

impl Check for Phases {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        match event {
            Event::Commit(seen) => {
                for change in seen.changes.iter() {
                    let (Some(old), Some(new)) = (&change.previous, &change.object) else { continue };
                    let (Some(old), Some(new)) = (old.as_resource::<Pod>(), new.as_resource::<Pod>()) else {
                        continue;
                    };
                    compare(old, new, found);
                }
            }
            Event::Ground { pod, what: Ground::Started { sandbox, container, attempt }, .. } => {
                let key = ((*pod).clone(), container.clone());
                if self.succeeded.get(&key) == Some(sandbox) {
                    found.add(
                        "S18",
                        format!("init container {container} of pod {pod} had succeeded and runs again"),
                    );
                }
                self.runs.insert((key.0, key.1, *attempt), sandbox.clone());
            }
            // Another one may get its number, where its host lost all that it had.
            Event::Ground { what: Ground::SandboxDown { sandbox }, .. } => {
                self.succeeded.retain(|_, known| known != sandbox);
            }
            Event::Ground { pod, what: Ground::Exited { container, attempt, code: 0, .. }, .. } => {
                let is_init = view.objects.pod(pod).is_some_and(|pod| {
                    pod.spec.init_containers.iter().any(|c| c.name == *container && !c.is_sidecar())
                });
                if let (true, Some(sandbox)) =
                    (is_init, self.runs.get(&((*pod).clone(), container.clone(), *attempt)))
                {
                    self.succeeded.insert(((*pod).clone(), container.clone()), sandbox.clone());
                }
            }
            _ => {}
        }
    }
}

fn rank(phase: PodPhase) -> u8 {
    match phase {
        PodPhase::Pending => 0,
        PodPhase::Running | PodPhase::Unknown => 1,
        PodPhase::Succeeded | PodPhase::Failed => 2,
    }
}

fn compare(old: &Pod, new: &Pod, found: &mut Found) {
    if old.metadata.uid != new.metadata.uid {
        return;
    }
    let name = &new.metadata.name;
    let (was, is) = (old.status.phase, new.status.phase);
    if rank(is) < rank(was) || (old.is_terminal() && was != is) {
        found.add("S17", format!("pod {name} went from {was:?} back to {is:?}"));
    }
    let all = |pod: &Pod| {
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        statuses.map(|s| (s.name.clone(), s.restart_count)).collect::<BTreeMap<_, _>>()
    };
    let now = all(new);
    for (container, restarts) in all(old) {
        let after = now.get(&container).copied();
        if after.is_none_or(|after| after < restarts) {
            found.add("S17", format!("{container} of pod {name} had {restarts} restarts and has {after:?}"));
        }
    }
    if old.node_name.is_some() && old.node_name != new.node_name {
        found.add("S18", format!("pod {name} moved from {:?} to {:?}", old.node_name, new.node_name));
    }
}
