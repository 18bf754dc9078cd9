//! Logs, exec, attach, files and events: what flows out of a runtime, and into a container.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

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

impl LogOptions {
    /// Goes on while the container runs, and ends when it has exited and all was read.
    #[must_use]
    pub fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Only the last so many lines.
    #[must_use]
    pub fn tail(mut self, lines: usize) -> Self {
        self.tail = Some(lines);
        self
    }

    /// Only lines written at or after this time.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }
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

impl LogChunk {
    /// The bytes as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
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

impl ExecOptions {
    /// This program with these arguments, without input and terminal.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self { command: command.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// It reads standard input.
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// It has a terminal.
    #[must_use]
    pub fn tty(mut self) -> Self {
        self.tty = true;
        self
    }
}

/// How much [`ExecSession::wait_with_output`] keeps of each output: enough for what people read, not for a copy of
/// a disk.
pub const MAX_EXEC_OUTPUT: usize = 16 << 20;

/// What a program in a container wrote, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOutput {
    /// The exit code; 128 + signal where a signal ended it.
    pub exit_code: i32,
    /// What it wrote to standard output, or to its terminal.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Whether something is missing here, because an output was longer than [`MAX_EXEC_OUTPUT`].
    pub truncated: bool,
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

impl ExecSession {
    /// Ends its input, waits until it has exited, and gives what it wrote: the first [`MAX_EXEC_OUTPUT`] bytes of
    /// each output.
    ///
    /// # Errors
    /// Where it can't be told how it ended.
    pub async fn wait_with_output(mut self) -> Result<ExecOutput, RuntimeError> {
        drop(self.stdin.take());
        let mut output = ExecOutput::default();
        while let Some(chunk) = self.output.recv().await {
            let kept = match chunk.source {
                LogSource::Stdout => &mut output.stdout,
                LogSource::Stderr => &mut output.stderr,
            };
            let room = MAX_EXEC_OUTPUT - kept.len();
            output.truncated |= chunk.bytes.len() > room;
            kept.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
        }
        output.exit_code = self.exit.await?;
        Ok(output)
    }
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecSession")
    }
}

/// A connection to a container's own program. Dropping it changes nothing for the program.
#[derive(Debug)]
pub struct AttachSession {
    /// What the program writes from now on. Ends when the container has ended.
    pub output: LogStream,
    /// What the program reads; dropping it ends this connection's input, and not that of the program. `None` where no input was asked for.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// Changes the terminal's size (columns, rows). `None` where the container has no terminal.
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
}

/// Files as a tar archive, piece by piece.
pub struct TarStream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>);

impl TarStream {
    /// An archive over a stream of its bytes.
    pub fn new(bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Box::pin(bytes))
    }

    /// The next piece; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        std::future::poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }
}

impl From<Vec<u8>> for TarStream {
    /// An archive that is in memory.
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(futures_util::stream::iter([Ok(bytes.into())]))
    }
}

impl Stream for TarStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for TarStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TarStream")
    }
}
