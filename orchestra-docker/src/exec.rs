//! Programs run beside a container's own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use orchestra_core::clock::{Clock as _, SystemClock};
use orchestra_core::runtime::{ContainerId, ExecOptions, ExecSession, LogChunk, LogSource, RuntimeError};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::{container, error, kills};

/// Pieces in flight each way, before the program or the reader has to wait.
pub(crate) const QUEUE: usize = 64;

/// How long the engine may take to know the exit code of a program whose output has ended, or the process of one that it starts.
const EXIT_LIMIT: Duration = Duration::from_secs(10);

/// Between two looks for the exit code: the engine has no event for it that names a code in all versions.
const EXIT_PERIOD: Duration = Duration::from_millis(5);

/// How long output may still come after the container has ended. The engine (20.10) does not end the output of an exec
/// whose container shares the process namespace of another.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

type Output = BoxStream<'static, Result<LogOutput, bollard::errors::Error>>;

/// What a program reads.
pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;

struct Running {
    core: Arc<Core>,
    exec: String,
    container: String,
    docker_id: String,
    program: String,
}

/// How an engine's words begin, in place of a program's, where it can't run that, and what else is in them: Docker's and
/// Podman's.
const NOT_RUN: [(&str, &str); 2] = [("OCI runtime exec failed", "exec failed"), ("Error: ", "OCI ")];

/// The exit codes that an engine gives a program that it can't run.
const NOT_RUN_CODES: [i32; 2] = [126, 127];

/// How many bytes such words have at most.
const NOT_RUN_LIMIT: usize = 4096;

/// What is held back of an output, as long as it may be an engine's.
#[derive(Default)]
struct Held {
    pieces: Vec<LogChunk>,
    bytes: usize,
    /// Nothing is held back any more.
    over: bool,
}

impl Held {
    /// Takes a piece of output; gives what may be passed on.
    fn take(&mut self, piece: LogChunk) -> Vec<LogChunk> {
        if self.pieces.is_empty() {
            let text = String::from_utf8_lossy(&piece.bytes);
            self.over |= !NOT_RUN.iter().any(|(begin, more)| text.starts_with(begin) && text.contains(more));
        }
        self.bytes += piece.bytes.len();
        self.over |= self.bytes > NOT_RUN_LIMIT;
        self.pieces.push(piece);
        if self.over { std::mem::take(&mut self.pieces) } else { Vec::new() }
    }

    /// The engine's words, where they are, of a program that has ended so and had this process number.
    fn words(&self, code: i32, pid: Option<i64>) -> Option<String> {
        let pieces = self.pieces.iter().map(|piece| String::from_utf8_lossy(&piece.bytes));
        let words = pieces.collect::<String>().trim().to_owned();
        let ran = pid.is_some_and(|pid| pid > 0) || !NOT_RUN_CODES.contains(&code);
        (!ran && !words.is_empty()).then_some(words)
    }
}

/// Runs a program. What was begun goes on to the session also where the caller goes away: nobody has the session then, and so
/// the program is killed.
pub(crate) async fn start(
    core: &Arc<Core>,
    id: &ContainerId,
    options: &ExecOptions,
) -> Result<ExecSession, RuntimeError> {
    let (of_task, subject, options) = (Arc::clone(core), id.clone(), options.clone());
    let begun = core.tasks.spawn(async move { begin(&of_task, &subject, &options).await });
    begun.await.unwrap_or_else(|error| {
        let (subject, operation) = (id.to_string(), "run a program in it");
        Err(RuntimeError::OutcomeUnknown { subject, operation, source: Box::new(error) })
    })
}

