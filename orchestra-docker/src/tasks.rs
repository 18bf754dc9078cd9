//! Tasks that others wait for, also when whoever began them is not polled any more.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Spawns them where they go on: a cluster that is dropped on the only thread of its tokio runtime keeps that thread until its
/// pods are gone, and for that it waits for what is just being created.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    thread: OnceLock<Option<Thread>>,
}

/// A thread with a tokio runtime, which ends when this is dropped.
#[derive(Debug)]
struct Thread {
    handle: Handle,
    _ends: oneshot::Sender<()>,
}

impl Thread {
    fn start() -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let started = runtime.and_then(|runtime| {
            let (ends, ended) = oneshot::channel::<()>();
            let handle = runtime.handle().clone();
            let thread = std::thread::Builder::new().name("orchestra-docker".to_owned());
            // It ends with its sender.
            thread.spawn(move || runtime.block_on(async { drop(ended.await) }))?;
            Ok(Self { handle, _ends: ends })
        });
        started
            .inspect_err(|error| tracing::warn!(%error, "there is no thread for what containers are made by"))
            .ok()
    }
}

impl Tasks {
    /// Spawns a task on the caller's tokio runtime, or, where that has one thread, on one of our own.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let thread = match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => self.thread.get_or_init(Thread::start).as_ref(),
            _ => None,
        };
        match thread {
            Some(thread) => self.tracker.spawn_on(work, &thread.handle),
            None => self.tracker.spawn(work),
        }
    }

    /// Where tasks are spawned that nobody waits for.
    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_task_goes_on_while_the_only_thread_waits() {
        let tasks = Tasks::default();
        let (done, is_done) = mpsc::channel();
        let task = tasks.spawn(async move {
            tokio::task::yield_now().await;
            done.send(std::thread::current().id()).unwrap();
        });
        // This blocks the runtime of the test.
        let thread = is_done.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_ne!(thread, std::thread::current().id());
        task.await.unwrap();
    }
}
