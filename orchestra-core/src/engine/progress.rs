//! A revision that only grows, and those who wait for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::Revision;

/// How far something has got. A clone is another handle to the same.
///
/// Unlike tokio's `watch` it wakes those who wait in the order in which they came, so that one seed gives one
/// history in a simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    seen: Mutex<Option<Revision>>,
    grown: Notify,
}

impl Progress {
    /// How far it is; `None`: it has not begun.
    pub(crate) fn get(&self) -> Option<Revision> {
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is at `revision`, or was further already.
    pub(crate) fn reach(&self, revision: Revision) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (*seen).max(Some(revision));
        drop(seen);
        self.0.grown.notify_waiters();
    }

    /// Waits until it is at `revision`.
    pub(crate) async fn wait_for(&self, revision: Revision) {
        loop {
            // Made before the look, so that what is reached in between wakes it.
            let grown = self.0.grown.notified();
            if self.get() >= Some(revision) {
                return;
            }
            grown.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Tasks;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (progress, tasks) = (Progress::default(), Tasks::new());
        let order = Arc::new(Mutex::new(Vec::new()));
        for i in 0..20 {
            let (progress, order) = (progress.clone(), Arc::clone(&order));
            tasks.spawn("waits", async move {
                progress.wait_for(Revision(2)).await;
                order.lock().unwrap().push(i);
            });
        }
        tokio::task::yield_now().await;
        progress.reach(Revision(1));
        tokio::task::yield_now().await;
        assert!(order.lock().unwrap().is_empty());
        progress.reach(Revision(3));
        progress.reach(Revision(2));
        assert_eq!(progress.get(), Some(Revision(3)));
        tokio::task::yield_now().await;
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
        tasks.shutdown().await;
    }
}
