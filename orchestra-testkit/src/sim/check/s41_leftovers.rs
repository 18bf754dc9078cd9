//! S41: when all is quiet, what runs is what is wanted: no more, no less, and where it should.

use std::collections::BTreeSet;

use orchestra_core::model::{Pod, Uid};

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::view::View;

/// Checks S41.
#[derive(Debug, Default)]
pub(super) struct Leftovers;

impl Check for Leftovers {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Settled = event else { return };
        for live in view.truth.live.values() {
            let (host, container) = (live.host, &live.container);
            match view.objects.pod(&live.pod) {
                None => found.add(
                    "S41",
                    format!("{container} of pod {} runs on node-{host}: there is no such pod", live.pod),
                ),
                Some(pod) => {
                    let node = format!("node-{host}");
                    let name = &pod.metadata.name;
                    if pod.node_name.as_deref() != Some(node.as_str()) {
                        found.add(
                            "S41",
                            format!("{container} of pod {name} runs on {node}, not on {:?}", pod.node_name),
                        );
                    }
                    if pod.is_terminal() {
                        found.add("S41", format!("{container} of pod {name} runs, which is said to be over"));
                    }
                }
            }
        }
        let mut seen: BTreeSet<&Uid> = BTreeSet::new();
        for ((host, sandbox), uid) in &view.truth.sandboxes {
            if view.objects.pod(uid).is_none() {
                found.add("S41", format!("sandbox {sandbox} of pod {uid} is left on node-{host}"));
            }
            if !seen.insert(uid) {
                found.add("S41", format!("pod {uid} has a second sandbox {sandbox} on node-{host}"));
            }
        }
        for pod in view.objects.of::<Pod>() {
            if pod.node_name.is_some() && !pod.is_terminal() && !view.truth.serves(pod) {
                let (name, node) = (&pod.metadata.name, pod.node_name.as_deref().unwrap_or_default());
                found.add("S41", format!("pod {name} is on {node}, and not all of it runs"));
            }
        }
    }
}
