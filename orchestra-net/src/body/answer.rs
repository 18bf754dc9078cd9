//! What an endpoint answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Polled;
use crate::connection::Connection;
use crate::http::grpc;
use crate::timer::later;
use crate::upstream::Ticket;

/// An answer's body: it moves the connection that it comes from, and gives it back when it has ended.
pub(super) struct Answer {
    pub(super) incoming: Incoming,
    /// `None` once the answer has ended; without a connection where a task of its own moves that.
    from: Option<(Option<Box<Connection>>, Ticket)>,
    /// Runs while the reader waits for the endpoint, and only then: a reader that is slow does not ask.
    silence: Silence,
    /// Dropped with it.
    pub(super) held: Vec<oneshot::Sender<Infallible>>,
}

/// How long an endpoint has been silent while somebody waited for it. The timer is made once, at the first wait.
#[derive(Default)]
struct Silence {
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Silence {
    /// Somebody waits: whether it has been for `limit` now.
    fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.running {
            timer.as_mut().reset(later(Instant::now(), limit));
            self.running = true;
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

impl Answer {
    pub(super) fn new(incoming: Incoming, connection: Option<Box<Connection>>, ticket: Ticket) -> Self {
        Self { incoming, from: Some((connection, ticket)), silence: Silence::default(), held: Vec::new() }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending() {
            // Nobody else moves the connection.
            if let Some((Some(connection), _)) = &mut self.from {
                connection.drive(cx);
                frame = Pin::new(&mut self.incoming).poll_frame(cx);
            }
        }
        if frame.is_pending() {
            return self.poll_silence(cx);
        }
        self.silence.running = false;
        match &frame {
            Poll::Ready(Some(Err(_))) => {
                if let Some((_, mut ticket)) = self.from.take() {
                    ticket.broke_off();
                }
            }
            Poll::Ready(None) => self.end(None),
            Poll::Ready(Some(Ok(frame))) if self.incoming.is_end_stream() => self.end(frame.trailers_ref()),
            _ => {}
        }
        frame.map_err(Into::into)
    }

    /// Nothing has come. Where that was so for too long, the connection is given up with the answer.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(limit) = self.from.as_ref().and_then(|(_, ticket)| ticket.body_timeout()) else {
            return Poll::Pending;
        };
        if !self.silence.poll(limit, cx) {
            return Poll::Pending;
        }
        let Some((connection, mut ticket)) = self.from.take() else { return Poll::Pending };
        if let Some(connection) = connection {
            connection.give_up();
        }
        ticket.broke_off();
        Poll::Ready(Some(Err(ticket.stalled(limit).into())))
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        if let Some((connection, mut ticket)) = self.from.take() {
            if ticket.is_open() {
                ticket.ended(grpc::ended(trailers));
            }
            if let Some(connection) = connection {
                connection.give_back(&ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_first_wait_after_what_came_last() {
        let limit = Duration::from_secs(10);
        let mut silence = Silence::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            assert!(!silence.poll(limit, &mut cx));
            tokio::time::advance(Duration::from_secs(9)).await;
            assert!(!silence.poll(limit, &mut cx));
            // Something came, and then the reader was busy with it.
            silence.running = false;
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert!(!silence.poll(limit, &mut cx));
        tokio::time::advance(limit).await;
        assert!(silence.poll(limit, &mut cx));
    }
}
