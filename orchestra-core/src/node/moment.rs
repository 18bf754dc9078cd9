//! Now, on both clocks.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::model::Timestamp;

/// Shorter waits are kept to the letter.
const SHARED_FROM: Duration = Duration::from_secs(5);

/// One moment: on the monotonic clock, which decides, and on the wall clock, which stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) wall: Timestamp,
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { instant: Instant::now(), wall: clock.now() }
    }

    /// When the wall clock showed `wall`, by what it shows now. Never in the future.
    pub(crate) fn instant_of(&self, wall: Timestamp) -> Instant {
        self.instant.checked_sub(self.wall.since(wall)).unwrap_or(self.instant)
    }

    /// How long it is until the wall clock shows `wall`; zero where that is past.
    pub(crate) fn until(&self, wall: Timestamp) -> Duration {
        wall.since(self.wall)
    }

    /// A wait of `wait`, moved by half a second at most to end with a second of the wall clock: what many do every
    /// few seconds wakes the process once for all of them, and so costs little at rest. Waits under five seconds
    /// stay as they are.
    pub(crate) fn to_whole_second(self, wait: Duration) -> Duration {
        const SECOND: i64 = 1_000_000;
        if wait < SHARED_FROM {
            return wait;
        }
        let end = (self.wall + wait + Duration::from_millis(500)).as_micros();
        self.until(Timestamp::from_micros(end - end.rem_euclid(SECOND)))
    }

    #[cfg(test)]
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self { instant: self.instant + time, wall: self.wall + time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_end_with_a_second_and_short_ones_are_kept() {
        let at = |micros| Moment { instant: Instant::now(), wall: Timestamp::from_micros(micros) };
        let ten = Duration::from_secs(10);
        assert_eq!(at(7_000_000).to_whole_second(ten), ten);
        assert_eq!(at(7_499_999).to_whole_second(ten), Duration::from_micros(9_500_001));
        assert_eq!(at(7_500_000).to_whole_second(ten), Duration::from_micros(10_500_000));
        assert_eq!(at(-7_400_000).to_whole_second(ten), Duration::from_micros(10_400_000));
        assert_eq!(at(7_300_000).to_whole_second(Duration::from_secs(4)), Duration::from_secs(4));
    }
}
