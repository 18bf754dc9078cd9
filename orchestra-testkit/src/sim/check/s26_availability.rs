//! S26: a rollout never takes away a pod that is needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::{AnyObjectExt, Deployment, GroupKind, Pod, Uid};

use super::{Check, Found, numbers};
use crate::sim::event::{Committed, Event, ExitCause, Ground};
use crate::sim::process::Actor;
use crate::sim::view::View;

/// Checks S26: whatever happens, no controller deletes an available pod that is needed; and where nothing goes wrong,
/// as many as promised are available all the time, by what really runs. Pods of a version whose programs may still end
/// soon after their start don't count as those of another version.
#[derive(Debug, Default)]
pub(super) struct Availability {
    /// Deployments that have as many available pods as promised, and must keep them; with the promise.
    reached: BTreeMap<Uid, u32>,
}

impl Check for Availability {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        if let Event::Commit(seen) = event {
            self.deleted(seen, view, found);
            if seen.actor == Actor::User {
                // What people take away is not the rollout's doing.
                let deployments =
                    taken_aside(seen).filter_map(|pod| view.objects.deployment_of(&pod.metadata));
                for deployment in deployments {
                    self.reached.remove(&deployment.metadata.uid);
                }
            }
            if view.calm {
                self.keep(seen, view, found);
            }
        }
        if let Event::Ground { pod, what: Ground::Exited { cause: ExitCause::Itself, .. }, .. } = event
            && let Some(pod) = view.objects.pod(pod)
            && let Some(deployment) = view.objects.deployment_of(&pod.metadata)
            && pod
                .ready_since()
                .is_some_and(|since| view.now >= since + numbers::settles_after(deployment, pod))
        {
            // A version that crashes so late is not the rollout's doing either.
            self.reached.remove(&deployment.metadata.uid);
        }
    }
}

/// The pods that a commit deletes, or removes.
fn victims(seen: &Committed) -> impl Iterator<Item = &Pod> {
    let pods = seen.changes.iter().filter(|c| c.key.kind == GroupKind::of::<Pod>());
    pods.filter_map(|change| {
        let old = change.previous.as_ref()?.as_resource::<Pod>()?;
        let gone = change.object.as_ref().is_none_or(|new| new.meta().is_deleting());
        (gone && !old.is_terminating()).then_some(old)
    })
}

/// The pods that a commit took out of their replica set, by other labels.
fn taken_aside(seen: &Committed) -> impl Iterator<Item = &Pod> {
    seen.changes.iter().filter_map(|change| {
        let old = change.previous.as_ref()?.as_resource::<Pod>()?;
        let new = change.object.as_ref()?.as_resource::<Pod>()?;
        (old.metadata.labels != new.metadata.labels).then_some(old)
    })
}

fn available<'a>(deployment: &'a Deployment, view: &'a View<'_>) -> impl Iterator<Item = &'a Arc<Pod>> {
    let min_ready = deployment.spec.min_ready_seconds;
    let pods = view.objects.pods_of_deployment(&deployment.metadata.uid);
    pods.filter(|pod| deployment.spec.selector.matches(&pod.metadata.labels))
        .filter(move |pod| view.objects.is_available(pod, min_ready, view.now))
}

/// Those of them that pods of other versions may be given up for.
fn settled<'a>(deployment: &'a Deployment, view: &'a View<'_>) -> impl Iterator<Item = &'a Arc<Pod>> {
    let since = |pod: &Pod| pod.ready_since().map(|since| since + numbers::settles_after(deployment, pod));
    available(deployment, view).filter(move |pod| since(pod).is_some_and(|at| view.now >= at))
}

impl Availability {
    fn deleted(&mut self, seen: &Committed, view: &View<'_>, found: &mut Found) {
        for pod in victims(seen) {
            let Some(deployment) = view.objects.deployment_of(&pod.metadata) else { continue };
            if seen.actor != Actor::Controller("replica-set") {
                // Whoever else deletes pods does not ask the rollout.
                self.reached.remove(&deployment.metadata.uid);
                continue;
            }
            if !view.objects.is_available(pod, deployment.spec.min_ready_seconds, view.now) {
                continue;
            }
            let same = |other: &&Arc<Pod>| other.metadata.controller() == pod.metadata.controller();
            let others = settled(deployment, view).filter(|other| !same(other)).count();
            let left = available(deployment, view).filter(same).count() + others;
            let floor = numbers::floor(deployment);
            if left < usize::try_from(floor).unwrap_or(usize::MAX) {
                found.add(
                    "S26",
                    format!(
                        "available pod {} of deployment {} was deleted: {left} are left where {floor} are promised",
                        pod.metadata.name, deployment.metadata.name
                    ),
                );
            }
        }
    }

    fn keep(&mut self, seen: &Committed, view: &View<'_>, found: &mut Found) {
        let relevant = |kind: &str| matches!(kind, "Pod" | "EndpointSlice" | "Deployment" | "Service");
        if !seen.changes.iter().any(|c| relevant(&c.key.kind.kind)) {
            return;
        }
        for deployment in view.objects.of::<Deployment>() {
            let (uid, floor) = (&deployment.metadata.uid, numbers::floor(deployment));
            let count = available(deployment, view).count();
            let really = available(deployment, view).filter(|pod| view.truth.serves(pod)).count();
            let settled = settled(deployment, view).filter(|pod| view.truth.serves(pod)).count();
            let promised = usize::try_from(floor).unwrap_or(usize::MAX);
            if settled >= promised {
                self.reached.insert(uid.clone(), floor);
            } else if self.reached.get(uid).is_some_and(|reached| *reached < floor) {
                // More are wanted than before: they take their time.
                self.reached.remove(uid);
            }
            if self.reached.contains_key(uid) && really.min(count) < promised {
                found.add(
                    "S26",
                    format!(
                        "deployment {} has {count} available pods, {really} of them really serve, {floor} are promised",
                        deployment.metadata.name
                    ),
                );
            }
        }
    }
}
