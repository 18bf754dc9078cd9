//! Logs, read without following them: what Podman (4.3) follows it goes on with at the end, without the lines in between, where it meets a
//! line that is half written.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use orchestra_core::model::Timestamp;
use orchestra_core::runtime::LogOptions;

use crate::container;
use crate::core::Core;
use crate::logs::{self, Messages};

/// After news of a followed log, before it is read again: Podman looks through all of it each time.
const AGAIN: Duration = Duration::from_millis(50);

/// How far a log was read. The times are whole seconds here, so the messages of the last one are counted.
#[derive(Debug, Default)]
struct Place {
    second: Timestamp,
    count: usize,
    /// The first of them.
    first: Bytes,
    /// How many of them have come in this reading.
    seen: usize,
    /// Whether the last message was new.
    new: bool,
}

impl Place {
    /// Whether this message was not read before.
    fn passes(&mut self, message: &Bytes) -> bool {
        // Without a time it is the rest of a terminal's line.
        let Some((at, _)) = logs::stamped(message) else { return self.new };
        match at.cmp(&self.second) {
            Ordering::Less => self.new = self.seen == self.count,
            Ordering::Equal => {
                if self.seen == 0 && self.first != *message {
                    // It is another file: the one before was full.
                    (self.count, self.first) = (0, message.clone());
                }
                self.seen += 1;
                self.new = self.seen > self.count;
                self.count = self.count.max(self.seen);
            }
            Ordering::Greater => {
                *self = Self { second: at, count: 1, first: message.clone(), seen: 1, new: true };
            }
        }
        self.new
    }
}

struct Log {
    core: Arc<Core>,
    docker_id: String,
    messages: Messages,
    place: Place,
    /// The same log, followed: it only tells that there is more.
    news: Messages,
    end: BoxFuture<'static, ()>,
    /// Whether no more than what is read now will be written.
    complete: bool,
}

/// All messages of a log that the options ask for, by whole seconds, and those that come until the container's end where it is followed.
pub(crate) fn read(core: &Arc<Core>, docker_id: &str, options: &LogOptions) -> Messages {
    let second = options.since.map_or(Timestamp::EPOCH, whole);
    let (of_end, id) = (Arc::clone(core), docker_id.to_owned());
    let log = Log {
        core: Arc::clone(core),
        docker_id: docker_id.to_owned(),
        messages: open(core, docker_id, second, false),
        place: Place { second, ..Place::default() },
        news: open(core, docker_id, second, true),
        end: Box::pin(async move { container::ended(&of_end, &id, Duration::ZERO).await }),
        complete: !options.follow,
    };
    let tail = options.tail;
    let log = stream::once(async move {
        let mut log = log;
        let last = match tail {
            Some(lines) => log.last(lines).await,
            None => VecDeque::new(),
        };
        stream::iter(last).chain(stream::unfold(log, |mut log| async move {
            let message = log.next().await?;
            Some((message, log))
        }))
    });
    log.flatten().boxed()
}

/// The second that a time is in.
pub(crate) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.as_micros().div_euclid(1_000_000) * 1_000_000)
}

/// The messages since a second, and some that are older: Podman compares with finer times than it tells.
fn open(core: &Core, docker_id: &str, since: Timestamp, follow: bool) -> Messages {
    let since = Timestamp::from_micros(since.as_micros() - 1_000_000);
    let options = LogOptions { since: Some(since), ..LogOptions::default() };
    logs::open(core, docker_id, false, &options, follow)
}

fn bytes(message: &LogOutput) -> &Bytes {
    match message {
        LogOutput::StdErr { message }
        | LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => message,
    }
}

impl Log {
    async fn next(&mut self) -> Option<Result<LogOutput, Error>> {
        loop {
            match self.messages.next().await {
                Some(Ok(message)) if !self.place.passes(bytes(&message)) => {}
                Some(next) => return Some(next),
                None if self.complete => return None,
                None => self.more().await,
            }
        }
    }

    /// The last lines of what is there. Podman (4.3) mixes up those that were written in pieces where it is asked for the last ones.
    async fn last(&mut self, lines: usize) -> VecDeque<Result<LogOutput, Error>> {
        let (mut last, mut ends) = (VecDeque::new(), 0);
        let is_end = |message: &LogOutput| bytes(message).ends_with(b"\n");
        while let Some(message) = self.messages.next().await {
            let Ok(message) = message else {
                last.push_back(message);
                break;
            };
            self.place.passes(bytes(&message));
            ends += usize::from(is_end(&message));
            let begun = usize::from(!is_end(&message));
            last.push_back(Ok(message));
            while ends + begun > lines {
                let Some(Ok(first)) = last.pop_front() else { break };
                ends -= usize::from(is_end(&first));
            }
        }
        last
    }

    /// Waits for more, or for the end, and begins to read again.
    async fn more(&mut self) {
        tokio::select! {
            biased;
            () = &mut self.end => self.complete = true,
            news = self.news.next() => {
                tokio::time::sleep(AGAIN).await;
                if matches!(news, Some(Ok(_))) {
                    while let Some(Some(Ok(_))) = self.news.next().now_or_never() {}
                } else {
                    self.news = open(&self.core, &self.docker_id, self.place.second, true);
                }
            }
        }
        self.place.seen = 0;
        self.messages = open(&self.core, &self.docker_id, self.place.second, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_does_not_pass_again() {
        let message = |text: &'static str| Bytes::from_static(text.as_bytes());
        let (old, tick) = (message("2026-01-31T08:00:00Z old\n"), message("2026-01-31T08:00:01Z tick\n"));
        let (piece, later) = (message("the rest\n"), message("2026-01-31T08:00:02Z later\n"));
        let mut place = Place::default();
        assert!([&old, &tick, &piece, &tick].into_iter().all(|message| place.passes(message)));
        place.seen = 0;
        let again = [&old, &tick, &piece, &tick, &tick, &piece, &later].map(|message| place.passes(message));
        assert_eq!(again, [false, false, false, false, true, true, true]);
        place.seen = 0;
        assert!(!place.passes(&later));
        // The clock was put back.
        assert!(place.passes(&tick));
        // There is a new file.
        place.seen = 0;
        let other = message("2026-01-31T08:00:02Z other\n");
        assert!(place.passes(&other) && place.passes(&later));
    }
}
