//! Logs, as the engine keeps them: each message with the time it was written.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use orchestra_core::model::Timestamp;
use orchestra_core::runtime::{ContainerId, LogChunk, LogOptions, LogSource, LogStream, RuntimeError};

use crate::core::{Core, Found};
use crate::{container, error};

struct Reader {
    id: ContainerId,
    messages: BoxStream<'static, Result<LogOutput, bollard::errors::Error>>,
    since: Option<Timestamp>,
    /// Bytes that may still be given.
    rest: u64,
    /// When the last message was written: two outputs are stamped before they are put in order.
    last: Timestamp,
    /// A line of a terminal that has not ended yet. Nothing else comes in pieces.
    begun: BytesMut,
    ended: bool,
}

pub(crate) async fn read(
    core: &Core,
    id: &ContainerId,
    options: &LogOptions,
) -> Result<LogStream, RuntimeError> {
    let found: Found = container::existing(core, &id.0).await?;
    let seconds = options.since.map_or(0, |since| since.as_micros().max(0) / 1_000_000);
    let mut query = LogsOptionsBuilder::default()
        .follow(options.follow)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        // Whole seconds; the rest is left out here.
        .since(i32::try_from(seconds).unwrap_or(i32::MAX));
    let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    query = query.tail(&tail);
    let reader = Reader {
        id: id.clone(),
        messages: core.docker.logs(&found.docker_id, Some(query.build())).boxed(),
        since: options.since,
        rest: options.limit_bytes.unwrap_or(u64::MAX),
        last: Timestamp::EPOCH,
        begun: BytesMut::new(),
        ended: false,
    };
    Ok(LogStream::new(stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((chunk, reader))
    })))
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogChunk, RuntimeError>> {
        while self.rest > 0 && !self.ended {
            let (source, message) = match self.messages.next().await {
                None => {
                    self.ended = true;
                    (LogSource::Stdout, self.begun.split().freeze())
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error::read(&format!("the log of {}", self.id), "read it", error)));
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
            let Some((at, bytes)) = stamped(&message) else { continue };
            if self.since.is_some_and(|since| at < since) || bytes.is_empty() {
                continue;
            }
            self.last = self.last.max(at);
            let length = usize::try_from(self.rest).map_or(bytes.len(), |rest| bytes.len().min(rest));
            self.rest -= length as u64;
            return Some(Ok(LogChunk { source, at: self.last, bytes: bytes.slice(..length) }));
        }
        None
    }
}

/// Takes a message apart: the time it begins with, and what was written.
fn stamped(message: &Bytes) -> Option<(Timestamp, Bytes)> {
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
