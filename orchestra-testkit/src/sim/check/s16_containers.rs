//! S16: no two processes of one container, and none without a pod.

use orchestra_core::model::{AnyObjectExt, GroupKind, Pod};

use super::{Check, Found};
use crate::sim::event::{Event, Ground};
use crate::sim::process::Actor;
use crate::sim::view::View;

/// Checks S16.
#[derive(Debug, Default)]
pub(super) struct Containers;

impl Check for Containers {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        match event {
            Event::Ground { host, pod, what: Ground::Started { container, attempt, .. } } => {
                for other in view.truth.of_pod(pod).filter(|other| other.container == *container) {
                    found.add(
                        "S16",
                        format!(
                            "container {container} of pod {pod} was started on node-{host} (run {attempt}) while run {} \
                             runs on node-{}",
                            other.attempt, other.host
                        ),
                    );
                }
                match view.objects.pod(pod) {
                    Some(object) => {
                        let node = format!("node-{host}");
                        if object.node_name.as_deref() != Some(node.as_str()) {
                            let name = &object.metadata.name;
                            found.add(
                                "S16",
                                format!("{node} starts pod {name}, which is on {:?}", object.node_name),
                            );
                        }
                    }
                    None if view.objects.removed_at(pod).is_none() => {
                        found.add(
                            "S16",
                            format!("node-{host} starts {container} of pod {pod}, which never was"),
                        );
                    }
                    // Removed by force: the agent may not know yet.
                    None => {}
                }
            }
            // Only its agent knows when a pod is gone; who removes its object by force is not its agent.
            Event::Commit(seen) if matches!(seen.actor, Actor::Node(_)) => {
                for change in seen.changes.iter().filter(|c| c.key.kind == GroupKind::of::<Pod>()) {
                    let Some(old) = change.previous.as_ref().filter(|_| change.object.is_none()) else {
                        continue;
                    };
                    let Some(pod) = old.as_resource::<Pod>() else { continue };
                    if let Some(live) = view.truth.of_pod(&pod.metadata.uid).next() {
                        let container = &live.container;
                        found.add("S16", format!("{} is removed while its {container} runs", change.key));
                    }
                }
            }
            _ => {}
        }
    }
}
