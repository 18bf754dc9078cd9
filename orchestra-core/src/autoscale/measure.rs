//! From one metric's measurements to a number of replicas.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use super::ratio::{Ratio, Tolerance};
use super::{PodSample, Reading, Sample, ScaleView};
use crate::model::{
    MetricSourceType, MetricSpec, MetricTarget, MetricTargetType, MetricValueStatus, Quantity, Timestamp,
};

/// How long after its start a pod's CPU may be that of its start: Kubernetes' default.
const INITIALIZATION: Duration = Duration::from_secs(300);
/// How soon after its start a pod that is not ready was never ready: Kubernetes' default.
const INITIAL_READINESS: Duration = Duration::from_secs(30);

/// What one metric asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: u32,
    /// The metric, in words.
    pub(super) name: String,
    pub(super) current: MetricValueStatus,
}

/// What `metric` asks for; where it can't be told, the reason as one word, and in words.
pub(super) fn propose(
    view: &ScaleView<'_>,
    metric: &MetricSpec,
    reading: Option<&Reading>,
    tolerance: Tolerance,
    now: Timestamp,
) -> Result<Proposal, (&'static str, String)> {
    let (reason, name, target) = describe(metric);
    let fail = |why: &str| (reason, format!("{name}: {why}"));
    let target = target.ok_or_else(|| fail("its part of the metric is missing in the spec"))?;
    match reading {
        None => Err(fail("it was not measured")),
        Some(Reading::Missing(why)) => Err(fail(why)),
        Some(Reading::Pods(samples)) => {
            let measured = Measured::of(view, samples, now);
            if measured.ready.is_empty() {
                return Err(fail("no ready pod was measured"));
            }
            let scale = Scale::of(target).ok_or_else(|| fail("its target is missing or not positive"))?;
            let (replicas, current) = measured.replicas(view, scale, tolerance).map_err(|why| fail(&why))?;
            Ok(Proposal { replicas, name, current })
        }
        Some(Reading::Whole(value)) => {
            let (replicas, current) = whole(view, *value, target, tolerance)
                .ok_or_else(|| fail("its target is missing or not positive"))?;
            Ok(Proposal { replicas, name, current })
        }
    }
}

fn describe(metric: &MetricSpec) -> (&'static str, String, Option<&MetricTarget>) {
    match metric.type_ {
        MetricSourceType::Resource => {
            let part = metric.resource.as_ref();
            let name = part.map_or("", |p| &p.name);
            ("FailedGetResourceMetric", format!("{name} of the pods"), part.map(|p| &p.target))
        }
        MetricSourceType::ContainerResource => {
            let part = metric.container_resource.as_ref();
            let name =
                part.map(|p| format!("{} of the container {}", p.name, p.container)).unwrap_or_default();
            ("FailedGetContainerResourceMetric", name, part.map(|p| &p.target))
        }
        MetricSourceType::Pods => {
            let part = metric.pods.as_ref();
            let name = part.map_or("", |p| &p.metric.name);
            ("FailedGetPodsMetric", format!("metric {name} of the pods"), part.map(|p| &p.target))
        }
        MetricSourceType::Object => {
            let part = metric.object.as_ref();
            let name = part.map(|p| {
                format!("metric {} of {} {}", p.metric.name, p.described_object.kind, p.described_object.name)
            });
            ("FailedGetObjectMetric", name.unwrap_or_default(), part.map(|p| &p.target))
        }
        MetricSourceType::External => {
            let part = metric.external.as_ref();
            let name = part.map_or("", |p| &p.metric.name);
            ("FailedGetExternalMetric", format!("external metric {name}"), part.map(|p| &p.target))
        }
    }
}

/// What a metric of pods is compared with.
#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Hundredths of what the pods request.
    Utilization(i128),
    /// Thousandths of a unit for each pod.
    Average(i128),
}

impl Scale {
    fn of(target: &MetricTarget) -> Option<Self> {
        match target.type_ {
            MetricTargetType::Utilization => target.average_utilization.map(|n| Self::Utilization(n.into())),
            MetricTargetType::AverageValue => target.average_value.map(|q| Self::Average(q.milli().into())),
            MetricTargetType::Value => None,
        }
        .filter(|scale| matches!(scale, Self::Utilization(n) | Self::Average(n) if *n > 0))
    }
}

/// The pods that count, by what is known of them.
#[derive(Debug)]
struct Measured<'v> {
    /// Ready and measured.
    ready: Vec<&'v Sample>,
    /// Measured, but not ready yet: what they use is the start, not the load.
    starting: usize,
    /// Ready, or ready once, but not measured.
    missing: usize,
}

impl<'v> Measured<'v> {
    fn of(view: &ScaleView<'_>, samples: &'v BTreeMap<String, Sample>, now: Timestamp) -> Self {
        let mut measured = Self { ready: Vec::new(), starting: 0, missing: 0 };
        for pod in view.counted() {
            match samples.get(pod.name) {
                _ if pod.started_at.is_none() => measured.starting += 1,
                None => measured.missing += 1,
                Some(sample) if is_starting(pod, sample, now) => measured.starting += 1,
                Some(sample) => measured.ready.push(sample),
            }
        }
        measured
    }

