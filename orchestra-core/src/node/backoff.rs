//! When a container that ended is started again.

use std::time::Duration;

use crate::engine::Backoff;

/// The longest wait before a restart: Kubernetes' five minutes.
pub const CRASH_BACKOFF_MAX: Duration = Duration::from_secs(300);

/// After so long a run the next end counts as the first one: Kubernetes' ten minutes.
pub const CRASH_BACKOFF_RESET: Duration = Duration::from_secs(600);

/// The wait before the second restart in a row; it doubles from there. Kubernetes' ten seconds.
const CRASH_BACKOFF_FIRST: Duration = Duration::from_secs(10);

/// Pulling an image that failed to come is tried again after 10 s, doubling to five minutes, as in Kubernetes.
pub(crate) const PULL_BACKOFF: Backoff = Backoff { first: CRASH_BACKOFF_FIRST, max: CRASH_BACKOFF_MAX };

/// Calls of the runtime or store that failed for the moment: quick at first, for a hiccup; half a minute at
/// most, so that a pod isn't long behind when the trouble ends.
pub(crate) const CALL_BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(50), max: Duration::from_secs(30) };

/// The wait before restart number `restart` in a row, counted from 1: none, then 10 s doubling to five minutes.
///
/// The first restart is immediate, as in Kubernetes: most ends are not the beginning of a series.
#[must_use]
pub fn restart_delay(restart: u32) -> Duration {
    match restart {
        0 | 1 => Duration::ZERO,
        n => Backoff { first: CRASH_BACKOFF_FIRST, max: CRASH_BACKOFF_MAX }.after(n - 1),
    }
}

/// How many ends of a container there were in a row, with no long run in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CrashBackoff {
    ends: u32,
}

impl CrashBackoff {
    /// No end yet.
    pub(crate) const NONE: Self = Self { ends: 0 };

    /// After so many restarts that nobody has timed: taken for a series, until a long run shows otherwise.
    pub(crate) fn after_restarts(restarts: u32) -> Self {
        Self { ends: restarts }
    }

    /// Takes note of an end after a run of `ran`, and returns the wait before the next start.
    ///
    /// Kubernetes counts every end, whatever its exit code.
    pub(crate) fn ended(&mut self, ran: Duration) -> Duration {
        self.ends = if ran >= CRASH_BACKOFF_RESET { 1 } else { self.ends.saturating_add(1) };
        restart_delay(self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delays_are_the_model() {
        let mut backoff = CrashBackoff::default();
        let quick = Duration::from_secs(1);
        let delays: Vec<u64> = (0..8).map(|_| backoff.ended(quick).as_secs()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.ended(CRASH_BACKOFF_RESET), Duration::ZERO, "a healthy run resets");
        assert_eq!(backoff.ended(quick).as_secs(), 10);
    }

    #[test]
    fn a_series_survives_the_agent() {
        let mut backoff = CrashBackoff::after_restarts(3);
        assert_eq!(backoff.ended(Duration::from_secs(1)).as_secs(), 40);
        let mut backoff = CrashBackoff::after_restarts(u32::MAX);
        assert_eq!(backoff.ended(Duration::from_secs(1)), CRASH_BACKOFF_MAX);
    }
}
