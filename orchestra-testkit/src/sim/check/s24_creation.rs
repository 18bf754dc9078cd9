//! S24: an owner makes no more pods than are wanted. S25: nobody touches what another manages.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestra_core::model::{
    AnyObject, AnyObjectExt, Deployment, LabelSelector, ReplicaSet, StrategyType, Uid,
};

use super::{Check, Found, numbers};
use crate::sim::event::Event;
use crate::sim::process::Actor;
use crate::sim::view::View;

/// How long a size that was taken back may still be acted upon: longer than any watch is late.
const LAG: Duration = Duration::from_secs(90);

/// Checks S24 and S25.
#[derive(Debug, Default)]
pub(super) struct Creation {
    /// The most pods a deployment may have, as it was at times.
    ceilings: BTreeMap<Uid, Vec<(Duration, u32)>>,
}

impl Check for Creation {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        for change in seen.changes.iter() {
            if let Some(deployment) = change.object.as_ref().and_then(|o| o.as_resource::<Deployment>()) {
                let ceilings = self.ceilings.entry(deployment.metadata.uid.clone()).or_default();
                ceilings.push((seen.at, ceiling(deployment)));
            }
            if let (Some(old), Some(new)) = (&change.previous, &change.object) {
                owner_changed(old, new, view, found);
            }
            let new_pod = change.key.kind.kind == "Pod" && change.previous.is_none();
            if let (true, Some(pod), Actor::Controller(_)) = (new_pod, &change.object, seen.actor) {
                self.created(pod, view, found);
            }
        }
    }
}

fn ceiling(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.replicas;
    match deployment.spec.strategy.type_ {
        StrategyType::Recreate => replicas,
        StrategyType::RollingUpdate => {
            replicas + numbers::up(deployment.spec.strategy.rolling().max_surge, replicas)
        }
    }
}

impl Creation {
    fn created(&self, pod: &AnyObject, view: &View<'_>, found: &mut Found) {
        let name = &pod.meta().name;
        let Some(owner) = pod.meta().controller() else {
            return found.add("S24", format!("pod {name} was made for nobody"));
        };
        let set = view.objects.by_uid(&owner.uid).and_then(AnyObjectExt::as_resource::<ReplicaSet>);
        let Some(set) = set else {
            return found.add("S24", format!("pod {name} was made for {}, which is gone", owner.name));
        };
        let alive =
            |pod: &&std::sync::Arc<orchestra_core::model::Pod>| !pod.is_terminal() && !pod.is_terminating();
        let have = view.objects.pods_of(&set.metadata.uid).filter(alive).count();
        let want = usize::try_from(set.spec.replicas).unwrap_or(usize::MAX);
        if have > want {
            found.add(
                "S24",
                format!("replica set {} wants {want} pods and has {have} with {name}", owner.name),
            );
        }
        let Some(owner) = set.metadata.controller() else { return };
        let Some(ceilings) = self.ceilings.get(&owner.uid) else { return };
        let have = view.objects.pods_of_deployment(&owner.uid).filter(alive).count();
        // The size that held when the time of grace began, and all later ones.
        let first = ceilings.iter().rposition(|(at, _)| *at + LAG < view.at).unwrap_or(0);
        let most = ceilings[first..].iter().map(|(_, most)| *most).max().unwrap_or(0);
        if have > usize::try_from(most).unwrap_or(usize::MAX) {
            found.add(
                "S24",
                format!("deployment {} may have {most} pods and has {have} with {name}", owner.name),
            );
        }
    }
}

/// S25: what is managed is not taken away, and what is taken up is one's own.
fn owner_changed(old: &AnyObject, new: &AnyObject, view: &View<'_>, found: &mut Found) {
    let (was, is) = (old.meta().controller(), new.meta().controller());
    let name = &new.meta().name;
    match (was, is) {
        (Some(was), Some(is)) if was.uid != is.uid => {
            found
                .add("S25", format!("{} {name} was taken from {} by {}", new.info().kind, was.name, is.name));
        }
        (None, Some(is)) => {
            let owner = view.objects.by_uid(&is.uid);
            let selector: Option<&LabelSelector> = owner.and_then(|owner| {
                let set = owner.as_resource::<ReplicaSet>().map(|set| &set.spec.selector);
                set.or_else(|| owner.as_resource::<Deployment>().map(|d| &d.spec.selector))
            });
            if selector.is_none_or(|selector| !selector.matches(&new.meta().labels)) {
                found.add(
                    "S25",
                    format!("{} {name} was taken up by {}, whose it is not", new.info().kind, is.name),
                );
            }
        }
        _ => {}
    }
}