    /// The number of replicas, and the average that it follows from.
    fn replicas(
        &self,
        view: &ScaleView<'_>,
        scale: Scale,
        tolerance: Tolerance,
    ) -> Result<(u32, MetricValueStatus), String> {
        let current = view.current;
        let (first, status) = self.ratio(scale, None)?;
        let up = first.direction() == Ordering::Greater;
        let rebalance = (up && self.starting > 0) || self.missing > 0;
        if !rebalance {
            let replicas = if first.within(tolerance) { current } else { first.times(self.ready.len()) };
            return Ok((towards(first, replicas, current), status));
        }
        // Those of which nothing is known are taken for whatever keeps the change small.
        let assumed = match first.direction() {
            Ordering::Greater => Assumed { share: 0, starting: true },
            Ordering::Less => Assumed { share: 100, starting: false },
            Ordering::Equal => return Ok((current, status)),
        };
        let (second, _) = self.ratio(scale, Some(assumed))?;
        if second.within(tolerance) || second.direction() == first.direction().reverse() {
            return Ok((current, status));
        }
        let counted = self.ready.len() + self.missing + if assumed.starting { self.starting } else { 0 };
        Ok((towards(second, second.times(counted), current), status))
    }

    fn ratio(&self, scale: Scale, assumed: Option<Assumed>) -> Result<(Ratio, MetricValueStatus), String> {
        let milli = |q: Quantity| i128::from(q.milli());
        let used: i128 = self.ready.iter().map(|s| milli(s.value)).sum();
        let ready = i128::try_from(self.ready.len()).unwrap_or(i128::MAX);
        let extra = assumed.map_or(0, |a| self.missing + if a.starting { self.starting } else { 0 });
        let extra = i128::try_from(extra).unwrap_or(i128::MAX);
        let share = assumed.map_or(0, |a| a.share);
        let average = Quantity::from_milli(i64::try_from(used / ready.max(1)).unwrap_or(i64::MAX));
        let mut status = MetricValueStatus { average_value: Some(average), ..MetricValueStatus::default() };
        let ratio = match scale {
            Scale::Average(target) => {
                Ratio::new((used + extra * target * share / 100) / (ready + extra).max(1), target)
            }
            Scale::Utilization(target) => {
                let requests = self.ready.iter().map(|s| s.request.map(milli).filter(|n| *n > 0));
                let requested: Option<i128> = requests.sum();
                let requested =
                    requested.ok_or("a pod requests nothing of it, so there is no utilization")?;
                status.average_utilization = u32::try_from(used * 100 / requested.max(1)).ok();
                // A pod that wasn't measured requests what the others do, on average.
                let other = requested / ready.max(1);
                let extra: i128 = extra * other;
                let used = used + extra * share.max(if share > 0 { target } else { 0 }) / 100;
                Ratio::new(used * 100 / (requested + extra).max(1), target)
            }
        };
        Ok((ratio.ok_or("its target is not positive")?, status))
    }
}

/// What is assumed of pods of which nothing is known.
#[derive(Clone, Copy, Debug)]
struct Assumed {
    /// That they use so many hundredths of their request or of the target.
    share: i128,
    /// Whether that goes for those that are starting, too; otherwise they are left out.
    starting: bool,
}

/// Whether what was measured of the pod is its start: Kubernetes' rule for CPU, taken for all metrics.
fn is_starting(pod: &PodSample<'_>, sample: &Sample, now: Timestamp) -> bool {
    let Some(started) = pod.started_at else { return true };
    let changed = pod.ready_changed_at.unwrap_or(started);
    if now < started + INITIALIZATION {
        !pod.ready || sample.at - sample.window < changed
    } else {
        !pod.ready && changed < started + INITIAL_READINESS
    }
}

/// Never against the direction that the ratio points in.
fn towards(ratio: Ratio, replicas: u32, current: u32) -> u32 {
    match ratio.direction() {
        Ordering::Greater => replicas.max(current),
        Ordering::Less => replicas.min(current),
        Ordering::Equal => current,
    }
}

/// The number of replicas by a measurement that is not of the pods.
fn whole(
    view: &ScaleView<'_>,
    value: Quantity,
    target: &MetricTarget,
    tolerance: Tolerance,
) -> Option<(u32, MetricValueStatus)> {
    let is = i128::from(value.milli());
    let current = view.current;
    let mut status = MetricValueStatus::default();
    let (ratio, replicas) = match target.type_ {
        MetricTargetType::AverageValue => {
            let shall = i128::from(target.average_value?.milli());
            let each = i64::try_from(is / i128::from(current.max(1))).unwrap_or(i64::MAX);
            status.average_value = Some(Quantity::from_milli(each));
            (Ratio::new(is, shall * i128::from(current.max(1)))?, Ratio::new(is, shall)?.times(1))
        }
        MetricTargetType::Value | MetricTargetType::Utilization => {
            let ratio = Ratio::new(is, i128::from(target.value?.milli()))?;
            status.value = Some(value);
            let ready = view.counted().iter().filter(|pod| pod.ready).count();
            (ratio, ratio.times(if current == 0 { 1 } else { ready }))
        }
    };
    if current == 0 {
        return Some((replicas, status));
    }
    let replicas = if ratio.within(tolerance) { current } else { towards(ratio, replicas, current) };
    Some((replicas, status))
}
