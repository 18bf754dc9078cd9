use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::autoscale::{PodSample, Reading, Sample, ScaleHistory};
use crate::model::{
    AutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, Quantity, ScalingPolicy,
    ScalingPolicyType, ScalingRules, SelectPolicy,
};

const NAMES: [&str; 40] = [
    "p00", "p01", "p02", "p03", "p04", "p05", "p06", "p07", "p08", "p09", "p10", "p11", "p12", "p13", "p14",
    "p15", "p16", "p17", "p18", "p19", "p20", "p21", "p22", "p23", "p24", "p25", "p26", "p27", "p28", "p29",
    "p30", "p31", "p32", "p33", "p34", "p35", "p36", "p37", "p38", "p39",
];

fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(seconds)
}

fn spec(min: u32, max: u32, metrics: Vec<MetricSpec>) -> HorizontalPodAutoscalerSpec {
    HorizontalPodAutoscalerSpec { min_replicas: min, max_replicas: max, metrics, ..Default::default() }
}

fn cpu(percent: u32) -> MetricSpec {
    MetricSpec::resource("cpu", MetricTarget::utilization(percent))
}

fn sample(milli: i64, request: Option<i64>, now: u64) -> Sample {
    Sample {
        value: Quantity::from_milli(milli),
        request: request.map(Quantity::from_milli),
        at: at(now),
        window: Duration::from_secs(15),
    }
}

/// Ready pods that use these thousandths of a CPU and request 1,000 each; they have been running for ever.
fn with_pods<'a>(mut view: ScaleView<'a>, used: &[i64], now: u64) -> ScaleView<'a> {
    view.pods = NAMES.iter().take(used.len()).map(|name| PodSample::ready(name, at(0))).collect();
    let samples = view.pods.iter().zip(used).map(|(p, u)| (p.name.to_owned(), sample(*u, Some(1000), now)));
    view.readings = vec![Reading::Pods(samples.collect())];
    view
}

fn decide(view: &ScaleView<'_>, now: u64) -> u32 {
    HorizontalAutoscaler.replicas(view, at(now)).replicas
}

#[test]
fn the_documented_examples() {
    // Kubernetes' documentation: the ratio 200m to 100m doubles, 50m to 100m halves (once the window is over).
    let spec =
        spec(1, 100, vec![MetricSpec::resource("cpu", MetricTarget::average(Quantity::from_milli(100)))]);
    let mut view = with_pods(ScaleView::new("hpa", &spec, 3), &[200, 200, 200], 1000);
    assert_eq!(decide(&view, 1000), 6);
    view = with_pods(view, &[50, 50, 50], 1000);
    let first = HorizontalAutoscaler.replicas(&view, at(1000));
    assert_eq!((first.replicas, &*first.able.reason), (3, "ScaleDownStabilized"));
    view.history = first.history;
    assert_eq!(decide(&view, 1299), 3);
    assert_eq!(decide(&view, 1301), 2, "300 s later");
}

#[test]
fn tables() {
    // (used of 1000 requested each, target %, current, expected at once): cases of Kubernetes' own tests.
    for (used, target, current, expected) in [
        (vec![300, 500, 700], 30, 3, 5),
        (vec![400, 500, 600], 50, 3, 3),
        (vec![500, 500, 500], 100, 3, 3), // scaling down waits
        (vec![1010, 1030, 1020], 100, 3, 3),
        (vec![1100, 1100, 1100], 100, 3, 3), // a tenth is near enough
        (vec![1110, 1110, 1110], 100, 3, 4),
        (vec![9000, 9000], 50, 2, 6), // at most four more, or double
        (vec![9000, 9000, 9000, 9000, 9000, 9000], 50, 6, 12),
        (vec![0, 0, 0], 50, 3, 3),
    ] {
        let spec = spec(1, 50, vec![cpu(target)]);
        let view = with_pods(ScaleView::new("hpa", &spec, current), &used, 1000);
        assert_eq!(decide(&view, 1000), expected, "{used:?} against {target} %");
    }
}

