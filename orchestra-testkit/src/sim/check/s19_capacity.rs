//! S19: no node is promised more than it has. S20: no port of a node is promised twice. S21: a pod goes only where it may.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestra_core::model::{AnyObjectExt, Node, ObjectKey, Pod, Quantity, TaintEffect};

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::process::Actor;
use crate::sim::view::View;

/// How long the scheduler may not know of a change of a node: longer than any of its watches is late.
const LAG: Duration = Duration::from_secs(90);

/// Checks S19 to S21.
#[derive(Debug, Default)]
pub(super) struct Capacity {
    /// Since when each node is closed to new pods.
    closed: BTreeMap<String, Duration>,
}

impl Check for Capacity {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        for change in seen.changes.iter() {
            let Some(object) = &change.object else { continue };
            if let Some(node) = object.as_resource::<Node>() {
                if node.spec.unschedulable {
                    self.closed.entry(node.metadata.name.clone()).or_insert(seen.at);
                } else {
                    self.closed.remove(&node.metadata.name);
                }
            }
            let Some(pod) = object.as_resource::<Pod>() else { continue };
            let was_bound = change
                .previous
                .as_ref()
                .and_then(|o| o.as_resource::<Pod>())
                .is_some_and(|old| old.node_name.is_some() && old.metadata.uid == pod.metadata.uid);
            if let (false, Some(name), Actor::Controller(_)) =
                (was_bound, pod.node_name.as_deref(), seen.actor)
            {
                self.bound(pod, name, view, found);
            }
        }
    }
}

impl Capacity {
    fn bound(&self, pod: &Pod, name: &str, view: &View<'_>, found: &mut Found) {
        let who = &pod.metadata.name;
        let Some(node) =
            view.objects.get(&ObjectKey::new::<Node>("", name)).and_then(AnyObjectExt::as_resource::<Node>)
        else {
            // It was there when the scheduler decided, or the pod goes soon.
            return;
        };
        let there =
            || view.objects.of::<Pod>().filter(|p| p.node_name.as_deref() == Some(name) && !p.is_terminal());
        let mut sum: BTreeMap<String, i64> = BTreeMap::new();
        for pod in there() {
            for (resource, amount) in pod.spec.requests() {
                *sum.entry(resource).or_default() += Quantity::milli(amount);
            }
            *sum.entry("pods".to_owned()).or_default() += 1000;
        }
        for (resource, amount) in sum {
            let has = node.status.allocatable.get(&resource).map_or(0, |q| q.milli());
            if amount > has {
                found.add(
                    "S19",
                    format!("{name} has {has}m {resource} and is promised {amount}m with pod {who}"),
                );
            }
        }
        for port in pod.spec.host_ports() {
            let others = there().filter(|other| other.metadata.uid != pod.metadata.uid);
            for other in others.filter(|other| other.spec.host_ports().any(|p| p.conflicts_with(&port))) {
                let other = &other.metadata.name;
                found.add(
                    "S20",
                    format!("port {} of {name} is promised to pods {other} and {who}", port.port),
                );
            }
        }
        if pod.spec.node_selector.iter().any(|(k, v)| node.metadata.labels.get(k) != Some(v)) {
            found.add("S21", format!("pod {who} was bound to {name}, which lacks its labels"));
        }
        if self.closed.get(name).is_some_and(|since| view.at > *since + LAG) {
            found.add("S21", format!("pod {who} was bound to {name}, which is long closed"));
        }
        let bad = node.spec.taints.iter().find(|taint| {
            taint.effect != TaintEffect::PreferNoSchedule
                && taint.time_added.is_some_and(|added| view.now.since(added) > LAG)
                && !pod.spec.tolerations.iter().any(|t| t.tolerates(taint))
        });
        if let Some(taint) = bad {
            found.add("S21", format!("pod {who} was bound to {name} in spite of its taint {}", taint.key));
        }
    }
}