async fn begin(
    core: &Arc<Core>,
    id: &ContainerId,
    options: &ExecOptions,
) -> Result<ExecSession, RuntimeError> {
    let found = container::existing(core, &id.0).await?;
    if !found.is_running() {
        return Err(error::refused(&id.0, "run a program in it", "the container does not run"));
    }
    if options.command.is_empty() {
        return Err(error::refused(&id.0, "run a program in it", "no program is given"));
    }
    let config = ExecConfig {
        attach_stdin: Some(options.stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(options.tty),
        cmd: Some(options.command.clone()),
        ..ExecConfig::default()
    };
    let created = core.docker.create_exec(&found.docker_id, config).await;
    let exec = created.map_err(|error| error::effect(&id.0, "run a program in it", error))?.id;
    let attached = attach(core, &exec, options.tty).await;
    let (output, input) = attached.map_err(|error| error::effect(&id.0, "run a program in it", error))?;
    let program = options.command[0].clone();
    let running = Running {
        core: Arc::clone(core),
        exec,
        container: id.to_string(),
        docker_id: found.docker_id,
        program,
    };
    Ok(session(running, output, input, options))
}

/// Starts it, connected to its output and input.
async fn attach(core: &Core, exec: &str, tty: bool) -> Result<(Output, Input), bollard::errors::Error> {
    if let Some(local) = core.local.as_ref().filter(|_| tty) {
        let body = "{\"Detach\":false,\"Tty\":true}";
        let (output, input) = local.terminal(&format!("POST /exec/{exec}/start"), body).await?;
        return Ok((output, Box::pin(input)));
    }
    let options = StartExecOptions { detach: false, tty, output_capacity: None };
    match core.docker.start_exec(exec, Some(options)).await? {
        StartExecResults::Attached { output, input } => Ok((output.boxed(), input)),
        StartExecResults::Detached => {
            Err(std::io::Error::other("the engine did not attach to the program").into())
        }
    }
}

/// Connects the program to the session's channels. The session's end ends the program.
fn session(running: Running, output: Output, input: Input, options: &ExecOptions) -> ExecSession {
    let tasks = running.core.tasks.tracker().clone();
    let (dropped, over) = (CancellationToken::new(), CancellationToken::new());
    let (to_reader, from_program) = mpsc::channel(QUEUE);
    let (exited, exit) = oneshot::channel();
    let stdin = options.stdin.then(|| {
        let (to_program, from_user) = mpsc::channel(QUEUE);
        let over = over.clone();
        tasks.spawn(async move {
            tokio::select! { biased; () = over.cancelled() => {} () = feed(input, from_user) => {} }
        });
        to_program
    });
    let resize = options.tty.then(|| {
        let (to_terminal, mut sizes) = mpsc::channel::<(u16, u16)>(QUEUE);
        let (over, core, exec) = (over.clone(), Arc::clone(&running.core), running.exec.clone());
        tasks.spawn(async move {
            let follow = async {
                while let Some((columns, rows)) = sizes.recv().await {
                    let size = ResizeExecOptionsBuilder::default().w(columns.into()).h(rows.into()).build();
                    if let Err(error) = core.docker.resize_exec(&exec, size).await {
                        tracing::debug!(exec, %error, "the terminal keeps its size");
                    }
                }
            };
            tokio::select! { biased; () = over.cancelled() => {} () = follow => {} }
        });
        to_terminal
    });
    let was_dropped = dropped.clone();
    tasks.spawn(async move {
        let _over = over.drop_guard();
        let mut follow = std::pin::pin!(running.follow(output, to_reader));
        let code = tokio::select! {
            biased;
            () = was_dropped.cancelled() => return running.kill().await,
            code = &mut follow => code,
            () = container::ended(&running.core, &running.docker_id, Duration::ZERO) => {
                if running.core.is_podman {
                    // It leaves the program, and does not clean up after the container before that has ended.
                    running.kill().await;
                }
                let last = tokio::time::timeout(LAST_OUTPUT, follow).await;
                last.unwrap_or_else(|_| Err(running.ended_with_its_container()))
            }
        };
        drop(exited.send(code));
    });
    let guard = dropped.drop_guard();
    let exit = Box::pin(async move {
        let code = exit.await;
        // It has ended: nothing is to be killed.
        drop(guard.disarm());
        code.unwrap_or_else(|_| Err(error::not_found("the exec", "whose session was dropped")))
    });
    ExecSession { output: from_program, stdin, resize, exit }
}

/// A piece of what a program of this container writes.
pub(crate) fn chunk(
    piece: Result<LogOutput, bollard::errors::Error>,
    container: &str,
) -> Result<LogChunk, RuntimeError> {
    let (source, bytes) = match piece {
        Ok(LogOutput::StdErr { message }) => (LogSource::Stderr, message),
        Ok(LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message }) => {
            (LogSource::Stdout, message)
        }
        Err(error) => return Err(error::read(container, "read the program's output", error)),
    };
    Ok(LogChunk { source, at: SystemClock.now(), bytes })
}

