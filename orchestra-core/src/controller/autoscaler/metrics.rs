//! Where an autoscaler's measurements come from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::autoscale::{Reading, Sample};
use crate::model::{MetricIdentifier, MetricSourceType, MetricSpec, Pod, Quantity, ResourceList, Timestamp};

/// What is to be measured.
#[derive(Debug)]
#[non_exhaustive]
pub struct MetricQuery<'a> {
    /// The namespace of the autoscaler and of the pods.
    pub namespace: &'a str,
    /// Which measurement.
    pub metric: &'a MetricSpec,
    /// The pods of the target.
    pub pods: &'a [Arc<Pod>],
    /// The time now.
    pub now: Timestamp,
}

/// Measures what autoscalers ask for.
///
/// # Contract
/// Answers soon (an autoscaler waits for it), with what was measured lately; what could not be measured is
/// [`Reading::Missing`], and a pod that was not is left out. Never invents a number: a missing one is safe, a wrong
/// one is not. May be called at once from several tasks.
#[async_trait]
pub trait MetricsSource: fmt::Debug + Send + Sync + 'static {
    /// What was measured.
    async fn measure(&self, query: &MetricQuery<'_>) -> Reading;
}

const _: fn(&dyn MetricsSource) = |_| {};

/// How old a measurement may be to be believed: twice Kubernetes' default window between two of them.
const MAX_AGE: Duration = Duration::from_secs(120);

/// How many pods' measurements are held; beyond it those not renewed lately are dropped first, then new ones refused.
const MAX_PODS: usize = 100_000;

/// The measurements of one pod.
#[derive(Clone, Debug, Default)]
struct PodMetrics {
    /// CPU and memory of each container.
    containers: BTreeMap<String, ResourceList>,
    at: Timestamp,
    window: Duration,
}

type Gauge = Arc<dyn Fn() -> Option<Quantity> + Send + Sync>;
type PodGauge = Arc<dyn Fn(&Pod) -> Option<Quantity> + Send + Sync>;

#[derive(Default)]
struct Board {
    /// By namespace and name.
    pods: BTreeMap<(String, String), PodMetrics>,
    values: BTreeMap<String, Gauge>,
    pod_values: BTreeMap<String, PodGauge>,
}

/// A [`MetricsSource`] that is told: by node agents what containers use, by the application all else. A clone is
/// another handle to the same.
///
/// ```
/// use orchestra_core::controller::MetricsBoard;
/// use orchestra_core::model::Quantity;
///
/// let board = MetricsBoard::new();
/// board.value("queue-length", || Some(Quantity::from_units(12)));
/// ```
#[derive(Clone, Default)]
pub struct MetricsBoard(Arc<RwLock<Board>>);

impl fmt::Debug for MetricsBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsBoard")
    }
}

impl MetricsBoard {
    /// A board without measurements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Board> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the containers of a pod used, on average over the `window` until `at`: `cpu` in CPUs, `memory` in bytes.
    pub fn pod_usage(
        &self,
        namespace: &str,
        pod: &str,
        containers: BTreeMap<String, ResourceList>,
        at: Timestamp,
        window: Duration,
    ) {
        let mut board = self.write();
        let key = (namespace.to_owned(), pod.to_owned());
        if board.pods.len() >= MAX_PODS && !board.pods.contains_key(&key) {
            board.pods.retain(|_, metrics| at.since(metrics.at) < MAX_AGE);
            if board.pods.len() >= MAX_PODS {
                return;
            }
        }
        let metrics = board.pods.entry(key).or_default();
        (metrics.containers, metrics.at, metrics.window) = (containers, at, window);
    }

    /// A pod is gone.
    pub fn forget_pod(&self, namespace: &str, pod: &str) {
        self.write().pods.remove(&(namespace.to_owned(), pod.to_owned()));
    }

    /// Measures `name` by calling `gauge`, for metrics of the types `External` and `Object`.
    pub fn value(
        &self,
        name: impl Into<String>,
        gauge: impl Fn() -> Option<Quantity> + Send + Sync + 'static,
    ) {
        self.write().values.insert(name.into(), Arc::new(gauge));
    }

    /// Measures `name` of each pod by calling `gauge`, for metrics of the type `Pods`.
    pub fn pod_value(
        &self,
        name: impl Into<String>,
        gauge: impl Fn(&Pod) -> Option<Quantity> + Send + Sync + 'static,
    ) {
        self.write().pod_values.insert(name.into(), Arc::new(gauge));
    }

    fn whole(&self, metric: Option<&MetricIdentifier>) -> Reading {
        let Some(metric) = metric else { return Reading::Missing("the metric is not named".to_owned()) };
        let gauge = self.0.read().unwrap_or_else(PoisonError::into_inner).values.get(&metric.name).cloned();
        match gauge.map(|gauge| gauge()) {
            Some(Some(value)) => Reading::Whole(value),
            Some(None) => Reading::Missing("it has no value now".to_owned()),
            None => Reading::Missing("nothing measures it".to_owned()),
        }
    }

