//! What autoscalers must be.

use super::object::Rules;
use super::selector_rules::validate_selector;
use super::{
    AutoscalerBehavior, FieldErrors, HorizontalPodAutoscaler, MetricIdentifier, MetricSourceType, MetricSpec,
    MetricTarget, MetricTargetType, ScalingRules,
};

/// What is measured where a manifest doesn't say: the pods' CPU, of which that many hundredths of the requests
/// are to be used. Kubernetes' default.
const DEFAULT_CPU_PERCENT: u32 = 80;
/// The longest window of stabilisation, in seconds: Kubernetes' hour.
const MAX_WINDOW_SECONDS: u32 = 3600;
/// The longest period of a policy, in seconds: Kubernetes' half hour.
const MAX_PERIOD_SECONDS: u32 = 1800;

impl Rules for HorizontalPodAutoscaler {
    fn set_defaults(&mut self) {
        if self.spec.metrics.is_empty() {
            let target = MetricTarget::utilization(DEFAULT_CPU_PERCENT);
            self.spec.metrics.push(MetricSpec::resource("cpu", target));
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = &self.spec;
        errors.at("spec", |errors| {
            errors.at("scaleTargetRef", |errors| {
                let target = &spec.scale_target_ref;
                errors.at("kind", |errors| errors.require(!target.kind.is_empty(), "is required"));
                errors.at("name", |errors| errors.require(!target.name.is_empty(), "is required"));
            });
            errors.at("minReplicas", |errors| {
                let beside_pods = |m: &MetricSpec| {
                    matches!(m.type_, MetricSourceType::Object | MetricSourceType::External)
                };
                let can_wake = spec.metrics.iter().any(beside_pods);
                errors.require(
                    spec.min_replicas > 0 || can_wake,
                    "must be at least 1 without a metric of type Object or External: no pod, nothing to measure",
                );
            });
            errors.at("maxReplicas", |errors| {
                errors.require(spec.max_replicas > 0, "is required, and at least 1");
                if spec.max_replicas > 0 && spec.max_replicas < spec.min_replicas {
                    errors.push(format!("{} must not be less than minReplicas, {}", spec.max_replicas, spec.min_replicas));
                }
            });
            errors.each("metrics", &spec.metrics, |errors, metric| validate_metric(metric, errors));
            if let Some(behavior) = &spec.behavior {
                errors.at("behavior", |errors| validate_behavior(behavior, errors));
            }
        });
    }
}

/// The fields of a metric, with their targets and whether each may be a value, a value for each pod, or a
/// share of what is requested.
fn validate_metric(metric: &MetricSpec, errors: &mut FieldErrors) {
    use MetricSourceType::{ContainerResource, External, Object, Pods, Resource};
    use MetricTargetType::{AverageValue, Utilization, Value};

    let fields = [
        (Resource, "resource", metric.resource.is_some()),
        (ContainerResource, "containerResource", metric.container_resource.is_some()),
        (Pods, "pods", metric.pods.is_some()),
        (Object, "object", metric.object.is_some()),
        (External, "external", metric.external.is_some()),
    ];
    for (type_, field, is_set) in fields {
        errors.at(field, |errors| match (type_ == metric.type_, is_set) {
            (true, false) => errors.push("is required for this type of metric"),
            (false, true) => errors.push("must not be set for this type of metric"),
            _ => {}
        });
    }
    if let Some(source) = &metric.resource {
        errors.at("resource", |errors| {
            errors.at("name", |errors| errors.require(!source.name.is_empty(), "is required"));
            validate_target(&source.target, &[Utilization, AverageValue], errors);
        });
    }
    if let Some(source) = &metric.container_resource {
        errors.at("containerResource", |errors| {
            errors.at("name", |errors| errors.require(!source.name.is_empty(), "is required"));
            errors.at("container", |errors| errors.require(!source.container.is_empty(), "is required"));
            validate_target(&source.target, &[Utilization, AverageValue], errors);
        });
    }
    if let Some(source) = &metric.pods {
        errors.at("pods", |errors| {
            validate_identifier(&source.metric, errors);
            validate_target(&source.target, &[AverageValue], errors);
        });
    }
    if let Some(source) = &metric.object {
        errors.at("object", |errors| {
            errors.at("describedObject", |errors| {
                let object = &source.described_object;
                errors.at("kind", |errors| errors.require(!object.kind.is_empty(), "is required"));
                errors.at("name", |errors| errors.require(!object.name.is_empty(), "is required"));
            });
            validate_identifier(&source.metric, errors);
            validate_target(&source.target, &[Value, AverageValue], errors);
        });
    }
    if let Some(source) = &metric.external {
        errors.at("external", |errors| {
            validate_identifier(&source.metric, errors);
            validate_target(&source.target, &[Value, AverageValue], errors);
        });
    }
}

fn validate_identifier(metric: &MetricIdentifier, errors: &mut FieldErrors) {
    errors.at("metric", |errors| {
        errors.at("name", |errors| errors.require(!metric.name.is_empty(), "is required"));
        if let Some(selector) = &metric.selector {
            errors.at("selector", |errors| validate_selector(selector, errors));
        }
    });
}

fn validate_target(target: &MetricTarget, allowed: &[MetricTargetType], errors: &mut FieldErrors) {
    errors.at("target", |errors| {
        errors.at("type", |errors| {
            if !allowed.contains(&target.type_) {
                let names: Vec<_> = allowed.iter().map(|t| format!("{t:?}")).collect();
                errors.push(format!("must be {} for this type of metric", names.join(" or ")));
            }
        });
        let fields = [
            (MetricTargetType::Utilization, "averageUtilization", target.average_utilization.map(|u| u > 0)),
            (MetricTargetType::Value, "value", target.value.map(|v| v.milli() > 0)),
            (MetricTargetType::AverageValue, "averageValue", target.average_value.map(|v| v.milli() > 0)),
        ];
        for (type_, field, positive) in fields {
            errors.at(field, |errors| match (type_ == target.type_, positive) {
                (true, None) => errors.push("is required for this type of target"),
                (false, Some(_)) => errors.push("must not be set for this type of target"),
                (_, Some(false)) => errors.push("must be greater than 0"),
                _ => {}
            });
        }
    });
}

fn validate_behavior(behavior: &AutoscalerBehavior, errors: &mut FieldErrors) {
    for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
        if let Some(rules) = rules {
            errors.at(field, |errors| validate_rules(rules, errors));
        }
    }
}

fn validate_rules(rules: &ScalingRules, errors: &mut FieldErrors) {
    errors.at("stabilizationWindowSeconds", |errors| {
        let seconds = rules.stabilization_window_seconds.unwrap_or_default();
        errors.require(seconds <= MAX_WINDOW_SECONDS, "must not be more than 3600");
    });
    errors.at("tolerance", |errors| {
        errors.require(!rules.tolerance.is_some_and(|t| t.is_negative()), "must not be negative");
    });
    errors.each("policies", &rules.policies, |errors, policy| {
        errors.at("value", |errors| errors.require(policy.value > 0, "must be greater than 0"));
        errors.at("periodSeconds", |errors| {
            let fits = (1..=MAX_PERIOD_SECONDS).contains(&policy.period_seconds);
            errors.require(fits, "must be from 1 to 1800");
        });
    });
}
