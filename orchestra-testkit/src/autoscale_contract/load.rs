//! Ordinary situations: pods that all run and are all measured, and a load.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestra_core::autoscale::{
    Autoscaler, PodSample, Reading, Sample, ScaleDecision, ScaleHistory, ScaleView,
};
use orchestra_core::model::{
    AutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, Quantity, ScalingRules, Timestamp,
};
use orchestra_core::rng::Rng;

use super::{between, index};

/// The most pods of a situation.
const MOST: usize = 12;
const NAMES: [&str; MOST] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// When a situation begins, in seconds: its pods have run since 0, so nothing is a start any more.
const BEGIN: u64 = 100_000;

/// So many pods, what each of them is to do, and what they do.
#[derive(Clone, Debug)]
struct Load {
    spec: HorizontalPodAutoscalerSpec,
    /// What each pod is to do, in thousandths: a multiple of 100, so that each hundredth of it is a whole number.
    target: i64,
    /// What each pod does, in hundredths of `target`: as many as there are replicas.
    used: Vec<i64>,
    /// What each does when there is more to do, in hundredths of `target`.
    more: Vec<i64>,
    /// How far from the target the whole may be, in hundredths of it.
    tolerance: i64,
    /// How far it is, no further than `tolerance`.
    off: i64,
    /// The window of scaling down, in seconds.
    window: u32,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(seconds)
}

fn spec(target: i64, tolerance: i64, window: u32) -> HorizontalPodAutoscalerSpec {
    let rules = |stabilization_window_seconds| ScalingRules {
        stabilization_window_seconds,
        tolerance: Some(Quantity::from_milli(10 * tolerance)),
        ..ScalingRules::default()
    };
    let (scale_up, scale_down) = (Some(rules(None)), Some(rules(Some(window))));
    HorizontalPodAutoscalerSpec {
        min_replicas: 1,
        max_replicas: 100,
        metrics: vec![MetricSpec::pods("requests", Quantity::from_milli(target))],
        behavior: Some(AutoscalerBehavior { scale_up, scale_down, ..AutoscalerBehavior::default() }),
        ..HorizontalPodAutoscalerSpec::default()
    }
}

impl Load {
    fn random(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let target = 100 * between(&rng, 1, 1_000);
        let tolerance = between(&rng, 0, 50);
        let window = 1 + u32::try_from(rng.below(3_599)).unwrap_or_default();
        let replicas = 2 + index(&rng, MOST - 1);
        let used: Vec<i64> = (0..replicas).map(|_| between(&rng, 0, 400)).collect();
        let more = used.iter().map(|used| used + between(&rng, 0, 200)).collect();
        let off = between(&rng, -tolerance, tolerance + 1);
        Self { spec: spec(target, tolerance, window), target, used, more, tolerance, off, window }
    }

    fn current(&self) -> u32 {
        u32::try_from(self.used.len()).unwrap_or(u32::MAX)
    }

    /// What each pod does when all do the same.
    fn each(&self, percent: i64) -> Vec<i64> {
        vec![percent; self.used.len()]
    }

    /// The view of pods that do `used` hundredths of what they are to do.
    fn view(&self, used: &[i64], now: Timestamp, history: &ScaleHistory) -> ScaleView<'_> {
        let mut view = ScaleView::new("shop/web", &self.spec, self.current());
        view.pods = NAMES.iter().take(used.len()).map(|name| PodSample::ready(name, at(0))).collect();
        let sample = |percent: &i64| Sample {
            value: Quantity::from_milli(self.target / 100 * percent),
            request: None,
            at: now,
            window: Duration::from_secs(15),
        };
        let samples = NAMES.iter().zip(used).map(|(name, percent)| ((*name).to_owned(), sample(percent)));
        view.readings = vec![Reading::Pods(samples.collect())];
        view.history = history.clone();
        view
    }

    fn decide(&self, autoscaler: &dyn Autoscaler, used: &[i64]) -> ScaleDecision {
        autoscaler.replicas(&self.view(used, at(BEGIN), &ScaleHistory::default()), at(BEGIN))
    }
}

