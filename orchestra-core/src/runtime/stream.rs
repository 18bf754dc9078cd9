//! Logs, exec and events: what flows out of a runtime, and into a container.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use tokio::sync::mpsc;

use super::{RuntimeError, RuntimeEvent};
use crate::model::Timestamp;

/// Which part of a log is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on while the container runs, and end when it has exited and all was read.
    pub follow: bool,
    /// Only the last so many lines; all where `None`.
    pub tail: Option<usize>,
    /// Only lines written at or after this time.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Which of its outputs a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output. In logs: one line with its line feed, or a part of one that was over the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it was written to.
    pub source: LogSource,
    /// When it was written.
    pub at: Timestamp,
    /// The bytes, as they were written.
    pub bytes: Bytes,
}

/// A container's log. Ends after the last line, or, followed, when the container has exited.
pub struct LogStream(Pin<Box<dyn Stream<Item = Result<LogChunk, RuntimeError>> + Send>>);

impl LogStream {
    /// A log over a stream of chunks.
    pub fn new(chunks: impl Stream<Item = Result<LogChunk, RuntimeError>> + Send + 'static) -> Self {
        Self(Box::pin(chunks))
    }

    /// The next chunk; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<LogChunk, RuntimeError>> {
        std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl fmt::Debug for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogStream")
    }
}

/// What happens to containers.
pub struct EventStream(Pin<Box<dyn Stream<Item = RuntimeEvent> + Send>>);

impl EventStream {
    /// Events over a stream.
    pub fn new(events: impl Stream<Item = RuntimeEvent> + Send + 'static) -> Self {
        Self(Box::pin(events))
    }

    /// The next event; `None` when the runtime has gone away. Cancel-safe.
    pub async fn next(&mut self) -> Option<RuntimeEvent> {
        std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}

/// A program to run inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The program and its arguments. Not empty.
    pub command: Vec<String>,
    /// Whether it reads standard input.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// A running exec. Dropping it kills the program.
pub struct ExecSession {
    /// What the program writes. Ends when it has exited and all was read.
    pub output: mpsc::Receiver<LogChunk>,
    /// What the program reads; dropping it is the end of its input. `None` where no input was asked for.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// Changes the terminal's size (columns, rows). `None` without a terminal.
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// The exit code, once the program has exited.
    pub exit: BoxFuture<'static, Result<i32, RuntimeError>>,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecSession")
    }
}