/// Hands over input until its end, or the program's.
pub(crate) async fn feed(mut input: Input, mut from_user: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = from_user.recv().await {
        if let Err(error) = input.write_all(&bytes).await {
            tracing::debug!(%error, "the program takes no more input");
            return;
        }
    }
    if let Err(error) = input.shutdown().await {
        tracing::debug!(%error, "the program had ended before its input");
    }
}

impl Running {
    /// Passes output on until its end, and gives the exit code.
    async fn follow(&self, mut output: Output, reader: mpsc::Sender<LogChunk>) -> Result<i32, RuntimeError> {
        let mut held = Held::default();
        while let Some(piece) = output.next().await {
            // Who does not read any more may still wait for the exit.
            for piece in held.take(chunk(piece, &self.container)?) {
                drop(reader.send(piece).await);
            }
        }
        if held.pieces.is_empty() {
            drop(reader);
            return Ok(self.exit_code().await?.0);
        }
        let (code, pid) = self.exit_code().await?;
        if let Some(words) = held.words(code, pid) {
            let (subject, program) = (self.container.clone(), self.program.clone());
            return Err(RuntimeError::Start { subject, program, source: words.into() });
        }
        for piece in held.pieces {
            drop(reader.send(piece).await);
        }
        Ok(code)
    }

    fn ended_with_its_container(&self) -> RuntimeError {
        error::refused(
            &self.container,
            "run a program in it to its end",
            "the container has ended, and the program with it",
        )
    }

    /// The exit code, and the process number on the engine's host, where the engine says it.
    async fn exit_code(&self) -> Result<(i32, Option<i64>), RuntimeError> {
        let deadline = tokio::time::Instant::now() + EXIT_LIMIT;
        loop {
            let exec = self.core.docker.inspect_exec(&self.exec).await;
            let exec = exec.map_err(|error| error::read(&self.container, "ask for the exit code", error))?;
            if exec.running == Some(false)
                && let Some(code) = exec.exit_code.and_then(|code| i32::try_from(code).ok())
            {
                return Ok((code, exec.pid));
            }
            if tokio::time::Instant::now() > deadline {
                let (subject, operation) = (self.container.clone(), "the end of the program");
                let source = "its output has ended, and the engine says that it runs".into();
                return Err(RuntimeError::OutcomeUnknown { subject, operation, source });
            }
            tokio::time::sleep(EXIT_PERIOD).await;
        }
    }

    /// The number of the program's process, where it has one: for a while the engine may still be about its start.
    async fn pid(&self) -> Option<i64> {
        let deadline = tokio::time::Instant::now() + EXIT_LIMIT;
        while tokio::time::Instant::now() < deadline {
            match self.core.docker.inspect_exec(&self.exec).await {
                Ok(exec) if exec.running == Some(true) && exec.pid.is_some_and(|pid| pid > 1) => {
                    return exec.pid;
                }
                Ok(exec) if exec.running != Some(true) && exec.exit_code.is_some() => return None,
                Ok(_) => tokio::time::sleep(EXIT_PERIOD).await,
                Err(error) => {
                    tracing::debug!(container = self.container, %error, "the program is gone with its container");
                    return None;
                }
            }
        }
        tracing::warn!(
            container = self.container,
            "the engine does not say what a dropped program's process is"
        );
        None
    }

    /// Kills the program. The engine can't, so a helper does that sees the host's processes; it looks whether the
    /// number still is that of a process of the container.
    async fn kill(&self) {
        let Some(pid) = self.pid().await else { return };
        kills::kill(&self.core, pid, &self.docker_id).await;
    }
}
