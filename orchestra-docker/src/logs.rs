//! Logs, as the engine keeps them: each message with the time it was written.

use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use orchestra_core::model::Timestamp;
use orchestra_core::runtime::{ContainerId, LogChunk, LogOptions, LogSource, LogStream, RuntimeError};

use crate::core::{Core, Found};
use crate::labels::ROLE_CONTAINER;
use crate::{container, error, podman};

pub(crate) type Messages = BoxStream<'static, Result<LogOutput, bollard::errors::Error>>;

/// Before a log that ended is looked at again whose container has not.
const AGAIN: Duration = Duration::from_millis(50);

struct Reader {
    core: Arc<Core>,
    id: ContainerId,
    docker_id: String,
    /// Whether it is the log of a terminal.
    tty: bool,
    options: LogOptions,
    messages: Messages,
    /// Bytes that may still be given.
    rest: u64,
    /// When the last message was written: two outputs are stamped before they are put in order.
    last: Timestamp,
    /// A line of a terminal that has not ended yet, of an engine that is asked by its client. Nothing else comes in pieces.
    begun: BytesMut,
    /// The last message that came, and how many equal ones in a row: the pieces of a long line have one time.
    latest: Option<(Bytes, usize)>,
    /// Up to these messages what is read now was read before.
    skip_to: Option<(Bytes, usize)>,
    /// Whether no more than what is read now will be written.
    complete: bool,
}

pub(crate) async fn read(
    core: &Arc<Core>,
    id: &ContainerId,
    options: &LogOptions,
) -> Result<LogStream, RuntimeError> {
    let found: Found = container::existing(core, &id.0).await?;
    let tty = found.has_terminal();
    let mut options = options.clone();
    let messages = if core.is_podman {
        options.since = options.since.map(podman::logs::whole);
        podman::logs::read(core, &found.docker_id, &options)
    } else {
        open(core, &found.docker_id, tty, &options, options.follow)
    };
    let reader = Reader {
        core: Arc::clone(core),
        id: id.clone(),
        messages,
        docker_id: found.docker_id,
        tty,
        rest: options.limit_bytes.unwrap_or(u64::MAX),
        last: Timestamp::EPOCH,
        begun: BytesMut::new(),
        latest: None,
        skip_to: None,
        complete: !options.follow || core.is_podman,
        options,
    };
    Ok(LogStream::new(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

pub(crate) fn open(core: &Core, docker_id: &str, tty: bool, options: &LogOptions, follow: bool) -> Messages {
    let seconds = options.since.map_or(0, |since| since.as_micros().max(0) / 1_000_000);
    let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    if let Some(local) = core.local.clone().filter(|_| tty) {
        let query =
            format!("follow={follow}&stdout=true&stderr=true&timestamps=true&since={seconds}&tail={tail}");
        return local.log(docker_id, &query);
    }
    let mut query = LogsOptionsBuilder::default()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        // Whole seconds; the rest is left out by the reader.
        .since(i32::try_from(seconds).unwrap_or(i32::MAX));
    query = query.tail(&tail);
    core.docker.logs(docker_id, Some(query.build())).boxed()
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogChunk>, RuntimeError> {
        while self.rest > 0 {
            let Some((source, message)) = self.message().await? else {
                if self.complete {
                    return Ok(None);
                }
                self.go_on().await?;
                continue;
            };
            if let Some((known, times)) = &mut self.skip_to {
                *times -= usize::from(*known == message);
                if *times == 0 {
                    self.skip_to = None;
                }
                continue;
            }
            match &mut self.latest {
                Some((latest, times)) if *latest == message => *times += 1,
                _ => self.latest = Some((message.clone(), 1)),
            }
            let Some((at, bytes)) = stamped(&message) else { continue };
            if self.options.since.is_some_and(|since| at < since) || bytes.is_empty() {
                continue;
            }
            self.last = self.last.max(at);
            let length = usize::try_from(self.rest).map_or(bytes.len(), |rest| bytes.len().min(rest));
            self.rest -= length as u64;
            return Ok(Some(LogChunk { source, at: self.last, bytes: bytes.slice(..length) }));
        }
        Ok(None)
    }

    /// The next message as it was written, with its time; `None` where the engine has no more.
    async fn message(&mut self) -> Result<Option<(LogSource, Bytes)>, RuntimeError> {
        loop {
            let message = match self.messages.next().await {
                None if self.begun.is_empty() => return Ok(None),
                None => (LogSource::Stdout, self.begun.split().freeze()),
                Some(Err(error)) => {
                    return Err(error::read(&format!("the log of {}", self.id), "read it", error));
                }
                Some(Ok(LogOutput::StdErr { message })) => (LogSource::Stderr, message),
                Some(Ok(LogOutput::StdOut { message } | LogOutput::StdIn { message })) => {
                    (LogSource::Stdout, message)
                }
                Some(Ok(LogOutput::Console { message })) => {
                    self.begun.extend_from_slice(&message);
                    if !message.ends_with(b"\n") {
                        continue;
                    }
                    (LogSource::Stdout, self.begun.split().freeze())
                }
            };
            return Ok(Some(message));
        }
    }

    /// Reads on where the engine ended a log that was followed. It does so with the container, and now and then (20.10)
    /// before it has given the last of it.
    async fn go_on(&mut self) -> Result<(), RuntimeError> {
        let found = self.core.find(&self.id.0, ROLE_CONTAINER).await?;
        let runs = match &found {
            Some(found) if found.docker_id == self.docker_id => found.is_running(),
            // It is gone, and its log with it.
            _ => {
                self.complete = true;
                return Ok(());
            }
        };
        if runs {
            tokio::time::sleep(AGAIN).await;
        }
        self.complete = !runs;
        self.skip_to = self.latest.clone();
        let rest = match &self.latest {
            // All that follows it, whatever was asked for of what came before.
            Some((latest, _)) => {
                LogOptions { since: stamped(latest).map(|(at, _)| at), tail: None, ..self.options }
            }
            None => self.options.clone(),
        };
        self.messages = open(&self.core, &self.docker_id, self.tty, &rest, runs);
        Ok(())
    }
}

/// Takes a message apart: the time it begins with, and what was written.
pub(crate) fn stamped(message: &Bytes) -> Option<(Timestamp, Bytes)> {
    let space = message.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&message[..space]).ok()?.parse().ok()?;
    Some((at, message.slice(space + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_time_and_bytes() {
        let message = Bytes::from_static(b"2026-01-31T08:00:00.123456789Z  two  spaces \xff\n");
        let (at, bytes) = stamped(&message).unwrap();
        assert_eq!(
            (at.to_string().as_str(), &bytes[..]),
            ("2026-01-31T08:00:00.123456Z", &b" two  spaces \xff\n"[..])
        );
        assert!(stamped(&Bytes::from_static(b"nothing")).is_none());
    }
}
