//! Requests of HTTP/2, whose bodies are sent by tasks of their own, and these end where nobody waits for the answer any more.
//!
//! hyper ends such a task itself only before the answer has begun. After that the task looks at the body, which fails where the client has
//! left. But where the endpoint takes nothing more of it, it is not looked at, and the stream would stay open for ever.

use std::cell::RefCell;
use std::task::Context;

use tokio::sync::oneshot;

use super::{Polled, ProxyBody};

thread_local! {
    /// Of the body that was polled first just now. hyper polls each once before it hands the rest to a task, on the same thread.
    static BEGUN: RefCell<Option<Abandoned>> = const { RefCell::new(None) };
}

/// Of the body that was begun just now, where one was.
pub(crate) fn begun() -> Option<Abandoned> {
    BEGUN.take()
}

/// Knows when nobody waits for the answer any more.
pub(crate) struct Abandoned(oneshot::Receiver<()>);

impl Abandoned {
    /// Returns then: never, where the answer has ended.
    pub(crate) async fn told(self) {
        if self.0.await.is_ok() {
            std::future::pending().await
        }
    }
}

/// Waits for the answer. Dropped before that has ended it says that nobody does any more.
pub(crate) struct Waiter(oneshot::Sender<()>);

impl Waiter {
    /// The answer has ended.
    pub(crate) fn content(self) {
        // The body may have been sent long before.
        let _told = self.0.send(());
    }
}

/// A body that is sent while its answer is waited for.
pub(super) struct Awaited {
    pub(super) body: ProxyBody,
    /// Until it is begun.
    abandoned: Option<Abandoned>,
}

impl Awaited {
    pub(super) fn new(body: ProxyBody) -> (Self, Waiter) {
        let (waiter, abandoned) = oneshot::channel();
        (Self { body, abandoned: Some(Abandoned(abandoned)) }, Waiter(waiter))
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some(abandoned) = self.abandoned.take() {
            BEGUN.set(Some(abandoned));
        }
        http_body::Body::poll_frame(std::pin::Pin::new(&mut self.body), cx)
    }
}
