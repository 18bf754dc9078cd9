//! Deletions.

use std::time::Duration;

use super::{Outcome, Plan, unique};
use crate::client::{ClientError, DeleteOptions, Propagation};
use crate::model::{AnyObject, AnyObjectExt, MAX_SECONDS, Namespace, NamespacePhase, Object, ObjectKey, Pod};

/// Holds an object until its parts have gone.
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// Holds an object until its parts have been told that they have no owner.
pub(crate) const ORPHAN_FINALIZER: &str = "orphan";

impl Plan<'_> {
    pub(super) async fn delete(
        &mut self,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<(), ClientError> {
        let live = self.read(key).await?.ok_or_else(|| ClientError::NotFound(key.clone()))?;
        let conflict = |why: &str| ClientError::Conflict { key: key.clone(), why: why.to_owned() };
        if options.uid.as_ref().is_some_and(|uid| *uid != live.meta().uid) {
            return Err(conflict("it is another object of the same name; it was not deleted"));
        }
        if options.revision.is_some_and(|revision| revision != live.meta().resource_version) {
            return Err(conflict("it changed since it was read; it was not deleted"));
        }
        let mut object = live.clone_object();
        self.mark_deleted(&mut object, options);
        if !is_over(&*object) && object.meta() == live.meta() {
            self.results.push(Outcome::Same(live));
            return Ok(());
        }
        self.condition(key, &*live, options.revision.is_none());
        if is_over(&*object) {
            self.remove(key);
        } else {
            self.write(key, object);
        }
        Ok(())
    }

    /// Sets what a deletion sets: the time, the grace, and who must agree before the object disappears.
    fn mark_deleted(&self, object: &mut AnyObject, options: &DeleteOptions) {
        // Of a pod: its grace, and whether that may shorten an earlier one.
        let grace = object.as_resource::<Pod>().map(|pod| {
            let (asked, own) = (options.grace_period_seconds, pod.spec.termination_grace_period_seconds);
            // Nobody runs a pod that is not bound, or that has ended.
            let runs = pod.node_name.is_some() && !pod.is_terminal();
            let seconds = if runs { asked.unwrap_or(own).min(MAX_SECONDS) } else { 0 };
            (seconds, asked.is_some() || !runs)
        });
        let now = self.client.inner.clock.now();
        let o = unique(object);
        if let Some(namespace) = (o as &mut dyn std::any::Any).downcast_mut::<Namespace>() {
            namespace.status.phase = NamespacePhase::Terminating;
        }
        let meta = o.meta_mut();
        let first = !meta.is_deleting();
        if first {
            meta.deletion_timestamp =
                Some(now + Duration::from_secs(grace.map_or(0, |(seconds, _)| seconds)));
            meta.deletion_grace_period_seconds = grace.map(|(seconds, _)| seconds);
        } else if let (Some((new, true)), Some(old)) = (grace, meta.deletion_grace_period_seconds)
            && new < old
        {
            // A second deletion can only shorten the first one's grace, which has run since then.
            let less = Duration::from_secs(old - new);
            meta.deletion_timestamp = meta.deletion_timestamp.map(|end| end - less);
            meta.deletion_grace_period_seconds = Some(new);
        }
        let finalizer = match options.propagation {
            Propagation::Background => return,
            Propagation::Foreground => FOREGROUND_FINALIZER,
            Propagation::Orphan => ORPHAN_FINALIZER,
        };
        if first && !meta.is_held_by(finalizer) {
            meta.finalizers.push(finalizer.to_owned());
        }
    }
}

/// Whether a deleted object has nothing left to wait for.
pub(super) fn is_over(object: &dyn Object) -> bool {
    let meta = object.meta();
    let any: &dyn std::any::Any = object;
    let held = any.downcast_ref::<Namespace>().is_some_and(|n| !n.spec.finalizers.is_empty());
    meta.is_deleting()
        && meta.finalizers.is_empty()
        && meta.deletion_grace_period_seconds.is_none_or(|grace| grace == 0)
        && !held
}
