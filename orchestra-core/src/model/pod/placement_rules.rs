//! What a pod may say about where it is to run.

use std::collections::BTreeSet;

use super::rules::validate_seconds;
use super::{Affinity, PodAffinity, PodAffinityTerm, PodSpec, UnsatisfiableAction};
use crate::model::meta_rules::{record, validate_labels};
use crate::model::names::{check_label_key, check_label_value};
use crate::model::selector_rules::{validate_node_selector, validate_node_term, validate_selector};
use crate::model::{FieldErrors, TaintEffect, Toleration, TolerationOperator};

/// Checks where a pod with `spec` is to run, at the spec's path.
pub(super) fn validate_placement(spec: &PodSpec, errors: &mut FieldErrors) {
    validate_labels("nodeSelector", &spec.node_selector, errors);
    if let Some(affinity) = &spec.affinity {
        errors.at("affinity", |errors| validate_affinity(affinity, errors));
    }
    errors
        .each("tolerations", &spec.tolerations, |errors, toleration| validate_toleration(toleration, errors));
    let mut seen = BTreeSet::new();
    errors.each("topologySpreadConstraints", &spec.topology_spread_constraints, |errors, constraint| {
        errors.at("maxSkew", |errors| errors.require(constraint.max_skew > 0, "must be at least 1"));
        validate_topology_key(&constraint.topology_key, errors);
        let hard = constraint.when_unsatisfiable == UnsatisfiableAction::DoNotSchedule;
        let message = "there is another constraint with the same topologyKey and whenUnsatisfiable";
        errors.require(seen.insert((constraint.topology_key.clone(), hard)), message);
        errors.at("minDomains", |errors| match constraint.min_domains {
            Some(0) => errors.push("must be at least 1"),
            Some(_) if !hard => errors.push("can be set only where whenUnsatisfiable is DoNotSchedule"),
            _ => {}
        });
        if let Some(selector) = &constraint.label_selector {
            errors.at("labelSelector", |errors| validate_selector(selector, errors));
        }
        errors.each("matchLabelKeys", &constraint.match_label_keys, |errors, key| {
            record(check_label_key(key), errors);
        });
    });
}

fn validate_affinity(affinity: &Affinity, errors: &mut FieldErrors) {
    if let Some(nodes) = &affinity.node_affinity {
        errors.at("nodeAffinity", |errors| {
            if let Some(required) = &nodes.required {
                errors.at(REQUIRED, |errors| validate_node_selector(required, errors));
            }
            errors.each(PREFERRED, &nodes.preferred, |errors, term| {
                validate_weight(term.weight, errors);
                errors.at("preference", |errors| validate_node_term(&term.preference, errors));
            });
        });
    }
    for (field, pods) in
        [("podAffinity", &affinity.pod_affinity), ("podAntiAffinity", &affinity.pod_anti_affinity)]
    {
        if let Some(pods) = pods {
            errors.at(field, |errors| validate_pod_affinity(pods, errors));
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn validate_pod_affinity(affinity: &PodAffinity, errors: &mut FieldErrors) {
    errors.each(REQUIRED, &affinity.required, |errors, term| validate_pod_term(term, errors));
    errors.each(PREFERRED, &affinity.preferred, |errors, term| {
        validate_weight(term.weight, errors);
        errors.at("podAffinityTerm", |errors| validate_pod_term(&term.pod_affinity_term, errors));
    });
}

fn validate_pod_term(term: &PodAffinityTerm, errors: &mut FieldErrors) {
    validate_topology_key(&term.topology_key, errors);
    for (field, selector) in
        [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            errors.at(field, |errors| validate_selector(selector, errors));
        }
    }
    for (field, keys) in
        [("matchLabelKeys", &term.match_label_keys), ("mismatchLabelKeys", &term.mismatch_label_keys)]
    {
        errors.each(field, keys, |errors, key| record(check_label_key(key), errors));
    }
}

fn validate_weight(weight: u32, errors: &mut FieldErrors) {
    errors.at("weight", |errors| errors.require((1..=100).contains(&weight), "must be from 1 to 100"));
}

fn validate_topology_key(key: &str, errors: &mut FieldErrors) {
    errors.at("topologyKey", |errors| {
        if key.is_empty() {
            errors.push("is required: the node label whose values are the places");
        } else {
            record(check_label_key(key), errors);
        }
    });
}

fn validate_toleration(toleration: &Toleration, errors: &mut FieldErrors) {
    let exists = toleration.operator == TolerationOperator::Exists;
    if toleration.key.is_empty() {
        errors.at("operator", |errors| errors.require(exists, "must be Exists where key is empty"));
    } else {
        errors.at("key", |errors| record(check_label_key(&toleration.key), errors));
    }
    errors.at("value", |errors| {
        errors.require(!exists || toleration.value.is_empty(), "must be empty where operator is Exists");
        record(check_label_value(&toleration.value), errors);
    });
    let fits = toleration.toleration_seconds.is_none() || toleration.effect == Some(TaintEffect::NoExecute);
    errors.at("effect", |errors| errors.require(fits, "must be NoExecute where tolerationSeconds is set"));
    errors.at("tolerationSeconds", |errors| {
        let seconds = toleration.toleration_seconds.unwrap_or_default();
        validate_seconds(u64::try_from(seconds).unwrap_or_default(), errors);
    });
}
