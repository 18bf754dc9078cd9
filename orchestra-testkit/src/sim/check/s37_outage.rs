//! S37: who can't see is not to act: pods are evicted only from nodes that are silent, and not from most at once.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestra_core::model::{AnyObjectExt, Lease, Node, ObjectKey, Pod, TaintEffect};

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::process::Actor;
use crate::sim::view::View;

/// How long a node may be silent where its lease does not say.
const GRACE: Duration = Duration::from_secs(40);

/// How old may be what a controller sees when it acts: a node that is heard of again in the moment of an eviction was silent
/// for whoever decided on it, and one that falls silent in it was not.
const SIGHT: Duration = Duration::from_millis(100);

/// Above this share of silent nodes nothing is evicted.
const SHARE: f64 = 0.55;

/// Checks S37.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When each node's lease was last renewed, and for how long.
    renewed: BTreeMap<String, (Duration, Duration)>,
}

impl Check for Outage {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        for change in seen.changes.iter() {
            if let Some(lease) = change.object.as_ref().and_then(|o| o.as_resource::<Lease>()) {
                let length =
                    lease.spec.lease_duration_seconds.map_or(GRACE, |s| Duration::from_secs(s.into()));
                self.renewed.insert(lease.metadata.name.clone(), (seen.at, length));
            }
            if seen.actor != Actor::Controller("node-lifecycle") {
                continue;
            }
            let Some(pod) = change.previous.as_ref().and_then(|o| o.as_resource::<Pod>()) else { continue };
            let gone = change.object.as_ref().is_none_or(|o| o.meta().is_deleting());
            if let (true, false, Some(node)) = (gone, pod.is_terminating(), pod.node_name.as_deref()) {
                self.evicted(pod, node, view, found);
            }
        }
    }
}

impl Outage {
    fn is_silent(&self, node: &str, at: Duration) -> bool {
        self.renewed.get(node).is_none_or(|(renewed, length)| *renewed + *length <= at)
    }

    fn evicted(&self, pod: &Pod, name: &str, view: &View<'_>, found: &mut Found) {
        let node =
            view.objects.get(&ObjectKey::new::<Node>("", name)).and_then(AnyObjectExt::as_resource::<Node>);
        let Some(node) = node else { return };
        let others = node.spec.taints.iter().any(|taint| {
            taint.effect == TaintEffect::NoExecute && taint.key != "node.kubernetes.io/unreachable"
        });
        let who = &pod.metadata.name;
        let renewed = self.renewed.get(name).map(|(renewed, _)| *renewed);
        let just_back = renewed.is_some_and(|renewed| view.at < renewed + SIGHT);
        if !self.is_silent(name, view.at) && !just_back && !others {
            found.add("S37", format!("pod {who} was evicted from {name}, which is not silent"));
        }
        let (mut silent, mut all) = (0u32, 0u32);
        for node in view.objects.of::<Node>() {
            all += 1;
            silent += u32::from(self.is_silent(&node.metadata.name, view.at.saturating_sub(SIGHT)));
        }
        if !others && f64::from(silent) > f64::from(all) * SHARE {
            found.add("S37", format!("pod {who} was evicted while {silent} of {all} nodes are silent"));
        }
    }
}
