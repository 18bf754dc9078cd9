//! How fast pods are made anew.

use std::time::Duration;

use tokio::time::Instant;

/// A pod that failed this soon after it was made says that the next one will, too.
pub(super) const SHORT_LIFE: Duration = Duration::from_secs(60);
/// The wait before the second replacement of pods that fail at once; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: that of crashing containers.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// After so long without a failure the next one counts as the first.
const RESET: Duration = Duration::from_secs(600);
/// In how much time the allowance grows back.
const REFILL: Duration = Duration::from_secs(60);

/// Bounds how fast one replica set makes pods: nobody else stops a loop in which each new pod is rejected, fails, or
/// is deleted at once.
///
/// - Pods that failed young are replaced at once the first time, then after 1 s, 2 s, 4 s, up to 5 min.
/// - For one version of the replica set, twice its size and ten pods are free; as many more in each minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    generation: u64,
    tokens: f64,
    refilled: Instant,
    failures: u32,
    replaced: Option<Instant>,
}

impl Pace {
    pub(super) fn new(generation: u64, replicas: u32, now: Instant) -> Self {
        Self { generation, tokens: capacity(replicas), refilled: now, failures: 0, replaced: None }
    }

    /// How many pods may be made now; where it is none, in how much time one may.
    pub(super) fn allowed(&mut self, generation: u64, replicas: u32, now: Instant) -> Result<u32, Duration> {
        let capacity = capacity(replicas);
        if generation != self.generation {
            (self.generation, self.tokens) = (generation, capacity);
        }
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + capacity * passed / REFILL.as_secs_f64()).min(capacity);
        if self.tokens < 1.0 {
            let missing = (1.0 - self.tokens) / capacity;
            return Err(REFILL.mul_f64(missing) + Duration::from_millis(1));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "floored, and at least one"
        )]
        Ok(self.tokens as u32)
    }

    /// So many pods were made.
    pub(super) fn made(&mut self, pods: u32) {
        self.tokens = (self.tokens - f64::from(pods)).max(0.0);
    }

    /// How long pods that failed young must wait for their replacement.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some(replaced) = self.replaced else { return Duration::ZERO };
        let factor = 1u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
        wait.saturating_sub(now.saturating_duration_since(replaced))
    }

    /// Pods that failed young were replaced.
    pub(super) fn replaced(&mut self, now: Instant) {
        let calm = self.replaced.is_none_or(|last| now.saturating_duration_since(last) > RESET);
        self.failures = if calm { 1 } else { self.failures.saturating_add(1) };
        self.replaced = Some(now);
    }
}

fn capacity(replicas: u32) -> f64 {
    2.0 * f64::from(replicas) + 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn replacing_what_fails_at_once_backs_off_and_recovers() {
        let start = Instant::now();
        let mut pace = Pace::new(1, 3, start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = pace.wait(now);
            waits.push(wait.as_secs());
            now += wait;
            pace.replaced(now);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        now += RESET + Duration::from_secs(1);
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.replaced(now);
        assert_eq!(pace.wait(now), FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_are_deleted_at_once_are_made_anew_at_a_bounded_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(1, 5, start);
        let (mut made, mut now) = (0u32, start);
        while now < start + Duration::from_secs(600) {
            match pace.allowed(1, 5, now) {
                Ok(_) => {
                    pace.made(1);
                    made += 1;
                }
                Err(wait) => now += wait,
            }
        }
        assert!((215..=225).contains(&made), "20 at once and 20 a minute, but made {made}");
        assert_eq!(pace.allowed(2, 100, now), Ok(210), "another version starts anew");
    }
}
