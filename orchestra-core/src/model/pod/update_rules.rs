//! What may change in a pod once it is there: nearly nothing, for a template's pods are replaced instead.

use std::sync::Arc;

use serde_json::Value;

use super::{Pod, PodSpec};
use crate::model::FieldErrors;

/// Checks what changes from `old` to `new`.
pub(super) fn validate_pod_update(new: &Pod, old: &Pod, errors: &mut FieldErrors) {
    errors.at("spec", |errors| {
        errors.at("nodeName", |errors| {
            let fits = old.node_name.is_none() || old.node_name == new.node_name;
            errors.require(
                fits,
                "can't be changed: a pod stays on its node for life; delete it to have it replaced",
            );
        });
        if !Arc::ptr_eq(&new.spec, &old.spec) {
            validate_spec_update(&new.spec, &old.spec, errors);
        }
    });
    let fits = !old.is_terminal() || old.status.phase == new.status.phase;
    errors.at("status", |errors| {
        errors.at("phase", |errors| errors.require(fits, "can't be changed: the pod has ended"));
    });
}

fn validate_spec_update(new: &PodSpec, old: &PodSpec, errors: &mut FieldErrors) {
    let (before, now) = (old.active_deadline_seconds, new.active_deadline_seconds);
    errors.at("activeDeadlineSeconds", |errors| {
        let fits = before.is_none_or(|before| now.is_some_and(|now| now <= before));
        errors.require(fits, "can be set and lowered, but not raised or taken away");
    });
    errors.at("tolerations", |errors| {
        let fits = old.tolerations.iter().all(|toleration| new.tolerations.contains(toleration));
        errors.require(fits, "can be added to, but not changed");
    });
    errors.at("schedulingGates", |errors| {
        let fits = new.scheduling_gates.iter().all(|gate| old.scheduling_gates.contains(gate));
        errors.require(fits, "can be taken away, but not added");
    });
    let mut rest = new.clone();
    rest.active_deadline_seconds = before;
    rest.tolerations.clone_from(&old.tolerations);
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    for (new, old) in
        [(&mut rest.containers, &old.containers), (&mut rest.init_containers, &old.init_containers)]
    {
        for (new, old) in new.iter_mut().zip(old) {
            new.image.clone_from(&old.image);
        }
    }
    if rest != *old {
        let path = first_difference(&value_of(&rest), &value_of(old)).unwrap_or_default();
        let message = "can't be changed in a pod: only images, activeDeadlineSeconds, further tolerations and fewer \
                       schedulingGates can; delete the pod or change its owner's template";
        if path.is_empty() { errors.push(message) } else { errors.at(&path, |errors| errors.push(message)) }
    }
}

fn value_of(spec: &PodSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// The path to the first place where two manifests differ; empty where that is the root.
fn first_difference(a: &Value, b: &Value) -> Option<String> {
    let join = |step: String, rest: String| match rest.as_bytes().first() {
        None => step,
        Some(b'[') => format!("{step}{rest}"),
        Some(_) => format!("{step}.{rest}"),
    };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.filter_map(|key| match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => first_difference(a, b).map(|rest| join(key.clone(), rest)),
                _ => Some(key.clone()),
            })
            .next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(i, (a, b))| first_difference(a, b).map(|rest| join(format!("[{i}]"), rest)))
        }
        _ => (a != b).then(String::new),
    }
}
