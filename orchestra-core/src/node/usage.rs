//! What the pods of a node use, for autoscalers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::access::NodeHandle;
use super::agent::Shared;
use crate::controller::MetricsBoard;
use crate::engine::Caches;
use crate::model::{HorizontalPodAutoscaler, Pod, Quantity, ResourceList, Timestamp, Uid};
use crate::runtime::{ContainerId, ContainerStats};

/// Measures what the pods of this process's nodes use, for as long as the cluster has an autoscaler.
///
/// Share one between all agents of a process: it keeps one listener whatever their number.
#[derive(Clone, Debug)]
pub struct UsageMeter {
    board: MetricsBoard,
    period: Duration,
    /// Whether there is an autoscaler.
    wanted: watch::Receiver<bool>,
}

impl UsageMeter {
    /// A meter that reads every `period`, and tells `board`. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(caches: &Caches, board: MetricsBoard, period: Duration) -> Self {
        let forgetting = board.clone();
        caches.of::<Pod>().on_change(move |change| {
            if change.new.is_none() {
                forgetting.forget_pod(&change.key.namespace, &change.key.name);
            }
        });
        let (wants, wanted) = watch::channel(false);
        let autoscalers = caches.of::<HorizontalPodAutoscaler>();
        let counted = Arc::downgrade(&autoscalers);
        autoscalers.on_change(move |_| {
            let any = counted.upgrade().is_some_and(|autoscalers| !autoscalers.is_empty());
            wants.send_if_modified(|wanted| std::mem::replace(wanted, any) != any);
        });
        Self { board, period, wanted }
    }

    /// Measures the pods of a node, until its agent ends.
    pub fn measure(&self, node: &NodeHandle) {
        let node = Arc::clone(&node.shared);
        let tasks = node.tasks.clone();
        let reading = Reading { node, meter: self.clone(), last: BTreeMap::new() };
        tasks.spawn("usage", reading.run());
    }
}

struct Reading {
    node: Arc<Shared>,
    meter: UsageMeter,
    /// The CPU time of each container when it was last read.
    last: BTreeMap<ContainerId, (u64, Timestamp)>,
}

impl Reading {
    async fn run(mut self) {
        loop {
            if !*self.meter.wanted.borrow() {
                self.last.clear();
            }
            // The caches have ended, and with them the cluster.
            let Ok(_) = self.meter.wanted.wait_for(|wanted| *wanted).await else { return };
            match self.node.runtime.stats().await {
                Ok(stats) => self.tell(stats),
                Err(error) => tracing::debug!(node = %self.node.node, %error, "usage was not measured"),
            }
            tokio::time::sleep(self.meter.period).await;
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
        let slots = self.node.lock();
        for (uid, (containers, at, window)) in pods {
            if let Some(pod) = slots.get(&uid).and_then(|slot| slot.pod.as_ref()) {
                let meta = &pod.metadata;
                self.meter.board.pod_usage(&meta.namespace, &meta.name, containers, at, window);
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
