//! Who may work on the runtime's host now.

use std::sync::OnceLock;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Turns to start something and turns to remove something, where the runtime says how many of them at once its host gains
/// by. One kind does not wait for the other: what is to go may free what the next start needs.
#[derive(Debug, Default)]
pub(super) struct Turns(OnceLock<(Semaphore, Semaphore)>);

impl Turns {
    /// Sets how many there are, once; 0: as many as anybody wants, which is so until it is set too.
    pub(super) fn bound(&self, bound: usize) {
        if bound > 0 {
            let turns = || Semaphore::new(bound.min(Semaphore::MAX_PERMITS));
            self.0.get_or_init(|| (turns(), turns()));
        }
    }

    /// Waits for a turn to start something, for as long as the runtime has enough to do.
    pub(super) async fn to_start(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.get()?.0.acquire().await.ok()
    }

    /// Waits for a turn to remove something.
    pub(super) async fn to_remove(&self) -> Option<SemaphorePermit<'_>> {
        self.0.get()?.1.acquire().await.ok()
    }
}
