//! A queue of keys, in which each key stands at most once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rng::Rng;

/// How long a key waits after it failed: doubling from `first` to `max`, spread by a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    /// 10 ms to one minute: short enough to ride out a conflict, long enough not to load a store that fails.
    fn default() -> Self {
        Self { first: Duration::from_millis(10), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row (1: the first), before jitter.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

/// Keys to be worked on.
///
/// A key that is added while it waits stays where it is; one that is added while it is worked on comes again
/// afterwards. So one key is never worked on twice at once, and no change is forgotten. It holds at most one
/// entry for each key there is.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    backoff: Backoff,
    rng: Rng,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<K>,
    /// Those in `ready`.
    waiting: BTreeSet<K>,
    /// Those handed out and not yet done; true: added again meanwhile.
    active: BTreeMap<K, bool>,
    /// When a key becomes ready; the number keeps equal times in order.
    delayed: BTreeMap<(Instant, u64), K>,
    deadlines: BTreeMap<K, (Instant, u64)>,
    failures: BTreeMap<K, u32>,
    sequence: u64,
}

impl<K: Ord + Clone + Debug> Queue<K> {
    /// An empty queue.
    #[must_use]
    pub fn new(backoff: Backoff, rng: Rng) -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            active: BTreeMap::new(),
            delayed: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            failures: BTreeMap::new(),
            sequence: 0,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), backoff, rng }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `key` ready now. A longer wait of it ends; a back-off does too: something has changed.
    pub fn add(&self, key: K) {
        let mut state = self.lock();
        state.cancel_delay(&key);
        state.make_ready(key);
        drop(state);
        self.wake.notify_one();
    }

    /// Makes `key` ready after `delay`, unless it is or becomes ready sooner. A delay that ends after the last
    /// instant there is does not end.
    pub fn add_after(&self, key: K, delay: Duration) {
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut state = self.lock();
        if state.waiting.contains(&key) || state.deadlines.get(&key).is_some_and(|(sooner, _)| *sooner <= at)
        {
            return;
        }
        state.cancel_delay(&key);
        state.sequence += 1;
        let slot = (at, state.sequence);
        state.delayed.insert(slot, key.clone());
        state.deadlines.insert(key, slot);
        drop(state);
        self.wake.notify_one();
    }

    /// Takes the next ready key, waiting for one. It must be given back by [`done`](Self::done).
    ///
    /// Cancel-safe: a key is taken only when the future completes.
    pub async fn next(&self) -> K {
        loop {
            let notified = self.wake.notified();
            let earliest = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.active.insert(key.clone(), false);
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        // Another worker may wait: it takes the rest, or over the timer.
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match earliest {
                None => notified.await,
                Some(at) => tokio::select! {
                    biased;
                    () = notified => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// Gives a key back after success.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.failures.remove(key);
        self.finish(state, key);
    }

    /// Gives a key back after a failure: it comes again after its back-off. Returns that wait.
    pub fn failed(&self, key: &K) -> Duration {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let delay = self.rng.jitter(self.backoff.after(*failures), 0.1);
        self.finish(state, key);
        self.add_after(key.clone(), delay);
        delay
    }

    fn finish(&self, mut state: MutexGuard<'_, State<K>>, key: &K) {
        if state.active.remove(key) == Some(true) {
            state.make_ready(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// How many keys are ready or worked on: zero when there is nothing to do now.
    #[must_use]
    pub fn busy(&self) -> usize {
        let state = self.lock();
        state.ready.len() + state.active.len()
    }
}

impl<K: Ord + Clone> State<K> {
    fn make_ready(&mut self, key: K) {
        if let Some(again) = self.active.get_mut(&key) {
            *again = true;
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn cancel_delay(&mut self, key: &K) {
        if let Some(slot) = self.deadlines.remove(key) {
            self.delayed.remove(&slot);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.deadlines.remove(&key);
            self.make_ready(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue<u32> {
        Queue::new(Backoff::default(), Rng::seeded(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_stands_once_and_comes_again_if_added_while_active() {
        let q = queue();
        q.add(1);
        q.add(1);
        q.add(2);
        assert_eq!(q.next().await, 1);
        q.add(1);
        assert_eq!(q.next().await, 2);
        assert_eq!(q.busy(), 2, "1 is active, not handed out a second time");
        q.done(&1);
        assert_eq!(q.next().await, 1);
        q.done(&1);
        q.done(&2);
        assert_eq!(q.busy(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_of_two_delays_counts_and_add_beats_both() {
        let q = queue();
        let start = Instant::now();
        q.add_after(1, Duration::from_secs(10));
        q.add_after(1, Duration::from_secs(2));
        q.add_after(1, Duration::from_secs(5));
        assert_eq!(q.next().await, 1);
        assert_eq!(start.elapsed().as_secs(), 2);
        q.done(&1);
        q.add_after(1, Duration::from_secs(10));
        q.add(1);
        assert_eq!(q.next().await, 1);
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_beyond_all_time_does_not_end() {
        let q = queue();
        q.add_after(1, Duration::MAX);
        q.add_after(2, Duration::from_secs(1));
        assert_eq!(q.next().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_success_resets() {
        let q = queue();
        q.add(1);
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            let key = q.next().await;
            let wait = q.failed(&key);
            assert!(wait > last, "{wait:?} after {last:?}");
            last = wait;
        }
        let key = q.next().await;
        q.done(&key);
        q.add(1);
        let key = q.next().await;
        assert!(q.failed(&key) <= Duration::from_millis(11));
        assert_eq!(Backoff::default().after(40), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn two_workers_share_the_ready_keys() {
        let q = std::sync::Arc::new(queue());
        let tasks = crate::engine::Tasks::new();
        let (sent, mut got) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..2 {
            let (q, sent) = (std::sync::Arc::clone(&q), sent.clone());
            tasks.spawn("worker", async move {
                loop {
                    let key = q.next().await;
                    let _gone = sent.send(key);
                    // Holds its key until the end: the other worker must get the other key.
                    std::future::pending::<()>().await;
                }
            });
        }
        q.add(1);
        q.add(2);
        assert_eq!(got.recv().await, Some(1));
        assert_eq!(got.recv().await, Some(2));
        tasks.shutdown().await;
    }
}
