//! Scaling by what is measured.

mod metrics;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

pub use metrics::{MetricQuery, MetricsBoard, MetricsSource};

use super::workload::{WorkloadIndexes, is_held_back};
use crate::autoscale::{Autoscaler, PodSample, ScaleDecision, ScaleHistory, ScaleStatus, ScaleView};
use crate::client::Client;
use crate::engine::{Cache, Caches, Controller, Next, ReconcileError, Reconciler, Recorder, Tasks};
use crate::model::{
    Condition, ContainerResourceMetricStatus, EventType, ExternalMetricStatus, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerStatus, MetricSourceType, MetricSpec, MetricStatus, MetricValueStatus, ObjectKey,
    ObjectMetricStatus, Pod, PodsMetricStatus, ResourceMetricStatus, Timestamp, Uid,
};
use crate::rng::Rng;
use target::Target;

/// How the autoscaler controller works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AutoscalerOptions {
    /// How often each autoscaler looks: Kubernetes' 15 s unless told otherwise. Its windows and policies count in
    /// seconds, not in looks.
    pub period: Duration,
}

impl Default for AutoscalerOptions {
    fn default() -> Self {
        Self { period: Duration::from_secs(15) }
    }
}

impl AutoscalerOptions {
    /// Sets how often each autoscaler looks.
    #[must_use]
    pub fn with_period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }
}

/// Sets the number of replicas of what each HorizontalPodAutoscaler names.
#[derive(Debug)]
pub struct AutoscalerController {
    options: AutoscalerOptions,
    autoscaler: Arc<dyn Autoscaler>,
    metrics: Arc<dyn MetricsSource>,
    indexes: WorkloadIndexes,
    autoscalers: Arc<Cache<HorizontalPodAutoscaler>>,
    recorder: Recorder,
    /// What each autoscaler remembers. It is lost with the process: then what is there counts as what was wished for,
    /// so nothing is scaled down before the window has passed again.
    histories: Mutex<BTreeMap<ObjectKey, (Uid, ScaleHistory)>>,
}

/// What the controller decides by.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// Decides how many replicas there shall be.
    pub autoscaler: Arc<dyn Autoscaler>,
    /// Measures what it decides by.
    pub metrics: Arc<dyn MetricsSource>,
    /// How often.
    pub options: AutoscalerOptions,
}

impl AutoscalerController {
    /// Starts the controller in `tasks`.
    pub fn start(
        scaling: Scaling,
        indexes: &WorkloadIndexes,
        client: &Client,
        caches: &Caches,
        recorder: &Recorder,
        rng: &Rng,
        tasks: &Tasks,
    ) {
        let reconciler = Self {
            options: scaling.options,
            autoscaler: scaling.autoscaler,
            metrics: scaling.metrics,
            indexes: indexes.clone(),
            autoscalers: caches.of(),
            recorder: recorder.component("horizontal-pod-autoscaler"),
            histories: Mutex::default(),
        };
        Controller::new("autoscaler", client, caches, rng)
            .on_desired::<HorizontalPodAutoscaler>()
            .start(reconciler, tasks);
    }

    fn histories(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, (Uid, ScaleHistory)>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Reconciler for AutoscalerController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(object) = self.autoscalers.get(key).filter(|a| !a.metadata.is_deleting()) else {
            self.histories().remove(key);
            return Ok(Next::OnChange);
        };
        let client = client.namespace(Arc::clone(&key.namespace));
        let now = client.clock().now();
        let (status, again) = match Target::find(&self.indexes, &key.namespace, &object.spec.scale_target_ref)
        {
            Ok(target) => self.scale(&client, key, &object, &target, now).await?,
            Err(why) => {
                let failed = ScaleStatus::new(false, "FailedGetScale", why);
                (with_conditions(&object, &[("AbleToScale", &failed)], now), self.options.period)
            }
        };
        if status != object.status {
            client.update_status(HorizontalPodAutoscaler { status, ..(*object).clone() }).await?;
        }
        Ok(Next::After(again))
    }
}