/// A load within the tolerance of the target changes nothing, and asking again changes nothing either.
pub(super) fn near_enough_changes_nothing(autoscaler: &dyn Autoscaler, seed: u64) {
    let load = Load::random(seed);
    let used = load.each(100 + load.off);
    let (current, off, tolerance) = (load.current(), load.off, load.tolerance);
    let first = load.decide(autoscaler, &used);
    assert_eq!(first.replicas, current, "{off} % off, {tolerance} % are near enough: seed {seed}, {load:?}");
    let again = autoscaler.replicas(&load.view(&used, at(BEGIN), &first.history), at(BEGIN));
    assert_eq!(again.replicas, current, "asked again, it decides otherwise: seed {seed}, {load:?}");
}

/// Without measurements, or with those of some metrics only, it stays.
pub(super) fn what_is_not_known_never_scales_down(autoscaler: &dyn Autoscaler, seed: u64) {
    let load = Load::random(seed);
    // What was wished for before is the fewest there may be: nothing but care holds it.
    let mut fewest = ScaleHistory::default();
    fewest.wish(at(BEGIN - 1), 1);
    let idle = load.each(0);
    let missing = || Reading::Missing("nobody answers".to_owned());
    for readings in [vec![], vec![missing()], vec![Reading::Pods(BTreeMap::new())]] {
        let mut view = load.view(&idle, at(BEGIN), &fewest);
        view.readings.clone_from(&readings);
        let n = autoscaler.replicas(&view, at(BEGIN)).replicas;
        assert!(n >= load.current(), "it scales down to {n} by {readings:?}: seed {seed}, {load:?}");
    }
    let mut spec = load.spec.clone();
    spec.metrics.push(MetricSpec::pods("errors", Quantity::from_milli(1)));
    let mut view = load.view(&idle, at(BEGIN), &fewest);
    view.spec = &spec;
    view.readings.push(missing());
    let n = autoscaler.replicas(&view, at(BEGIN)).replicas;
    assert!(n >= load.current(), "it scales down to {n} by one of two metrics: seed {seed}, {load:?}");
}

/// Any pod may have more to do.
pub(super) fn more_load_never_means_fewer_replicas(autoscaler: &dyn Autoscaler, seed: u64) {
    let load = Load::random(seed);
    let less = load.decide(autoscaler, &load.used).replicas;
    let more = load.decide(autoscaler, &load.more).replicas;
    assert!(less <= more, "{less} replicas, and {more} with more load: seed {seed}, {load:?}");
}

/// Twice the target is beyond every tolerance tried.
pub(super) fn twice_the_target_asks_for_more(autoscaler: &dyn Autoscaler, seed: u64) {
    let load = Load::random(seed);
    let (current, n) = (load.current(), load.decide(autoscaler, &load.each(200)).replicas);
    assert!(n > current, "{current} replicas become {n} at twice their target: seed {seed}, {load:?}");
}

/// When the load goes, the replicas stay for the window; when it is over, they go.
pub(super) fn the_window_holds_it_and_only_so_long(autoscaler: &dyn Autoscaler, seed: u64) {
    let load = Load::random(seed);
    let (current, window) = (load.current(), u64::from(load.window));
    let mut history = load.decide(autoscaler, &load.each(100)).history;
    let mut later = |seconds: u64| {
        let now = at(BEGIN + seconds);
        let decision = autoscaler.replicas(&load.view(&load.each(0), now, &history), now);
        history = decision.history;
        decision.replicas
    };
    for seconds in [1.min(window - 1), window / 2, window - 1] {
        let n = later(seconds);
        assert_eq!(
            n, current,
            "it does not wait, {seconds} s in a window of {window}: seed {seed}, {load:?}"
        );
    }
    let n = later(window + 1);
    assert!(n < current, "it stays at {n}, idle for longer than {window} s: seed {seed}, {load:?}");
}