#[test]
fn pods_that_are_starting_or_not_measured_damp_it() {
    let spec = spec(1, 50, vec![cpu(30)]);
    let now = 1000;
    // Kubernetes' test: 3 pods at 300, 500, 700 would ask for 5 of 3; with the first one unready, counted as 0.
    let mut view = with_pods(ScaleView::new("hpa", &spec, 3), &[300, 500, 700], now);
    view.pods[0] = PodSample { ready: false, started_at: Some(at(990)), ..PodSample::ready("p00", at(990)) };
    assert_eq!(decide(&view, now), 4);
    // Not measured at all: the same.
    let mut view = with_pods(ScaleView::new("hpa", &spec, 3), &[300, 500, 700], now);
    if let Reading::Pods(samples) = &mut view.readings[0] {
        samples.remove("p00");
    }
    assert_eq!(decide(&view, now), 4);
    // On the way down a missing pod is taken for busy: it stays where it is, also after the window.
    let low = super::tests::spec(1, 50, vec![cpu(90)]);
    let mut view = with_pods(ScaleView::new("hpa", &low, 2), &[500, 500], now);
    if let Reading::Pods(samples) = &mut view.readings[0] {
        samples.remove("p00");
    }
    view.history.wish(at(now - 10), 1);
    assert_eq!(decide(&view, now), 2);
}

#[test]
fn the_cpu_of_a_start_is_not_load() {
    let spec = spec(1, 50, vec![cpu(50)]);
    let mut view = with_pods(ScaleView::new("hpa", &spec, 2), &[500, 5000], 1000);
    // Ready for 5 s; measured over 15 s: that is mostly its start.
    let young =
        PodSample { started_at: Some(at(980)), ready_changed_at: Some(at(995)), ..view.pods[1].clone() };
    view.pods[1] = young.clone();
    assert_eq!(decide(&view, 1000), 2);
    view.pods[1] = PodSample { ready_changed_at: Some(at(985)), ..young };
    assert_eq!(decide(&view, 1000), 6, "15 s later it is load");
}

#[test]
fn the_metric_that_asks_for_the_most_counts_and_a_missing_one_stops_only_the_way_down() {
    let rps = MetricSpec::pods("requests", Quantity::from_units(10));
    let spec = spec(1, 50, vec![cpu(50), rps]);
    let requests = |each: i64| {
        let samples = NAMES.iter().take(4).map(|n| ((*n).to_owned(), sample(each * 1000, None, 1000)));
        Reading::Pods(samples.collect())
    };
    let mut view = with_pods(ScaleView::new("hpa", &spec, 4), &[500; 4], 1000);
    view.history.wish(at(999), 1);
    view.readings.push(requests(15));
    let decision = HorizontalAutoscaler.replicas(&view, at(1000));
    assert_eq!((decision.replicas, &*decision.cause), (6, "metric requests of the pods above target"));
    assert_eq!(decision.current[0].as_ref().unwrap().average_utilization, Some(50));
    assert_eq!(decision.current[1].as_ref().unwrap().average_value, Some(Quantity::from_units(15)));
    view.readings[0] = Reading::Missing("the agent is silent".into());
    assert_eq!(decide(&view, 1000), 6, "up goes with what is known");
    view.readings[1] = requests(1);
    let decision = HorizontalAutoscaler.replicas(&view, at(1000));
    assert_eq!(
        (decision.replicas, decision.active.holds, &*decision.active.reason),
        (4, false, "FailedGetResourceMetric")
    );
    assert_eq!(
        decision.active.message,
        "the number of replicas stays at 4: cpu of the pods: the agent is silent"
    );
}