impl AutoscalerController {
    /// Measures, decides, scales. Answers the status that follows, and when to look again.
    async fn scale(
        &self,
        client: &Client,
        key: &ObjectKey,
        object: &HorizontalPodAutoscaler,
        target: &Target,
        now: Timestamp,
    ) -> Result<(HorizontalPodAutoscalerStatus, Duration), ReconcileError> {
        let pods = target.pods(&self.indexes);
        let mut readings = Vec::with_capacity(object.spec.metrics.len());
        for metric in &object.spec.metrics {
            let query = MetricQuery { namespace: &key.namespace, metric, pods: &pods, now };
            readings.push(self.metrics.measure(&query).await);
        }
        let name = format!("{}/{}", key.namespace, key.name);
        let history = self.histories().get(key).filter(|(uid, _)| *uid == object.metadata.uid).cloned();
        let mut view = ScaleView::new(&name, &object.spec, target.replicas());
        view.pods = pods.iter().map(|pod| sample(pod)).collect();
        view.readings = readings;
        view.history = history.map(|(_, history)| history).unwrap_or_default();
        let mut decision = tracing::debug_span!("autoscale", autoscaler = %key)
            .in_scope(|| self.autoscaler.replicas(&view, now));
        let scaled = decision.replicas != view.current;
        if scaled {
            target.scale(client, decision.replicas).await?;
            let message = format!("New size: {}; reason: {}", decision.replicas, decision.cause);
            decision.able = ScaleStatus::new(true, "SucceededRescale", message.as_str());
            self.recorder.event(&**client.clock(), object, EventType::Normal, "SuccessfulRescale", message);
        }
        let history = (object.metadata.uid.clone(), std::mem::take(&mut decision.history));
        self.histories().insert(key.clone(), history);
        Ok((status(object, target, &decision, scaled, now), self.options.period))
    }
}

/// A pod, as the autoscaler is shown it.
fn sample(pod: &Arc<Pod>) -> PodSample<'_> {
    let created = pod.metadata.creation_timestamp.unwrap_or(Timestamp::EPOCH);
    let mut sample = PodSample::pending(&pod.metadata.name, created);
    sample.started_at = pod.status.start_time;
    sample.ready = pod.is_ready();
    sample.ready_changed_at = pod.condition("Ready").and_then(|c| c.last_transition_time);
    sample.ignored = pod.is_terminal() || pod.is_terminating() || is_held_back(pod);
    sample
}

fn status(
    object: &HorizontalPodAutoscaler,
    target: &Target,
    decision: &ScaleDecision,
    scaled: bool,
    now: Timestamp,
) -> HorizontalPodAutoscalerStatus {
    let conditions = [
        ("AbleToScale", &decision.able),
        ("ScalingActive", &decision.active),
        ("ScalingLimited", &decision.limited),
    ];
    let mut status = with_conditions(object, &conditions, now);
    status.current_replicas = target.observed();
    status.desired_replicas = decision.replicas;
    if scaled {
        status.last_scale_time = Some(now);
    }
    let values = object.spec.metrics.iter().zip(&decision.current);
    status.current_metrics = values.filter_map(|(metric, value)| current(metric, value.clone()?)).collect();
    status
}

fn with_conditions(
    object: &HorizontalPodAutoscaler,
    conditions: &[(&str, &ScaleStatus)],
    now: Timestamp,
) -> HorizontalPodAutoscalerStatus {
    let mut status = object.status.clone();
    status.observed_generation = object.metadata.generation;
    for (name, says) in conditions {
        let condition = Condition::new(*name, says.holds, now)
            .reason(says.reason.as_ref())
            .message(says.message.as_str());
        condition.set_in(&mut status.conditions);
    }
    status
}

/// What was measured, in the form of the metric that it was measured for.
fn current(metric: &MetricSpec, current: MetricValueStatus) -> Option<MetricStatus> {
    let mut status = MetricStatus { type_: metric.type_, ..MetricStatus::default() };
    match metric.type_ {
        MetricSourceType::Resource => {
            let name = metric.resource.as_ref()?.name.clone();
            status.resource = Some(ResourceMetricStatus { name, current, ..ResourceMetricStatus::default() });
        }
        MetricSourceType::ContainerResource => {
            let source = metric.container_resource.as_ref()?;
            let (name, container) = (source.name.clone(), source.container.clone());
            let part = ContainerResourceMetricStatus { name, container, current, ..Default::default() };
            status.container_resource = Some(part);
        }
        MetricSourceType::Pods => {
            let metric = metric.pods.as_ref()?.metric.clone();
            status.pods = Some(PodsMetricStatus { metric, current, ..PodsMetricStatus::default() });
        }
        MetricSourceType::Object => {
            let source = metric.object.as_ref()?;
            let (described_object, metric) = (source.described_object.clone(), source.metric.clone());
            status.object =
                Some(ObjectMetricStatus { described_object, metric, current, ..Default::default() });
        }
        MetricSourceType::External => {
            let metric = metric.external.as_ref()?.metric.clone();
            status.external =
                Some(ExternalMetricStatus { metric, current, ..ExternalMetricStatus::default() });
        }
    }
    Some(status)
}
