//! Kills what belongs to a container, and nothing else.
//!
//! A pid can be another process's the next moment. So a process is opened first, then looked at, and then killed
//! through the descriptor: what was looked at is what dies. Only the group of a main process whose pid can't have
//! been given away is killed by number.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::launch::{EXEC_MARKER, MARKER};
use crate::procfs::{self, Variable};
use crate::state::{Core, Process};

/// Rounds of looking for processes and killing them. Each finds what was forked during the one before; a program
/// that forks faster than it is killed for so long can't be stopped without a cgroup.
const MAX_ROUNDS: usize = 50;

/// How often a process is looked at that is just becoming another program, with a turn for it in between.
const MAX_LOOKS: usize = 1000;

/// How long killed processes may take to be gone. Longer only where the kernel hangs on a device.
const DEATH: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// [`DEATH`] for those who wait asynchronously, with what comes after it.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn pid(number: i32) -> Option<Pid> {
    Pid::from_raw(number).filter(|_| number > 1)
}

/// Opens a process, and makes sure that it is the one that started at `start_ticks`.
pub(crate) fn open(number: i32, start_ticks: u64) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = pid(number) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        pidfd => pidfd?,
    };
    match procfs::stat(number) {
        Ok(stat) if stat.start_ticks == start_ticks => Ok(Some(pidfd)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a process has ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    let mut poll_fd = [PollFd::new(pidfd, PollFlags::IN)];
    Ok(poll(&mut poll_fd, Some(&Timespec::default()))? > 0)
}

/// Sends a signal by number; a process that is gone is no error.
pub(crate) fn signal(pidfd: &OwnedFd, number: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(number)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{number} is no signal")))?;
    match pidfd_send_signal(pidfd, signal) {
        Err(Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills the group of a main process that has ended. `child`: it is a zombie of ours, so its pid is still its
/// own. Otherwise the group is left to the markers, unless nobody has that pid.
pub(crate) fn group_of_dead(process: &Process, child: bool) {
    let own = child
        || match procfs::stat(process.pid) {
            Ok(stat) => stat.start_ticks == process.start_ticks,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
    if own {
        group(process.pid);
    }
}

/// Kills a group by number, which the caller knows to be the right one.
pub(crate) fn group(number: i32) {
    let Some(pid) = pid(number) else { return };
    match kill_process_group(pid, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => tracing::warn!(pid = number, %error, "a process group can't be killed"),
    }
}

/// A process that bears our marker.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) pid: i32,
    pub(crate) container: String,
    pub(crate) exec: bool,
    pub(crate) stat: procfs::Stat,
    pub(crate) pidfd: OwnedFd,
}

/// All living processes that bear this instance's marker, but `except`.
pub(crate) fn find_marked(instance: &str, except: &BTreeSet<i32>) -> io::Result<Vec<Marked>> {
    let (mut found, mut blank, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    for number in procfs::pids()? {
        if except.contains(&number) {
            continue;
        }
        match procfs::variable(number, MARKER.as_bytes(), &mut buffer) {
            Variable::Value(value) => found.extend(inspect(number, instance, &value, &mut buffer)),
            Variable::Blank => blank.push(number),
            Variable::Absent => {}
        }
    }
    // Those that were just becoming another program are it by now, or soon.
    for number in blank {
        let mut variable = Variable::Blank;
        for _ in 0..MAX_LOOKS {
            std::thread::yield_now();
            variable = procfs::variable(number, MARKER.as_bytes(), &mut buffer);
            if variable != Variable::Blank || !procfs::stat(number).is_ok_and(|stat| stat.becoming) {
                break;
            }
        }
        if let Variable::Value(value) = variable {
            found.extend(inspect(number, instance, &value, &mut buffer));
        }
    }
    Ok(found)
}

/// Opens a process with a marker of ours, and looks again now that the descriptor holds on to one process.
fn inspect(number: i32, instance: &str, value: &str, buffer: &mut Vec<u8>) -> Option<Marked> {
    let (of, container) = value.split_once('/')?;
    if of != instance {
        return None;
    }
    let pidfd = pidfd_open(pid(number)?, PidfdFlags::empty()).ok()?;
    if procfs::variable(number, MARKER.as_bytes(), buffer) != Variable::Value(value.to_owned()) {
        return None;
    }
    let stat = procfs::stat(number).ok().filter(|stat| !stat.is_zombie())?;
    let exec = matches!(procfs::variable(number, EXEC_MARKER.as_bytes(), buffer), Variable::Value(_));
    Some(Marked { pid: number, container: container.to_owned(), exec, stat, pidfd })
}

/// All living processes whose output is one of these containers', but `except`: they have thrown the marker away, and
/// not the output that they were given.
fn find_writers(core: &Core, containers: &BTreeSet<&str>, except: &BTreeSet<i32>) -> io::Result<Vec<Marked>> {
    // As the kernel names them: without links on the way.
    let dir = core.slots.spool_dir().canonicalize()?;
    let mut outputs = BTreeMap::new();
    for container in containers.iter().filter_map(|id| core.index().get(id)) {
        for spool in core.slots.spools(container.record.slot) {
            outputs.extend(spool.file_name().map(|name| (dir.join(name), Arc::clone(container.id()))));
        }
    }
    let owner = |number| procfs::outputs(number).find_map(|file| outputs.get(&file));
    let mut found = Vec::new();
    for number in procfs::pids()? {
        if except.contains(&number) || owner(number).is_none() {
            continue;
        }
        // Looked at again now that the descriptor holds on to one process.
        let opened = pid(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let stat = procfs::stat(number).ok().filter(|stat| !stat.is_zombie());
        if let (Some(pidfd), Some(stat), Some(container)) = (opened, stat, owner(number)) {
            let container = container.to_string();
            found.push(Marked { pid: number, container, exec: false, stat, pidfd });
        }
    }
    Ok(found)
}

/// Kills all that bears the marker of these containers, or writes their output, and waits until it is gone.
pub(crate) fn marked(core: &Core, containers: &BTreeSet<&str>) {
    for id in containers {
        core.cgroups.kill(id);
    }
    // The main processes of the other containers need no look; nor does who does not die at once: it waits for a device of the
    // kernel, and all others for us.
    let mut except: BTreeSet<i32> = core
        .index()
        .all()
        .iter()
        .filter(|container| !containers.contains(container.id().as_ref()))
        .filter_map(|container| container.process().map(|process| process.pid))
        .chain([rustix::process::getpid().as_raw_nonzero().get()])
        .collect();
    for _ in 0..MAX_ROUNDS {
        let found = match find_marked(&core.instance, &except) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "what a container left behind can't be looked for");
                return;
            }
        };
        let ours = |found: &Marked| containers.contains(found.container.as_str());
        let mut found: Vec<_> = found.into_iter().filter(ours).collect();
        if found.is_empty() {
            found = find_writers(core, containers, &except).unwrap_or_else(|error| {
                tracing::warn!(%error, "who writes a container's output can't be looked for");
                Vec::new()
            });
        }
        if found.is_empty() {
            return;
        }
        except.extend(kill_all(&found));
    }
    tracing::warn!(?containers, "a container's processes fork faster than they can be killed");
}

/// Kills processes and waits until they are gone, for all of them together no longer than [`DEATH`]. Returns those that are not.
pub(crate) fn kill_all(processes: &[Marked]) -> Vec<i32> {
    for process in processes {
        if let Err(error) = signal(&process.pidfd, Signal::KILL.as_raw()) {
            tracing::warn!(pid = process.pid, container = process.container, %error, "a process can't be killed");
        }
    }
    let mut left = Vec::new();
    for process in processes {
        // The others were killed as long ago as the first that did not die.
        let patience = if left.is_empty() { DEATH } else { Timespec::default() };
        if !dies_within(&process.pidfd, &patience) {
            tracing::warn!(pid = process.pid, container = process.container, "a killed process does not end");
            left.push(process.pid);
        }
    }
    left
}

/// Waits until a killed process is gone. Returns whether it is, after [`DEATH`] at the latest.
pub(crate) fn wait_for_death(pidfd: &OwnedFd) -> bool {
    dies_within(pidfd, &DEATH)
}

fn dies_within(pidfd: &OwnedFd, patience: &Timespec) -> bool {
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(patience)) {
            Ok(ended) => return ended > 0,
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::warn!(%error, "a killed process can't be waited for");
                return false;
            }
        }
    }
}
