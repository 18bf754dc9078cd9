//! S27: the versions of a deployment are numbered, each once, upwards, as numbers. S29: what is said to be complete is.

use std::collections::BTreeMap;

use orchestra_core::model::{AnyObjectExt, Condition, Deployment, ObjectMeta, ReplicaSet, Uid};

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::view::View;

/// Where the number of a version is kept: Kubernetes' own annotation.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Checks S27 and S29.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    /// The highest number of each deployment so far.
    highest: BTreeMap<Uid, u64>,
}

fn revision(meta: &ObjectMeta) -> Option<u64> {
    meta.annotations.value(REVISION)?.parse().ok()
}

impl Check for Revisions {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        for change in seen.changes.iter() {
            let Some(new) = &change.object else { continue };
            if let Some(deployment) = new.as_resource::<Deployment>() {
                let was = change.previous.as_ref().and_then(|old| revision(old.meta()));
                if revision(&deployment.metadata) < was {
                    found.add(
                        "S27",
                        format!("the revision of deployment {} went back", deployment.metadata.name),
                    );
                }
                self.complete(deployment, view, found);
            }
            let Some(set) = new.as_resource::<ReplicaSet>() else { continue };
            let (Some(owner), Some(number)) = (set.metadata.controller(), revision(&set.metadata)) else {
                continue;
            };
            let was = change.previous.as_ref().and_then(|old| revision(old.meta()));
            if was == Some(number) {
                continue;
            }
            let highest = self.highest.entry(owner.uid.clone()).or_default();
            if number <= *highest {
                let name = &set.metadata.name;
                found.add("S27", format!("replica set {name} became revision {number}, after {highest}"));
            }
            *highest = (*highest).max(number);
        }
    }
}

impl Revisions {
    /// Where nothing goes wrong, a rollout that says it is complete has all its pods available.
    fn complete(&self, deployment: &Deployment, view: &View<'_>, found: &mut Found) {
        let progressing = Condition::find(&deployment.status.conditions, "Progressing");
        let says = progressing.is_some_and(|c| c.is_true() && c.reason == "NewReplicaSetAvailable");
        if !view.calm || !says || deployment.status.observed_generation != deployment.metadata.generation {
            return;
        }
        let newest = view.objects.sets_of(&deployment.metadata.uid).max_by_key(|set| revision(&set.metadata));
        let Some(newest) = newest else { return };
        let pods = view.objects.pods_of(&newest.metadata.uid);
        let available = pods
            .filter(|p| view.objects.is_available(p, deployment.spec.min_ready_seconds, view.now))
            .count();
        if available < usize::try_from(deployment.spec.replicas).unwrap_or(usize::MAX) {
            found.add(
                "S29",
                format!(
                    "deployment {} says that it is complete, with {available} of {} pods available",
                    deployment.metadata.name, deployment.spec.replicas
                ),
            );
        }
    }
}
