//! What deployments and replica sets must be.

use super::meta_rules::{record, validate_labels};
use super::names::check_label_key;
use super::object::Rules;
use super::pod::rules::{default_pod_spec, validate_pod_spec};
use super::pod::without_effect::pod_without_effect;
use super::selector_rules::validate_selector;
use super::{
    Deployment, DeploymentStrategy, FieldErrors, IntOrPercent, LabelSelector, PodTemplateSpec, ReplicaSet,
    RestartPolicy, RollingUpdate, StrategyType,
};

impl Rules for Deployment {
    fn set_defaults(&mut self) {
        default_pod_spec(&mut self.spec.template.spec);
        let strategy = &mut self.spec.strategy;
        if strategy.type_ == StrategyType::RollingUpdate && strategy.rolling_update.is_none() {
            strategy.rolling_update = Some(RollingUpdate::default());
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = &self.spec;
        errors.at("spec", |errors| {
            validate_pods(&spec.selector, &spec.template, errors);
            errors.at("strategy", |errors| validate_strategy(&spec.strategy, errors));
            errors.at("progressDeadlineSeconds", |errors| {
                errors.require(
                    spec.progress_deadline_seconds > spec.min_ready_seconds,
                    "must be greater than minReadySeconds, or every rollout fails",
                );
            });
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| same_selector(&self.spec.selector, &old.spec.selector, errors));
    }

    fn without_effect(&self, fields: &mut FieldErrors) {
        template_without_effect(&self.spec.template, fields);
    }
}

impl Rules for ReplicaSet {
    fn set_defaults(&mut self) {
        default_pod_spec(&mut self.spec.template.spec);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| validate_pods(&self.spec.selector, &self.spec.template, errors));
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| same_selector(&self.spec.selector, &old.spec.selector, errors));
    }

    fn without_effect(&self, fields: &mut FieldErrors) {
        template_without_effect(&self.spec.template, fields);
    }
}

fn template_without_effect(template: &PodTemplateSpec, fields: &mut FieldErrors) {
    let spec = &template.spec;
    fields.at("spec", |f| f.at("template", |f| f.at("spec", |f| pod_without_effect(spec, f))));
}

fn same_selector(new: &LabelSelector, old: &LabelSelector, errors: &mut FieldErrors) {
    let same = new.match_labels == old.match_labels && new.match_expressions == old.match_expressions;
    errors.at("selector", |errors| {
        errors
            .require(same, "can't be changed: the pods it chose so far would be nobody's; make a new object");
    });
}

/// Checks a selector and the template of the pods that it is to choose.
fn validate_pods(selector: &LabelSelector, template: &PodTemplateSpec, errors: &mut FieldErrors) {
    errors.at("selector", |errors| {
        errors.require(!selector.is_empty(), "is required: an empty one would choose all pods");
        validate_selector(selector, errors);
    });
    errors.at("template", |errors| {
        errors.at("metadata", |errors| {
            validate_labels("labels", &template.metadata.labels, errors);
            for key in template.metadata.annotations.keys() {
                let name = format!("annotations[{key}]");
                errors.at(&name, |errors| record(check_label_key(&key.to_lowercase()), errors));
            }
            if !selector.is_empty() && !selector.matches(&template.metadata.labels) {
                errors.at("labels", |errors| {
                    errors.push(format!(
                        "do not match spec.selector `{selector}`: the pods would never be counted"
                    ));
                });
            }
        });
        errors.at("spec", |errors| {
            validate_pod_spec(&template.spec, errors);
            errors.at("restartPolicy", |errors| {
                let always = template.spec.restart_policy == RestartPolicy::Always;
                errors.require(always, "must be Always: pods that end are replaced");
            });
            errors.at("activeDeadlineSeconds", |errors| {
                let none = template.spec.active_deadline_seconds.is_none();
                errors.require(none, "must not be set: pods that end are replaced");
            });
        });
    });
}

fn validate_strategy(strategy: &DeploymentStrategy, errors: &mut FieldErrors) {
    errors.at("rollingUpdate", |errors| match (strategy.type_, &strategy.rolling_update) {
        (StrategyType::Recreate, Some(_)) => errors.push("must not be set where the type is Recreate"),
        (StrategyType::RollingUpdate, Some(update)) => {
            if update.max_surge.is_zero() && update.max_unavailable.is_zero() {
                let message = "must not be 0 where maxSurge is 0 too: no pod could be replaced";
                errors.at("maxUnavailable", |errors| errors.push(message));
            }
            errors.at("maxUnavailable", |errors| at_most_all(update.max_unavailable, errors));
        }
        (_, None) => {}
    });
}

/// Checks that a share is at most 100 %.
pub(super) fn at_most_all(share: IntOrPercent, errors: &mut FieldErrors) {
    if let IntOrPercent::Percent(percent) = share {
        errors.require(percent <= 100, "must not be more than 100%");
    }
}
