//! What a pod must be: also for the templates of other kinds.

use std::collections::BTreeSet;

use super::container_rules::validate_containers;
use super::gpu::validate_gpus;
use super::placement_rules::validate_placement;
use super::update_rules::validate_pod_update;
use super::volume_rules::validate_volumes;
use super::without_effect::pod_without_effect;
use super::{MAX_SECONDS, Pod, PodSpec};
use crate::model::FieldErrors;
use crate::model::meta_rules::record;
use crate::model::names::{check_dns_label, check_dns_subdomain, check_label_key};
use crate::model::object::Rules;

pub(crate) use super::container_rules::validate_amounts;
pub(crate) use super::defaults::default_pod_spec;

impl Rules for Pod {
    fn set_defaults(&mut self) {
        if !self.spec.node_name.is_empty() {
            let name = std::mem::take(&mut self.spec_mut().node_name);
            self.node_name.get_or_insert_with(|| name.into());
        }
        default_pod_spec(&mut self.spec);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            validate_pod_spec(&self.spec, errors);
            errors.at("nodeName", |errors| {
                if let Some(name) = &self.node_name {
                    record(check_dns_subdomain(name), errors);
                }
                let held_back = self.node_name.is_some() && !self.spec.scheduling_gates.is_empty();
                errors.require(!held_back, "can't be set while there are schedulingGates");
            });
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate_pod_update(self, old, errors);
    }

    fn without_effect(&self, fields: &mut FieldErrors) {
        fields.at("spec", |fields| pod_without_effect(&self.spec, fields));
    }
}

/// Checks `spec` of a pod or a template, at the current path.
pub(crate) fn validate_pod_spec(spec: &PodSpec, errors: &mut FieldErrors) {
    validate_containers(spec, errors);
    validate_gpus(spec, errors);
    validate_volumes(&spec.volumes, errors);
    validate_placement(spec, errors);
    validate_names(spec, errors);
    validate_amounts("overhead", &spec.overhead, errors);
    errors.at("terminationGracePeriodSeconds", |errors| {
        validate_seconds(spec.termination_grace_period_seconds, errors);
    });
    errors.at("activeDeadlineSeconds", |errors| {
        errors.require(spec.active_deadline_seconds != Some(0), "must be at least 1");
    });
    errors.at("dnsPolicy", |errors| {
        let known = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
        if !known.contains(&spec.dns_policy.as_str()) {
            errors.push(format!("`{}` is not one of {}", spec.dns_policy, known.join(", ")));
        }
    });
    let mut gates = BTreeSet::new();
    errors.each("schedulingGates", &spec.scheduling_gates, |errors, gate| {
        errors.at("name", |errors| {
            record(check_label_key(&gate.name), errors);
            errors.require(gates.insert(gate.name.clone()), "is the name of another gate too");
        });
    });
    if let Some(group) = &spec.scheduling_group {
        errors.at("schedulingGroup", |errors| {
            errors.at("podGroupName", |errors| {
                errors.require(!group.pod_group_name.is_empty(), "is required");
            });
        });
    }
    errors.each("readinessGates", &spec.readiness_gates, |errors, gate| {
        errors.at("conditionType", |errors| record(check_label_key(&gate.condition_type), errors));
    });
    errors.each("imagePullSecrets", &spec.image_pull_secrets, |errors, secret| {
        errors.at("name", |errors| errors.require(!secret.name.is_empty(), "is required"));
    });
}

/// Checks the seconds of a wait, at their own path.
pub(super) fn validate_seconds(seconds: u64, errors: &mut FieldErrors) {
    if seconds > MAX_SECONDS {
        errors.push(format!("must be at most {MAX_SECONDS}"));
    }
}

fn validate_names(spec: &PodSpec, errors: &mut FieldErrors) {
    for (field, label) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if !label.is_empty() {
            errors.at(field, |errors| record(check_dns_label(label), errors));
        }
    }
    for (field, name) in [
        ("priorityClassName", &spec.priority_class_name),
        ("serviceAccountName", &spec.service_account_name),
        ("schedulerName", &spec.scheduler_name),
        ("nodeName", &spec.node_name),
    ] {
        if !name.is_empty() {
            errors.at(field, |errors| record(check_dns_subdomain(name), errors));
        }
    }
}
