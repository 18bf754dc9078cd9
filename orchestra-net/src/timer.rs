//! A timer that stays set from one use to the next: to set one each time costs more than what it bounds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What counts as never: some thirty years, as tokio has it.
const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The moment so long after this one, also where somebody means "without a bound" by the time.
pub(crate) fn later(now: Instant, after: Duration) -> Instant {
    now + bounded(after)
}

/// The same time, for others to add to a moment.
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(NEVER)
}

/// Ready at `deadline`, whatever `timer` is set for: where that is later it is set anew at once, where it is earlier when
/// it is due.
pub(crate) fn poll_until(mut timer: Pin<&mut Sleep>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}
