//! Now, on both clocks.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::model::Timestamp;

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

    #[cfg(test)]
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self { instant: self.instant + time, wall: self.wall + time }
    }
}
