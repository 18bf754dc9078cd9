//! What is filled in and checked of an object ahead of its write.

use std::sync::Arc;

use super::{Plan, unique};
use crate::client::{Admission, ClientError, Operation};
use crate::model::{
    AnyObject, AnyObjectExt, FieldErrors, Namespace, Node, Object, ObjectKey, Pod, PreemptionPolicy,
    PriorityClass, note_when_added, validate_meta,
};
use crate::store::Scope;

impl Plan<'_> {
    /// A namespace must be there and not on its way out, and stay so until the commit: what is created
    /// before its deletion is seen by the deletion, and nothing is created after.
    pub(super) async fn require_namespace(&mut self, key: &ObjectKey) -> Result<(), ClientError> {
        let namespace = ObjectKey::new::<Namespace>("", Arc::clone(&key.namespace));
        let denied = |why: String| ClientError::Denied { key: key.clone(), why };
        let Some(live) = self.read(&namespace).await? else {
            return Err(denied(format!("namespace {} does not exist; create it first", key.namespace)));
        };
        if live.meta().is_deleting() {
            return Err(denied(format!(
                "namespace {} is being deleted; wait until it is gone",
                key.namespace
            )));
        }
        if !self.creates.contains(&namespace) && !self.guesses.contains(&namespace) {
            self.condition(&namespace, &*live, true);
        }
        Ok(())
    }

    /// Fills in, checks, and lets the application's admissions look at what is desired.
    pub(super) async fn admit(
        &mut self,
        key: &ObjectKey,
        object: &mut AnyObject,
        old: Option<&dyn Object>,
    ) -> Result<(), ClientError> {
        if self.admit_known_pod(object, old) {
            return Ok(());
        }
        let from = object.as_resource::<Pod>().map(|pod| Arc::clone(&pod.spec));
        self.resolve_priority(key, object, old).await?;
        let o = unique(object);
        o.set_defaults();
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let applying = self.client.inner.admission.iter().filter(|admission| admission.applies_to(o.info()));
        for admission in applying.cloned().collect::<Vec<_>>() {
            let refused = |why| ClientError::Denied { key: key.clone(), why };
            admission.admit(operation, o, old).map_err(refused)?;
        }
        if let Some(node) = (o as &mut dyn std::any::Any).downcast_mut::<Node>() {
            let old = old.and_then(|old| (old as &dyn std::any::Any).downcast_ref::<Node>());
            let old = old.map_or(&[][..], |old| old.spec.taints.as_slice());
            note_when_added(&mut node.spec.taints, old, self.client.inner.clock.now());
        }
        let mut errors = FieldErrors::new();
        validate_meta(o.meta(), o.info(), &mut errors);
        o.validate(&mut errors);
        if let Some(old) = old {
            o.validate_update(old, &mut errors);
        }
        errors.into_result().map_err(|errors| ClientError::Invalid { key: key.clone(), errors })?;
        if let (Some(from), Some(pod)) = (from, object.as_resource::<Pod>()) {
            let admitted = Arc::clone(&pod.spec);
            self.admitted.insert(Arc::as_ptr(&from).addr(), (from, admitted));
        }
        Ok(())
    }

    /// Gives a new pod the spec that an earlier pod of the same template was admitted with.
    fn admit_known_pod(&self, object: &mut AnyObject, old: Option<&dyn Object>) -> bool {
        let looks = |admission: &Arc<dyn Admission>| admission.applies_to(object.info());
        if old.is_some() || self.client.inner.admission.iter().any(looks) {
            return false;
        }
        let any: &mut dyn std::any::Any = unique(object);
        let Some(pod) = any.downcast_mut::<Pod>() else { return false };
        let Some((_, admitted)) = self.admitted.get(&Arc::as_ptr(&pod.spec).addr()) else { return false };
        pod.spec = Arc::clone(admitted);
        let mut errors = FieldErrors::new();
        validate_meta(&pod.metadata, pod.info(), &mut errors);
        errors.is_empty()
    }

    /// Gives a pod the number behind its priority class, and whether it preempts. One that is there keeps what it was
    /// made with: which class is the default may have changed since.
    async fn resolve_priority(
        &mut self,
        key: &ObjectKey,
        object: &mut AnyObject,
        old: Option<&dyn Object>,
    ) -> Result<(), ClientError> {
        let Some(pod) = object.as_resource::<Pod>() else { return Ok(()) };
        if pod.spec.priority.is_some() {
            return Ok(());
        }
        if let Some(old) = old.and_then(|old| (old as &dyn std::any::Any).downcast_ref::<Pod>()) {
            set_priority(object, old.spec.priority, old.spec.preemption_policy);
            return Ok(());
        }
        let name = pod.spec.priority_class_name.clone();
        let value = match name.as_str() {
            "" => {
                let classes = self.client.inner.store.list(&Scope::of::<PriorityClass>()).await?;
                let mut classes =
                    classes.objects.into_iter().filter_map(AnyObjectExt::downcast::<PriorityClass>);
                classes.find(|c| c.global_default).map(|c| (c.value, c.preemption_policy))
            }
            "system-node-critical" => Some((2_000_001_000, PreemptionPolicy::default())),
            "system-cluster-critical" => Some((2_000_000_000, PreemptionPolicy::default())),
            _ => {
                let class = ObjectKey::new::<PriorityClass>("", name.as_str());
                let class = self.read(&class).await?.and_then(AnyObjectExt::downcast::<PriorityClass>);
                let why = format!("priority class {name} does not exist; create it first");
                let class = class.ok_or(ClientError::Denied { key: key.clone(), why })?;
                Some((class.value, class.preemption_policy))
            }
        };
        if let Some((value, policy)) = value {
            set_priority(object, Some(value), Some(policy));
        }
        Ok(())
    }
}

fn set_priority(object: &mut AnyObject, priority: Option<i32>, policy: Option<PreemptionPolicy>) {
    let any: &mut dyn std::any::Any = unique(object);
    if let (Some(_), Some(pod)) = (priority, any.downcast_mut::<Pod>()) {
        let spec = Arc::make_mut(&mut pod.spec);
        spec.priority = priority;
        spec.preemption_policy = spec.preemption_policy.or(policy);
    }
}
