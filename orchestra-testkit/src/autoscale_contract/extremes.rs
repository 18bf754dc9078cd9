//! Situations that nobody meant: the largest numbers, none at all, bounds the wrong way round, time running backwards.

use std::time::Duration;

use orchestra_core::autoscale::{Autoscaler, PodSample, Reading, Sample, ScaleHistory, ScaleView};
use orchestra_core::model::{
    AutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, Quantity, ScalingPolicy,
    ScalingPolicyType, ScalingRules, SelectPolicy, Timestamp,
};
use orchestra_core::rng::Rng;

use super::{between, index};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// It answers, the same each time, and within the bounds; or with nothing where autoscaling is switched off.
pub(super) fn answers_every_view(autoscaler: &dyn Autoscaler, seed: u64) {
    let rng = Rng::seeded(seed);
    let spec = spec(&rng);
    let view = view(&spec, &rng);
    let now = time(&rng);
    let decision = autoscaler.replicas(&view, now);
    let told = || format!("seed {seed}, at {now:?}: {view:?} gave {decision:?}");
    assert_eq!(decision, autoscaler.replicas(&view, now), "it is not pure: {}", told());
    let n = decision.replicas;
    if view.is_switched_off() {
        assert_eq!(n, 0, "it wakes a target that was scaled to zero by hand: {}", told());
    } else {
        assert_eq!(n, view.clamp(n), "the number is out of bounds: {}", told());
    }
    let measured = decision.current.len();
    assert!(measured <= spec.metrics.len(), "it measured what was not asked for: {}", told());
}

fn view<'a>(spec: &'a HorizontalPodAutoscalerSpec, rng: &Rng) -> ScaleView<'a> {
    let mut view = ScaleView::new("shop/web", spec, number(rng));
    view.pods = NAMES.iter().take(index(rng, 7)).map(|name| pod(name, rng)).collect();
    view.readings = some(rng, 4, reading);
    view.history = ScaleHistory::default();
    (0..rng.below(4)).for_each(|_| view.history.wish(time(rng), number(rng)));
    (0..rng.below(4)).for_each(|_| view.history.changed(time(rng), number(rng), number(rng)));
    view
}

fn some<T>(rng: &Rng, bound: u64, make: fn(&Rng) -> T) -> Vec<T> {
    (0..rng.below(bound)).map(|_| make(rng)).collect()
}

fn maybe<T>(rng: &Rng, make: fn(&Rng) -> T) -> Option<T> {
    rng.chance(0.6).then(|| make(rng))
}

fn number(rng: &Rng) -> u32 {
    match rng.below(8) {
        0 => u32::MAX,
        1 => u32::MAX - 1,
        2 => u32::MAX / 2 + u32::try_from(rng.below(3)).unwrap_or_default(),
        3 => 0,
        _ => u32::try_from(rng.below(12)).unwrap_or_default(),
    }
}

fn quantity(rng: &Rng) -> Quantity {
    Quantity::from_milli(match rng.below(8) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => -1,
        3 => 0,
        _ => between(rng, 0, 5_000),
    })
}

fn time(rng: &Rng) -> Timestamp {
    Timestamp::from_micros(match rng.below(8) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => -1,
        3 => 0,
        _ => between(rng, 0, 1_000_000_000),
    })
}

fn pod<'a>(name: &'a str, rng: &Rng) -> PodSample<'a> {
    let mut pod = PodSample::pending(name, time(rng));
    pod.started_at = maybe(rng, time);
    pod.ready = rng.chance(0.5);
    pod.ready_changed_at = maybe(rng, time);
    pod.ignored = rng.chance(0.3);
    pod
}

fn sample(rng: &Rng) -> Sample {
    let window = if rng.chance(0.3) { Duration::MAX } else { Duration::from_secs(rng.below(100)) };
    Sample { value: quantity(rng), request: maybe(rng, quantity), at: time(rng), window }
}

/// Also of pods that the view doesn't have.
fn reading(rng: &Rng) -> Reading {
    match rng.below(5) {
        0 => Reading::Whole(quantity(rng)),
        1 => Reading::Missing("nobody answers".to_owned()),
        _ => {
            let of = |name: &&str| Some(((*name).to_owned(), maybe(rng, sample)?));
            Reading::Pods(NAMES.iter().filter_map(of).collect())
        }
    }
}

fn metric(rng: &Rng) -> MetricSpec {
    match rng.below(6) {
        0 => MetricSpec::resource("cpu", MetricTarget::utilization(number(rng))),
        1 => MetricSpec::resource("memory", MetricTarget::average(quantity(rng))),
        2 => MetricSpec::pods("requests", quantity(rng)),
        3 => MetricSpec::external("queue", MetricTarget::value(quantity(rng))),
        4 => MetricSpec::external("queue", MetricTarget::average(quantity(rng))),
        // A type without its part: a manifest that was never validated.
        _ => MetricSpec::default(),
    }
}

fn policy(rng: &Rng) -> ScalingPolicy {
    let type_ = if rng.chance(0.5) { ScalingPolicyType::Percent } else { ScalingPolicyType::Pods };
    ScalingPolicy { type_, value: number(rng), period_seconds: number(rng), ..ScalingPolicy::default() }
}

fn rules(rng: &Rng) -> ScalingRules {
    ScalingRules {
        stabilization_window_seconds: maybe(rng, number),
        select_policy: [SelectPolicy::Max, SelectPolicy::Min, SelectPolicy::Disabled][index(rng, 3)],
        policies: some(rng, 3, policy),
        tolerance: maybe(rng, quantity),
        ..ScalingRules::default()
    }
}

fn behavior(rng: &Rng) -> AutoscalerBehavior {
    AutoscalerBehavior {
        scale_up: maybe(rng, rules),
        scale_down: maybe(rng, rules),
        ..AutoscalerBehavior::default()
    }
}

fn spec(rng: &Rng) -> HorizontalPodAutoscalerSpec {
    HorizontalPodAutoscalerSpec {
        min_replicas: number(rng),
        max_replicas: number(rng),
        metrics: some(rng, 4, metric),
        behavior: maybe(rng, behavior),
        ..HorizontalPodAutoscalerSpec::default()
    }
}
