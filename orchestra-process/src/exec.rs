//! Runs further programs in a container.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use orchestra_core::runtime::{ExecOptions, ExecSession, LogChunk, LogSource, RuntimeError};
use tokio::sync::{mpsc, watch};

use crate::error::{failed, not_found, passes, start as start_error, unsupported};
use crate::keeper::Target;
use crate::launch::find_program;
use crate::reap::{self, Status};
use crate::record::Launch;
use crate::state::{Container, Core, Run};
use crate::stdio::{Output, pump_input, pump_output};
use crate::{kill, pty, spawn};

/// Chunks that may wait between a program and its client. A program that is ahead by more is made to wait, as
/// it is by a pipe.
const MAX_WAITING: usize = 16;

/// A program run by `exec`.
#[derive(Debug)]
pub(crate) struct ExecProcess {
    pid: i32,
    container: Arc<Container>,
    pidfd: Arc<OwnedFd>,
    /// How it ended, once it was waited for.
    status: watch::Sender<Option<Status>>,
    /// Held while it is waited for, and while its group is killed: only before the first is its pid its own.
    reap: Mutex<()>,
}

impl ExecProcess {
    /// Takes note that it ended.
    pub(crate) fn reap(&self) {
        let _reap = self.reap.lock().unwrap_or_else(PoisonError::into_inner);
        self.container.execs().remove(&self.pid);
        self.status.send_replace(Some(reap::wait(&self.pidfd)));
    }

    /// Kills its group, unless it has ended.
    pub(crate) fn kill(&self) {
        let _reap = self.reap.lock().unwrap_or_else(PoisonError::into_inner);
        if self.status.borrow().is_none() {
            kill::group(self.pid);
        }
    }
}

/// Kills the program when its session is dropped.
#[derive(Debug)]
struct KillOnDrop(Arc<ExecProcess>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Our ends of what the program reads and writes.
#[derive(Debug)]
struct Ends {
    input: Option<OwnedFd>,
    outputs: Vec<(LogSource, OwnedFd)>,
    /// The terminal, to change its size.
    terminal: Option<OwnedFd>,
}

pub(crate) fn exec(
    core: &Arc<Core>,
    container: &Arc<Container>,
    options: &ExecOptions,
) -> Result<ExecSession, RuntimeError> {
    let id = container.id();
    let Some((program, args)) = options.command.split_first().filter(|(program, _)| !program.is_empty())
    else {
        return Err(unsupported(id, "exec needs a program"));
    };
    // Held until the program runs: the container's end, which kills all in it, comes before or after.
    let run = container.run();
    if !matches!(*run, Run::Running(_)) {
        return Err(not_found("running container", id));
    }
    let path = locate(&container.dir, &container.record.launch, program);
    let doors = core.cgroups.doors(id).map_err(|error| failed(id, "find its control groups", error))?;
    let (process, ends) = spawn_program(container, &path, args, options, doors).map_err(|error| {
        if passes(&error) {
            failed(id, "run a program in it", error)
        } else {
            start_error(id, program, error)
        }
    })?;
    if let Err(error) = core.keeper.watch(Arc::clone(&process.pidfd), Target::Exec(Arc::clone(&process))) {
        process.kill();
        process.reap();
        return Err(failed(id, "run a program in it", error));
    }
    drop(run);
    session(core, id, &process, ends).map_err(|error| failed(id, "run a program in it", error))
}

/// A path that the host doesn't have is looked for below the container's directory, where its mounts are.
fn locate(dir: &Path, launch: &Launch, program: &str) -> PathBuf {
    let path = Path::new(program);
    if path.is_absolute() && !path.exists() {
        let below = dir.join(path.strip_prefix("/").unwrap_or(path));
        if below.exists() {
            return below;
        }
    }
    find_program(path, &launch.env, &launch.cwd)
}

fn spawn_program(
    container: &Arc<Container>,
    program: &Path,
    args: &[String],
    options: &ExecOptions,
    doors: Vec<File>,
) -> io::Result<(Arc<ExecProcess>, Ends)> {
    let launch = &container.record.launch;
    let mut command = spawn::exec_command(launch, program, args, doors);
    let ends = if options.tty {
        if !launch.env.iter().any(|(name, _)| name == "TERM") {
            command.env("TERM", OsString::from("xterm"));
        }
        let master = pty::attach(&mut command)?;
        let input = options.stdin.then(|| master.try_clone()).transpose()?;
        let outputs = vec![(LogSource::Stdout, master.try_clone()?)];
        Ends { input, outputs, terminal: Some(master) }
    } else {
        spawn::own_group(&mut command);
        let (stdout, to_stdout) = io::pipe()?;
        let (stderr, to_stderr) = io::pipe()?;
        command.stdout(to_stdout).stderr(to_stderr);
        let input = if options.stdin {
            let (from_stdin, stdin) = io::pipe()?;
            command.stdin(from_stdin);
            Some(stdin.into())
        } else {
            command.stdin(Stdio::null());
            None
        };
        let outputs = vec![(LogSource::Stdout, stdout.into()), (LogSource::Stderr, stderr.into())];
        Ends { input, outputs, terminal: None }
    };
    let spawned = spawn::spawned(&mut command)?;
    container.execs().insert(spawned.pid);
    let process = ExecProcess {
        pid: spawned.pid,
        container: Arc::clone(container),
        pidfd: spawned.pidfd,
        status: watch::Sender::new(None),
        reap: Mutex::new(()),
    };
    Ok((Arc::new(process), ends))
}

/// Connects a running program with its client. On an error the program is killed.
fn session(core: &Core, id: &Arc<str>, process: &Arc<ExecProcess>, ends: Ends) -> io::Result<ExecSession> {
    let guard = KillOnDrop(Arc::clone(process));
    let is_terminal = ends.terminal.is_some();
    let (to_client, output) = mpsc::channel::<LogChunk>(MAX_WAITING);
    for (source, end) in ends.outputs {
        let output = Output { source, clock: Arc::clone(&core.clock), to: to_client.clone() };
        core.tasks.spawn(pump_output(crate::stdio::async_fd(end)?, output, process.status.subscribe()));
    }
    let mut stdin = None;
    if let Some(end) = ends.input {
        let (sender, from_client) = mpsc::channel::<Bytes>(MAX_WAITING);
        let end = crate::stdio::async_fd(end)?;
        core.tasks.spawn(pump_input(end, from_client, is_terminal, process.status.subscribe()));
        stdin = Some(sender);
    }
    let mut resize = None;
    if let Some(terminal) = ends.terminal {
        let (sender, sizes) = mpsc::channel(MAX_WAITING);
        core.tasks.spawn(pty::resize(terminal, sizes, process.status.subscribe()));
        resize = Some(sender);
    }
    let (id, mut ended) = (Arc::clone(id), process.status.subscribe());
    let exit = Box::pin(async move {
        let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        drop(guard);
        status.and_then(Status::code).ok_or_else(|| RuntimeError::OutcomeUnknown {
            subject: id.to_string(),
            operation: "the end of a program run in it",
            source: "somebody else has waited for it".into(),
        })
    });
    Ok(ExecSession { output, stdin, resize, exit })
}