#[test]
fn external_and_object_values() {
    for (target, value, current, expected) in [
        (MetricTarget::value(Quantity::from_units(100)), 150, 4, 6),
        (MetricTarget::value(Quantity::from_units(100)), 105, 4, 4),
        (MetricTarget::average(Quantity::from_units(100)), 700, 4, 7),
        (MetricTarget::average(Quantity::from_units(100)), 430, 4, 4),
        (MetricTarget::average(Quantity::from_units(100)), 250, 0, 3),
        (MetricTarget::value(Quantity::ZERO), 5, 4, 4),
    ] {
        let spec = spec(0, 50, vec![MetricSpec::external("queue", target.clone())]);
        let used = vec![0; usize::try_from(current).unwrap()];
        let mut view = with_pods(ScaleView::new("hpa", &spec, current), &used, 1000);
        view.readings = vec![Reading::Whole(Quantity::from_units(value))];
        assert_eq!(decide(&view, 1000), expected, "{value} against {target:?}");
    }
}

#[test]
fn bounds_and_zero() {
    let spec = spec(2, 5, vec![cpu(50)]);
    assert_eq!(decide(&with_pods(ScaleView::new("hpa", &spec, 5), &[900; 5], 1000), 1000), 5);
    assert_eq!(decide(&with_pods(ScaleView::new("hpa", &spec, 9), &[900; 9], 1000), 1000), 5);
    assert_eq!(decide(&with_pods(ScaleView::new("hpa", &spec, 1), &[900], 1000), 1000), 2);
    let off = HorizontalAutoscaler.replicas(&ScaleView::new("hpa", &spec, 0), at(9));
    assert_eq!((off.replicas, &*off.active.reason), (0, "ScalingDisabled"));
    let limited =
        HorizontalAutoscaler.replicas(&with_pods(ScaleView::new("hpa", &spec, 5), &[900; 5], 1000), at(1000));
    assert_eq!(&*limited.limited.reason, "TooManyReplicas");
}

#[test]
fn policies_bound_the_change_in_a_period() {
    let policy =
        |type_, value, period_seconds| ScalingPolicy { type_, value, period_seconds, ..Default::default() };
    let mut spec = spec(1, 100, vec![cpu(50)]);
    spec.behavior = Some(AutoscalerBehavior {
        scale_up: Some(ScalingRules {
            policies: vec![
                policy(ScalingPolicyType::Pods, 2, 60),
                policy(ScalingPolicyType::Percent, 10, 60),
            ],
            ..Default::default()
        }),
        scale_down: Some(ScalingRules {
            stabilization_window_seconds: Some(0),
            policies: vec![policy(ScalingPolicyType::Percent, 10, 60)],
            ..Default::default()
        }),
        ..Default::default()
    });
    let mut view = with_pods(ScaleView::new("hpa", &spec, 10), &[1000; 10], 1000);
    let first = HorizontalAutoscaler.replicas(&view, at(1000));
    assert_eq!((first.replicas, &*first.limited.reason), (12, "ScaleUpLimit"));
    view = with_pods(ScaleView::new("hpa", &spec, 12), &[1000; 12], 1030);
    view.history = first.history.clone();
    assert_eq!(decide(&view, 1030), 12, "the period is not over");
    assert_eq!(decide(&view, 1061), 14);
    let mut down = with_pods(ScaleView::new("hpa", &spec, 20), &[10; 20], 2000);
    down.history = ScaleHistory::default();
    assert_eq!(decide(&down, 2000), 18);
    if let Some(behavior) = &mut spec.behavior {
        behavior.scale_down =
            Some(ScalingRules { select_policy: SelectPolicy::Disabled, ..Default::default() });
    }
    let mut never = with_pods(ScaleView::new("hpa", &spec, 20), &[10; 20], 2000);
    never.history.wish(at(100), 1);
    assert_eq!(decide(&never, 2000), 20);
}

/// What was done just before a clock was set back would count as done just now until the clock is there again.
#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let spec = spec(1, 100, vec![cpu(50)]);
    let look = |current: u32, now: u64, history: ScaleHistory| {
        let used = vec![1000; usize::try_from(current).unwrap()];
        let mut view = with_pods(ScaleView::new("hpa", &spec, current), &used, now);
        view.history = history;
        HorizontalAutoscaler.replicas(&view, at(now))
    };
    let before = look(4, 5000, ScaleHistory::default());
    assert_eq!(before.replicas, 8);
    let back = look(8, 1400, before.history);
    assert_eq!(back.replicas, 8, "it may have been just now");
    assert_eq!(look(8, 1416, back.history).replicas, 16);
}

