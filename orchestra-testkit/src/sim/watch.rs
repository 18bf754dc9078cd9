//! A watch over a bad line: late, broken, or silent for a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use orchestra_core::model::Revision;
use orchestra_core::store::{Scope, StoreError, Watch, WatchEvent};
use tokio::sync::Notify;

use super::Mutant;
use super::store::{FaultyStore, broken};

/// How late an event comes at most, when the line is slow.
const LATE: Duration = Duration::from_secs(1);

/// One watch of one process.
///
/// It asks the store's own watch after every commit, in the order in which watches were begun. The store's own
/// wake-up is not used: its order is not the same in every run.
pub(super) struct Follower {
    store: FaultyStore,
    scope: Scope,
    number: u64,
    inner: Watch,
    wake: Arc<Notify>,
    /// A mutant's event that is to come again.
    again: Option<WatchEvent>,
}

impl Follower {
    pub(super) fn new(store: &FaultyStore, scope: &Scope, after: Revision, inner: Watch) -> Self {
        let number = store.world.watching(scope, after);
        let wake = store.world.wakes(scope);
        Self { store: store.clone(), scope: scope.clone(), number, inner, wake, again: None }
    }

    pub(super) fn into_watch(self) -> Watch {
        Watch::new(futures_util::stream::unfold(Some(self), |follower| async {
            let mut follower = follower?;
            match follower.next().await? {
                Ok(event) => Some((Ok(event), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    async fn next(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        let world = Arc::clone(&self.store.world);
        loop {
            let event = match self.again.take() {
                Some(event) => event,
                None => match self.wait().await? {
                    Ok(event) => event,
                    Err(error) => return Some(Err(error)),
                },
            };
            for _ in 0..world.rng.below(3) {
                tokio::task::yield_now().await;
            }
            if world.strikes(world.options.faults.watch_late) {
                tokio::time::sleep(world.up_to(LATE)).await;
            }
            self.store.process.thaw().await;
            self.store.process.goes_on().await;
            if !self.store.link.is_up() || world.strikes(world.options.faults.watch_cut) {
                world.note(format_args!("{} fault: a watch breaks", self.store.actor));
                return if world.rng.chance(0.5) { None } else { Some(Err(broken())) };
            }
            let Some(event) = self.mutate(event) else { continue };
            world.delivered(self.store.actor, self.number, &self.scope, &event);
            return Some(Ok(event));
        }
    }

    /// The next event, or that the line is broken.
    async fn wait(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        loop {
            if let Some(next) = self.inner.next().now_or_never() {
                return next;
            }
            let link = Arc::clone(&self.store.link);
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = link.down() => {
                    // The line is dead, and nobody tells: it breaks when there is a network again.
                    link.up().await;
                    self.store.world.seam().await;
                    self.store.process.goes_on().await;
                    return Some(Err(broken()));
                }
            }
        }
    }

    fn mutate(&mut self, event: WatchEvent) -> Option<WatchEvent> {
        let world = &self.store.world;
        if event.changes.iter().any(|c| c.object.is_none()) && world.mutates(Mutant::LosesDeletes, 0.3) {
            return None;
        }
        if world.mutates(Mutant::RepeatsEvents, 0.01) {
            self.again = Some(event.clone());
        }
        Some(event)
    }
}
