//! What the pods of a node use, for autoscalers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::traced::Traced;
use crate::controller::MetricsBoard;
use crate::engine::{Cache, Caches, Index, Tasks};
use crate::model::{HorizontalPodAutoscaler, Pod, Quantity, ResourceList, Timestamp, Uid};
use crate::runtime::{ContainerId, ContainerStats, Runtime};

/// Measures what the containers that `runtime` runs use, every `period`, and tells `board`. Nothing is measured
/// while the cluster has no autoscaler.
pub fn measure_usage(
    runtime: Arc<dyn Runtime>,
    caches: &Caches,
    board: MetricsBoard,
    period: Duration,
    tasks: &Tasks,
) {
    let pods = caches.of::<Pod>();
    let forgetting = board.clone();
    pods.on_change(move |change| {
        if change.new.is_none() {
            forgetting.forget_pod(&change.key.namespace, &change.key.name);
        }
    });
    let autoscalers = caches.of::<HorizontalPodAutoscaler>();
    let wanted = Arc::new(Notify::new());
    let waking = Arc::clone(&wanted);
    autoscalers.on_change(move |_| waking.notify_one());
    let by_uid = pods.index(|pod| vec![pod.metadata.uid.clone()]);
    let runtime = Traced::over(runtime);
    let meter = Meter { runtime, autoscalers, wanted, by_uid, board, last: BTreeMap::new() };
    tasks.spawn("usage", meter.run(period));
}

struct Meter {
    runtime: Arc<dyn Runtime>,
    autoscalers: Arc<Cache<HorizontalPodAutoscaler>>,
    wanted: Arc<Notify>,
    by_uid: Index<Pod, Uid>,
    board: MetricsBoard,
    /// The CPU time of each container when it was last read.
    last: BTreeMap<ContainerId, (u64, Timestamp)>,
}

impl Meter {
    async fn run(mut self, period: Duration) {
        loop {
            while self.autoscalers.is_empty() {
                self.last.clear();
                self.wanted.notified().await;
            }
            match self.runtime.stats().await {
                Ok(stats) => self.tell(stats),
                Err(error) => tracing::debug!(%error, "usage was not measured"),
            }
            tokio::time::sleep(period).await;
        }
    }

    fn tell(&mut self, stats: Vec<ContainerStats>) {
        let last = std::mem::take(&mut self.last);
        let mut pods: BTreeMap<Uid, (BTreeMap<String, ResourceList>, Timestamp, Duration)> = BTreeMap::new();
        for container in stats {
            self.last.insert(container.id.clone(), (container.cpu_nanos, container.at));
            let Some((before, since)) = last.get(&container.id) else { continue };
            let window = container.at.since(*since);
            let Some(milli) = milli_cpus(container.cpu_nanos.saturating_sub(*before), window) else {
                continue;
            };
            let memory = i64::try_from(container.memory).unwrap_or(i64::MAX);
            let used = ResourceList::from([
                ("cpu".to_owned(), Quantity::from_milli(milli)),
                ("memory".to_owned(), Quantity::from_bytes(memory)),
            ]);
            let pod =
                pods.entry(container.pod_uid.clone()).or_insert((BTreeMap::new(), container.at, window));
            pod.0.insert(container.name.to_string(), used);
        }
        for (uid, (containers, at, window)) in pods {
            for pod in self.by_uid.get(&uid) {
                let meta = &pod.metadata;
                self.board.pod_usage(&meta.namespace, &meta.name, containers.clone(), at, window);
            }
        }
    }
}

/// CPU time over wall time, in thousandths of a CPU; `None` where no time has passed.
fn milli_cpus(cpu_nanos: u64, window: Duration) -> Option<i64> {
    let milli = (u128::from(cpu_nanos) * 1000).checked_div(window.as_nanos())?;
    i64::try_from(milli).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_cpu_time_over_wall_time() {
        assert_eq!(milli_cpus(500_000_000, Duration::from_secs(1)), Some(500));
        assert_eq!(milli_cpus(3_000_000_000, Duration::from_secs(2)), Some(1500));
        assert_eq!(milli_cpus(1, Duration::ZERO), None);
    }
}
