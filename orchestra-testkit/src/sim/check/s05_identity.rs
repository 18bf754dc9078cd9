//! S5: a recreated object is another object. S6: the generation grows when, and only when, what is desired changes.

use std::collections::BTreeSet;

use orchestra_core::model::{AnyObject, AnyObjectExt, Deployment, Pod, PodDisruptionBudget, ReplicaSet, Uid};
use orchestra_core::store::Change;

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::view::View;

/// Checks S5 and S6.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// Every identity that was ever given.
    uids: BTreeSet<Uid>,
}

impl Check for Identity {
    fn on(&mut self, event: &Event<'_>, _: &View<'_>, found: &mut Found) {
        let Event::Commit(seen) = event else { return };
        for change in seen.changes.iter() {
            match (&change.previous, &change.object) {
                (None, Some(new)) => self.created(change, new, found),
                (Some(old), Some(new)) => updated(change, old, new, found),
                (_, None) => {}
            }
        }
    }
}

impl Identity {
    fn created(&mut self, change: &Change, new: &AnyObject, found: &mut Found) {
        let uid = &new.meta().uid;
        if uid.is_empty() || !self.uids.insert(uid.clone()) {
            found.add("S5", format!("{} was created with the identity {uid:?}, used before", change.key));
        }
        if new.meta().resource_version.0 == 0 {
            found.add("S5", format!("{} was stored without a revision", change.key));
        }
    }
}

fn updated(change: &Change, old: &AnyObject, new: &AnyObject, found: &mut Found) {
    let (was, is) = (old.meta(), new.meta());
    if was.uid != is.uid {
        found.add("S5", format!("{} became another object without being removed", change.key));
    }
    if was.is_deleting() && !is.is_deleting() {
        found.add("S5", format!("the deletion of {} was taken back", change.key));
    }
    let same = old.same_desired(&**new) || only_bound(old, new);
    if same && was.generation != is.generation {
        let (was, is) = (was.generation, is.generation);
        found.add("S6", format!("the generation of {} went from {was} to {is} without a cause", change.key));
    }
    if !same && is.generation <= was.generation {
        found.add("S6", format!("{} changed, its generation {} did not grow", change.key, was.generation));
    }
    let observed = observed(new);
    if observed > is.generation {
        found.add("S6", format!("{} observed generation {observed} of {}", change.key, is.generation));
    }
}

/// Whether all that changed is that a pod got its node: that is no change of what is desired of it.
fn only_bound(old: &AnyObject, new: &AnyObject) -> bool {
    match (old.as_resource::<Pod>(), new.as_resource::<Pod>()) {
        (Some(old), Some(new)) => old.node_name.is_none() && old.spec == new.spec,
        _ => false,
    }
}

fn observed(object: &AnyObject) -> u64 {
    if let Some(deployment) = object.as_resource::<Deployment>() {
        deployment.status.observed_generation
    } else if let Some(set) = object.as_resource::<ReplicaSet>() {
        set.status.observed_generation
    } else if let Some(budget) = object.as_resource::<PodDisruptionBudget>() {
        budget.status.observed_generation
    } else {
        object.as_resource::<Pod>().map_or(0, |pod| pod.status.observed_generation)
    }
}
