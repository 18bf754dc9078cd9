//! A future that is seldom ready, beside one that is polled often.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future only when it has woken the task, and not whenever something else has: what it would look at is behind a lock
/// that many share.
pub(crate) struct Seldom<'f, F> {
    future: Pin<&'f mut F>,
    /// `None` until it was polled for the first time.
    told: Option<Arc<Told>>,
}

/// Whom the future wakes.
struct Told {
    woken: AtomicBool,
    task: Waker,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<'f, F: Future> Seldom<'f, F> {
    pub(crate) fn new(future: Pin<&'f mut F>) -> Self {
        Self { future, told: None }
    }
}

impl<F: Future> Future for Seldom<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let told = match &this.told {
            Some(told) if told.task.will_wake(cx.waker()) => {
                if !told.woken.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                told.woken.store(false, Ordering::Release);
                told
            }
            _ => {
                let told = Told { woken: AtomicBool::new(false), task: cx.waker().clone() };
                &*this.told.insert(Arc::new(told))
            }
        };
        let waker = Waker::from(Arc::clone(told));
        this.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use futures_util::task::noop_waker;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_wakes_and_when_its_task_is_another_one() {
        let (notify, polls) = (Notify::new(), Cell::new(0));
        let mut notified = pin!(notify.notified());
        let counted = pin!(std::future::poll_fn(|cx| {
            polls.set(polls.get() + 1);
            notified.as_mut().poll(cx)
        }));
        let mut seldom = Seldom::new(counted);
        // Another waker than that of this task.
        let waker = noop_waker();
        assert!(Pin::new(&mut seldom).poll(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..3 {
            let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut seldom).poll(cx))).await;
            assert!(polled.is_pending());
        }
        notify.notify_one();
        seldom.await;
        assert_eq!(polls.get(), 3, "by each of the two tasks once, and when it had something to say");
    }
}
