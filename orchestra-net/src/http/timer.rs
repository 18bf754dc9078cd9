//! hyper's timers on one connection: they share one that is set.

#![allow(clippy::disallowed_types, reason = "hyper's timers speak of std's Instant; tokio's clock gives it")]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::timer::poll_until;

/// The timer of one connection: hyper makes and drops one for each request's head, and all are this one.
#[derive(Clone, Default)]
pub(super) struct ConnectionTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline, timer: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl fmt::Debug for ConnectionTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTimer").finish_non_exhaustive()
    }
}

/// Timers that are each their own, for connections with many requests at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreshTimer;

impl Timer for FreshTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        ConnectionTimer::default().sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

struct Until {
    deadline: Instant,
    timer: ConnectionTimer,
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let mut set = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let set = set.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        poll_until(set.as_mut(), deadline, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_due_at_its_own_time_whatever_was_set_before() {
        let timer = ConnectionTimer::default();
        let start = tokio::time::Instant::now();
        let elapsed = || start.elapsed().as_secs();
        // One that is polled and dropped leaves the timer set.
        let dropped = timer.sleep(Duration::from_secs(5));
        assert!(futures_util::FutureExt::now_or_never(dropped).is_none());
        timer.sleep(Duration::from_secs(30)).await;
        assert_eq!(elapsed(), 30, "the one before is not heard");
        timer.sleep(Duration::from_secs(30)).await;
        assert_eq!(elapsed(), 60);
        let long = timer.sleep(Duration::from_secs(100));
        assert!(futures_util::FutureExt::now_or_never(long).is_none());
        timer.sleep(Duration::from_secs(1)).await;
        assert_eq!(elapsed(), 61, "a shorter one sets it back");
    }
}
