//! Whether a client takes its answer: of HTTP/1.1 the socket says so, of HTTP/2, where a client may open no window, each stream.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use orchestra_core::engine::Tasks;
use tokio::time::{Instant, Sleep};

use crate::http2::InTasks;

/// What the stream of a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// Whoever answers.
    Answer,
    /// Its client, since just now.
    ClientAnew,
    /// Its client, for a while.
    Client,
}

tokio::task_local! {
    /// An answer's body is polled only by its stream's task, and again only when all that it gave before has been taken: so both meet
    /// here, without hyper's help.
    static WAITS_FOR: Cell<WaitsFor>;
}

/// The answer of this task's stream has been asked for more: it gave some, which the client is to take before it is asked again, or did not.
pub(super) fn asked(gave: bool) {
    let waits_for = if gave { WaitsFor::ClientAnew } else { WaitsFor::Answer };
    // Elsewhere than in a stream's task nobody wants to know.
    let _known = WAITS_FOR.try_with(|known| known.set(waits_for));
}

/// Moves streams, each in a task of its own, and drops one whose client takes nothing of its answer for `patience`: hyper resets it then.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) tasks: Tasks,
    pub(super) patience: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        InTasks(self.tasks.clone()).execute(bounded(stream, self.patience));
    }
}

fn bounded(stream: impl Future<Output = ()>, patience: Duration) -> impl Future<Output = ()> {
    WAITS_FOR.scope(Cell::new(WaitsFor::Answer), async move {
        let mut stream = pin!(stream);
        // Runs while the client is waited for, and only then.
        let mut waiting: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let waits_for = WAITS_FOR.with(|known| known.replace(WaitsFor::Client));
            if waits_for == WaitsFor::Answer {
                WAITS_FOR.with(|known| known.set(WaitsFor::Answer));
                waiting = None;
                return Poll::Pending;
            }
            let timer = waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if waits_for == WaitsFor::ClientAnew {
                timer.as_mut().reset(Instant::now() + patience);
            }
            ready!(timer.as_mut().poll(cx));
            tracing::debug!(?patience, "ends a stream whose client takes nothing of its answer");
            Poll::Ready(())
        })
        .await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// How long a stream goes on, in seconds.
    async fn lasts(stream: impl Future<Output = ()>) -> u64 {
        let began = Instant::now();
        bounded(stream, PATIENCE).await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_takes_nothing_for_long_ends_its_stream() {
        let seconds = |n| tokio::time::sleep(Duration::from_secs(n));
        let slow = async {
            for _ in 0..10 {
                asked(true);
                seconds(50).await;
            }
        };
        assert_eq!(lasts(slow).await, 500, "it takes some each time");
        let endpoint = async {
            asked(true);
            seconds(50).await;
            asked(true);
            asked(false);
            seconds(1000).await;
        };
        assert_eq!(lasts(endpoint).await, 1050, "that is for others to bound");
        let deaf = async {
            seconds(100).await;
            asked(true);
            // Woken again and again, by nothing that it takes.
            for _ in 0..1000 {
                seconds(1).await;
            }
        };
        assert_eq!(lasts(deaf).await, 160);
        asked(true);
    }
}
