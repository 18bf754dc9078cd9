//! Tasks that end together.

use std::future::Future;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A group of tasks: started through it, told to end by it, and awaited by it.
///
/// Clones are the same group. A [`child`](Self::child) is told to end with its parent, or before it.
/// Nothing in Orchestra spawns a task outside of such a group.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), cancel: CancellationToken::new() }
    }

    /// A group that ends with this one at the latest.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), cancel: self.cancel.child_token() }
    }

    /// Starts a task, named in its span. It is dropped at its next await once the group is told to end.
    pub fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.track(name, ends_with(self.cancel.clone(), Box::pin(task)))
    }

    /// Starts a task that looks at [`cancelled`](Self::cancelled) itself and ends in its own time.
    pub fn spawn_graceful(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let task: BoxFuture<'static, ()> = Box::pin(task);
        self.track(name, task)
    }

    /// Callers box their futures: what tokio has for a task is some 8 KB of program for each type of future.
    #[allow(clippy::disallowed_methods, reason = "this is the tracker that spawning goes through")]
    fn track(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.tracker.spawn(task.instrument(tracing::debug_span!("task", name)))
    }

    /// Resolves when the group is told to end.
    pub fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.cancel.clone().cancelled_owned()
    }

    /// Whether the group was told to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Tells the group to end, without waiting.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Tells the group to end and waits until all its tasks have.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Drops `task` at its next await once `cancel` says so.
async fn ends_with(cancel: CancellationToken, task: BoxFuture<'static, ()>) {
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = task => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_all_and_children_end_with_their_parent() {
        let tasks = Tasks::new();
        let child = tasks.child();
        tasks.spawn("endless", std::future::pending());
        let cancelled = child.cancelled();
        let handle = child.spawn_graceful("graceful", cancelled);
        tasks.shutdown().await;
        child.shutdown().await;
        assert!(handle.is_finished());
        assert!(child.is_cancelled());
    }
}