    fn custom(&self, query: &MetricQuery<'_>, metric: &MetricIdentifier) -> Reading {
        let gauge =
            self.0.read().unwrap_or_else(PoisonError::into_inner).pod_values.get(&metric.name).cloned();
        let Some(gauge) = gauge else { return Reading::Missing("nothing measures it".to_owned()) };
        let sample = |pod: &Arc<Pod>| {
            let value = gauge(pod)?;
            Some((pod.metadata.name.clone(), Sample { value, at: query.now, ..Sample::default() }))
        };
        Reading::Pods(query.pods.iter().filter_map(sample).collect())
    }

    /// A resource of each pod: of one of its containers, or of all of them.
    fn resource(&self, query: &MetricQuery<'_>, resource: &str, container: Option<&str>) -> Reading {
        let board = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let sample = |pod: &Arc<Pod>| {
            let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
            let metrics = board.pods.get(&key).filter(|m| query.now.since(m.at) < MAX_AGE)?;
            let chosen = metrics.containers.iter().filter(|(name, _)| container.is_none_or(|c| c == *name));
            let used: Vec<Quantity> = chosen.filter_map(|(_, used)| used.get(resource).copied()).collect();
            let value = (!used.is_empty()).then(|| used.into_iter().sum())?;
            let request = request(pod, resource, container);
            Some((
                pod.metadata.name.clone(),
                Sample { value, request, at: metrics.at, window: metrics.window },
            ))
        };
        Reading::Pods(query.pods.iter().filter_map(sample).collect())
    }
}

/// What a pod, or one of its containers, requests.
fn request(pod: &Pod, resource: &str, container: Option<&str>) -> Option<Quantity> {
    match container {
        Some(name) => pod.spec.container(name)?.resources.requests.get(resource).copied(),
        None => pod.spec.requests().get(resource).copied(),
    }
}

#[async_trait]
impl MetricsSource for MetricsBoard {
    async fn measure(&self, query: &MetricQuery<'_>) -> Reading {
        let metric = query.metric;
        let missing = || Reading::Missing("its part of the metric is missing in the spec".to_owned());
        match metric.type_ {
            MetricSourceType::Resource => {
                metric.resource.as_ref().map_or_else(missing, |m| self.resource(query, &m.name, None))
            }
            MetricSourceType::ContainerResource => metric
                .container_resource
                .as_ref()
                .map_or_else(missing, |m| self.resource(query, &m.name, Some(&m.container))),
            MetricSourceType::Pods => {
                metric.pods.as_ref().map_or_else(missing, |m| self.custom(query, &m.metric))
            }
            MetricSourceType::Object => self.whole(metric.object.as_ref().map(|m| &m.metric)),
            MetricSourceType::External => self.whole(metric.external.as_ref().map(|m| &m.metric)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Container, MetricTarget, PodSpec};

    #[tokio::test]
    async fn usage_is_summed_and_grows_stale() {
        let board = MetricsBoard::new();
        let at = Timestamp::from_micros(1_000_000_000);
        let spec = PodSpec::new(Container::new("app", "a").request("cpu", "500m"))
            .with_container(Container::new("log", "b").request("cpu", "100m"));
        let pod = Arc::new(Pod::new("web-1").namespace("shop").spec(spec));
        let used = |cpu: i64| ResourceList::from([("cpu".to_owned(), Quantity::from_milli(cpu))]);
        let containers = BTreeMap::from([("app".to_owned(), used(300)), ("log".to_owned(), used(60))]);
        board.pod_usage("shop", "web-1", containers, at, Duration::from_secs(10));
        let measure = |metric: MetricSpec, now| {
            let (board, pods) = (board.clone(), [Arc::clone(&pod)]);
            async move {
                board.measure(&MetricQuery { namespace: "shop", metric: &metric, pods: &pods, now }).await
            }
        };
        let cpu = MetricSpec::resource("cpu", MetricTarget::utilization(50));
        let Reading::Pods(samples) = measure(cpu.clone(), at).await else { panic!("no pods") };
        assert_eq!(samples["web-1"].value, Quantity::from_milli(360));
        assert_eq!(samples["web-1"].request, Some(Quantity::from_milli(600)));
        let Reading::Pods(samples) = measure(cpu, at + MAX_AGE).await else { panic!("no pods") };
        assert!(samples.is_empty(), "too old to be believed");
        let queue = MetricSpec::external("queue", MetricTarget::value(Quantity::from_units(1)));
        assert_eq!(measure(queue.clone(), at).await, Reading::Missing("nothing measures it".to_owned()));
        board.value("queue", || Some(Quantity::from_units(7)));
        assert_eq!(measure(queue, at).await, Reading::Whole(Quantity::from_units(7)));
    }
}
