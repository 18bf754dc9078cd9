//! What happens when a container's main process has ended.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::keeper::Target;
use crate::kill;
use crate::launch::TERMINATION_FILE;
use crate::pidfd_info;
use crate::procfs;
use crate::record::{End, Record};
use crate::state::{Container, Core, Process, Run};

/// How much of a termination message is kept: Kubernetes' limit.
const MAX_MESSAGE: u64 = 4096;

/// A signal's number is added to this to make an exit code, as shells do.
const SIGNAL_BASE: i32 = 128;

const SIGKILL: i32 = 9;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Somebody else waited for it, and the kernel does not tell.
    Unknown,
}

impl Status {
    pub(crate) fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(SIGNAL_BASE + signal),
            Self::Unknown => None,
        }
    }
}

impl From<WaitIdStatus> for Status {
    fn from(status: WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (_, Some(signal)) => Self::Signal(signal),
            _ => Self::Unknown,
        }
    }
}

/// How an ended process ended, and whether it is our child: then it stays a zombie, so that its pid belongs to
/// nobody else yet. An adopted one may still be a zombie, which shows its status; of one that was waited for by
/// somebody else the kernel (6.15 and later) tells through its descriptor.
fn peek(process: &Process) -> (Status, bool) {
    let pidfd = &process.pidfd;
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
        Ok(Some(status)) => (status.into(), true),
        _ => (
            zombie_status(process).or_else(|| pidfd_info::exit_status(pidfd)).unwrap_or(Status::Unknown),
            false,
        ),
    }
}

/// The status of a zombie. 0 may also mean that we may not see it: whoever can say better does.
fn zombie_status(process: &Process) -> Option<Status> {
    let stat = procfs::stat(process.pid).ok()?;
    if stat.start_ticks != process.start_ticks || !stat.is_zombie() {
        return None;
    }
    let user = rustix::process::geteuid();
    let owner = fs::metadata(format!("/proc/{}", process.pid)).ok()?.uid();
    let visible = stat.exit_status != 0 || user.is_root() || user.as_raw() == owner;
    visible.then(|| pidfd_info::decode(stat.exit_status))
}

/// Takes a zombie's pid away. Somebody else may have done it.
pub(crate) fn wait(pidfd: &OwnedFd) -> Status {
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
        Ok(Some(status)) => status.into(),
        _ => pidfd_info::exit_status(pidfd).unwrap_or(Status::Unknown),
    }
}

/// Takes note of ended processes, and kills what they left behind.
pub(crate) fn reap(core: &Core, ended: Vec<Target>) {
    let mut containers = Vec::new();
    for target in ended {
        match target {
            Target::Exec(process) => process.reap(),
            Target::Container(container) => {
                // Held while the container is being started; afterwards it is running, or gone.
                let Some(process) = container.process() else { continue };
                let (status, child) = peek(&process);
                kill::group_of_dead(&process, child);
                // They need no marker to be found: one that is just becoming another program has none to be seen. While they are
                // in the list, and the list is held, nobody has waited for them.
                container.execs().iter().for_each(|exec| kill::group(*exec));
                containers.push((container, process, status));
            }
        }
    }
    if containers.is_empty() {
        return;
    }
    let ids: BTreeSet<&str> = containers.iter().map(|(container, ..)| container.id().as_ref()).collect();
    kill::marked(core, &ids);
    for (container, process, status) in containers {
        end(core, &container, &process, status);
    }
}

fn end(core: &Core, container: &Container, process: &Process, status: Status) {
    let oom = core.cgroups.remove(container.id());
    let status = match wait(&process.pidfd) {
        Status::Unknown => status,
        status => status,
    };
    let now = core.now();
    if let Err(error) = container.log.finish(now) {
        tracing::warn!(container = %container.id(), %error, "the end of its output can't be moved into the log");
    }
    let end = match status.code() {
        None => End::Unknown,
        Some(code) => End::Exited {
            code,
            signal: if let Status::Signal(signal) = status { Some(signal) } else { None },
            oom: oom && status == Status::Signal(SIGKILL),
            at: now,
            message: message(&container.dir).unwrap_or_default(),
        },
    };
    set_end(core, container, end, Some(process.at));
}

/// Writes an end down, and tells everybody.
pub(crate) fn set_end(
    core: &Core,
    container: &Container,
    end: End,
    started: Option<orchestra_core::model::Timestamp>,
) {
    let record = Record::Ended { id: Arc::clone(container.id()), end: end.clone() };
    if let Err(error) = core.journal.append(record) {
        tracing::warn!(container = %container.id(), %error, "its end can't be written down: unknown after a restart");
    }
    tracing::debug!(container = %container.id(), ?end, "container ended");
    *container.run() = Run::Ended { end, started };
    container.over.send_replace(true);
    core.changed(&container.sandbox.record);
}

/// The last part of the termination message. The program may have put anything in its place: no link is
/// followed, and nothing but a plain file is read.
fn message(dir: &Path) -> io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(dir.join(TERMINATION_FILE))?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(String::new());
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(MAX_MESSAGE)))?;
    let mut text = Vec::new();
    file.take(MAX_MESSAGE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
