//! What nodes must be.

use std::collections::BTreeSet;

use super::meta_rules::record;
use super::names::{check_label_key, check_label_value};
use super::object::Rules;
use super::pod::rules::validate_amounts;
use super::{FieldErrors, Node};

impl Rules for Node {
    fn set_defaults(&mut self) {
        for (name, amount) in &self.status.capacity {
            if !self.status.allocatable.contains_key(name) {
                self.status.allocatable.insert(name.clone(), *amount);
            }
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            let mut seen = BTreeSet::new();
            errors.each("taints", &self.spec.taints, |errors, taint| {
                errors.at("key", |errors| record(check_label_key(&taint.key), errors));
                errors.at("value", |errors| record(check_label_value(&taint.value), errors));
                let message = "there is another taint with the same key and effect";
                errors.require(seen.insert((taint.key.clone(), taint.effect)), message);
            });
        });
        errors.at("status", |errors| {
            validate_amounts("capacity", &self.status.capacity, errors);
            validate_amounts("allocatable", &self.status.allocatable, errors);
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            for (field, old, new) in [
                ("podCIDR", &old.spec.pod_cidr, &self.spec.pod_cidr),
                ("providerID", &old.spec.provider_id, &self.spec.provider_id),
            ] {
                let fits = old.is_empty() || old == new;
                errors.at(field, |errors| errors.require(fits, "can't be changed once it is set"));
            }
        });
    }
}
