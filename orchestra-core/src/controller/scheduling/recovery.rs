//! Going on where a decision ended in a panic, and trying pods again by time.

use std::sync::Arc;
use std::time::Duration;

use super::SchedulingLoop;
use super::inbox::Inbox;
use crate::engine::Backoff;
use crate::model::{Pod, Uid};
use crate::scheduler::{Explanation, PodQueue, View};

/// How long a pod waits until it is tried again though nothing changed: what refused it may have been mended outside.
pub(super) const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// The view of a loop that has heard of nothing yet.
pub(super) fn empty_view() -> View {
    let mut view = View::new();
    view.follow_volumes();
    view
}

impl SchedulingLoop {
    /// A scheduler panicked while it decided about so many units. Where it was one, its pods are at fault, and set
    /// aside; where they were more, they are decided about one by one.
    pub(super) async fn panicked(&mut self, name: &str, units: usize, why: String) {
        let waits = |pod: &&Arc<Pod>| !self.nominations.contains(&pod.metadata.uid);
        let taken = self.queues.get(name).into_iter().flat_map(|(_, queue)| queue.all_taken()).filter(waits);
        let pods: Vec<Arc<Pod>> = taken.cloned().collect();
        tracing::error!(scheduler = name, units, why, "a scheduler panicked");
        self.start_over().await;
        if units > 1 {
            self.careful = units;
            return;
        }
        self.careful = self.careful.saturating_sub(1);
        self.hold(name, pods.iter(), &Explanation::note(format!("scheduler {name} {why}"))).await;
    }

    /// Forgets all that is known and decided, and learns what there is: after a panic there may be in the view what was
    /// only tried out, or written nowhere. The caches show every placement before they are read.
    pub(super) async fn start_over(&mut self) {
        while let Err(error) = self.caches.barrier().await {
            tracing::warn!(%error, "the caches can't catch up with the store");
            tokio::time::sleep(BACKOFF.first).await;
        }
        self.inbox = Inbox::following(&self.caches);
        self.view = empty_view();
        self.queues.values_mut().for_each(|(_, queue)| *queue = PodQueue::new());
        self.nominations = super::Nominations::default();
        self.ready.clear();
        self.held_back.clear();
        self.catch_up();
    }

    /// Sets pods aside that no change of the cluster helps, tells them why, and has them tried again after a while.
    pub(super) async fn hold(
        &mut self,
        name: &str,
        pods: impl Iterator<Item = &Arc<Pod>> + Send,
        why: &Explanation,
    ) {
        for pod in pods {
            if let Some((_, queue)) = self.queues.get_mut(name) {
                queue.hold(&pod.metadata.uid, why.clone());
            }
            self.retries.failed(&pod.metadata.uid);
            self.writer.explain(pod, why).await;
        }
    }

    /// Has a pod that was set aside tried again.
    pub(super) fn revive(&mut self, pod: &Uid) {
        if !self.queues.values_mut().any(|(_, queue)| queue.revive(pod)) {
            self.retries.done(pod);
        }
    }
}
