//! Wall-clock time as an injected value.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::model::Timestamp;

/// Tells the wall-clock time.
///
/// Waiting is done with `tokio::time`, which a simulation pauses; a clock only stamps objects.
///
/// # Contract
/// Cheap, never blocks, callable from any thread. It may step back, as wall clocks do: durations that
/// decide something are measured with `tokio::time::Instant`.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

const _: fn(&dyn Clock) = |_| {};

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH + since
    }
}

/// A clock that starts at a given time and runs with `tokio::time`: paused when that is paused.
#[derive(Clone, Debug)]
pub struct TokioClock {
    start: Timestamp,
    origin: Instant,
}

impl TokioClock {
    /// A clock that shows `start` now. To be called inside a tokio runtime.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, origin: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }
}

/// A clock shared by the parts of one cluster.
pub type SharedClock = Arc<dyn Clock>;