prop_compose! {
    fn situation()(
        current in 1u32..20,
        min in 1u32..5,
        span in 0u32..30,
        target in 10u32..100,
        used in proptest::collection::vec(0i64..3000, 20),
        extra in proptest::collection::vec(0i64..100_000, 20),
        extra_ready in any::<bool>(),
    ) -> (u32, HorizontalPodAutoscalerSpec, Vec<i64>, Vec<i64>, bool) {
        (current, spec(min, min + span, vec![cpu(target)]), used, extra, extra_ready)
    }
}

proptest! {
    /// S36.
    #[test]
    fn stays_within_bounds_and_surge_never_raises_it(
        (current, spec, used, extra, extra_ready) in situation()
    ) {
        let base = usize::try_from(current).unwrap();
        let view = with_pods(ScaleView::new("hpa", &spec, current), &used[..base], 1000);
        let alone = decide(&view, 1000);
        prop_assert!(alone >= spec.min_replicas && alone <= spec.max_replicas);
        let mut surged = view.clone();
        for (i, usage) in extra.iter().enumerate() {
            let young = PodSample { ready: extra_ready, ..PodSample::ready(NAMES[20 + i], at(900)) };
            if let Reading::Pods(samples) = &mut surged.readings[0] {
                samples.insert(young.name.to_owned(), sample(*usage, Some(1000), 1000));
            }
            surged.pods.push(young);
        }
        prop_assert_eq!(decide(&surged, 1000), alone, "surge pods count");
    }

    /// S36: with pods still starting, or not measured, it never asks for more than what those measured ask for. The
    /// percentage is a whole number, as Kubernetes has it, so the load itself can be one more than what it asks for.
    #[test]
    fn what_is_not_known_never_raises_it((current, spec, used, extra, ready) in situation()) {
        let base = usize::try_from(current).unwrap();
        let known = base.div_ceil(2);
        let view = with_pods(ScaleView::new("hpa", &spec, current), &used[..known], 1000);
        let alone = decide(&view, 1000);
        let mut more = view.clone();
        for (i, usage) in extra.iter().enumerate().take(base - known) {
            let mut young = PodSample::ready(NAMES[20 + i], at(0));
            if !ready {
                young = PodSample { ready: false, ..PodSample::ready(young.name, at(990)) };
                if let Reading::Pods(samples) = &mut more.readings[0] {
                    samples.insert(young.name.to_owned(), sample(*usage, Some(1000), 1000));
                }
            }
            more.pods.push(young);
        }
        let target = spec.metrics[0].resource.as_ref().unwrap().target.average_utilization.unwrap();
        let load: u64 = used[..known].iter().map(|milli| milli.unsigned_abs()).sum();
        let exact = u32::try_from((load * 100).div_ceil(1000 * u64::from(target))).unwrap();
        prop_assert!(decide(&more, 1000) <= alone.max(exact).max(view.clamp(current)));
    }

    /// S36: nothing measured, nothing changed; within a tenth, nothing changed.
    #[test]
    fn nothing_known_or_near_enough_changes_nothing((current, spec, _, _, _) in situation(), off in -10i64..=10) {
        let current = current.clamp(spec.min_replicas, spec.max_replicas);
        let none = ScaleView::new("hpa", &spec, current);
        prop_assert_eq!(decide(&none, 1000), current);
        let mut no_samples = with_pods(none, &[1; 5], 1000);
        no_samples.readings = vec![Reading::Pods(BTreeMap::new())];
        prop_assert_eq!(decide(&no_samples, 1000), current);
        let mut metric = spec.clone();
        metric.metrics = vec![MetricSpec::resource("cpu", MetricTarget::average(Quantity::from_milli(1000)))];
        let base = vec![1000 + off * 10; usize::try_from(current).unwrap()];
        let mut near = with_pods(ScaleView::new("hpa", &metric, current), &base, 1000);
        near.history.wish(at(1), 1);
        prop_assert_eq!(decide(&near, 1000), current);
    }
}
