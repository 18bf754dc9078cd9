//! Starts programs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Gid, Mode, Uid, fchown, mknodat};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::launch::EXEC_MARKER;
use crate::procfs;
use crate::record::Launch;

/// The last of the descriptors that every program has: input, output, errors.
const STDERR: RawFd = 2;

/// A process that was started: ours, so its pid is its own until we wait for it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) start_ticks: u64,
    pub(crate) pidfd: Arc<OwnedFd>,
}

/// A program with a container's environment, directory and user, still without its input and output.
///
/// For what can't be started [directly](starts_directly), and for what `exec` runs. std forks for another user, for
/// limits, and where descriptors must be closed.
fn command(launch: &Launch, program: &Path, args: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(&launch.cwd);
    command.env_clear().envs(launch.env.iter().map(|(name, value)| (name, value)));
    if !launch.groups.is_empty() {
        join(&mut command, launch);
    } else if let Some((user, group)) = launch.user {
        command.uid(user).gid(group.unwrap_or(user));
    }
    command
}

/// Makes the child of a command enter its groups and then become its user: std does the second first, and has no stable way
/// for groups.
fn join(command: &mut Command, launch: &Launch) {
    let groups: Vec<Gid> = launch.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let user = launch.user.map(|(user, group)| (Uid::from_raw(user), Gid::from_raw(group.unwrap_or(user))));
    #[allow(unsafe_code, reason = "std has no stable way to start a child in further groups")]
    // SAFETY: between fork and exec the closure only makes system calls through rustix, which neither allocates nor
    // locks. The child has one thread, so what is set for the thread is set for the process.
    unsafe {
        command.pre_exec(move || {
            set_thread_groups(&groups)?;
            if let Some((user, group)) = user {
                set_thread_gid(group)?;
                set_thread_uid(user)?;
            }
            Ok(())
        });
    }
}

/// Makes a command lead a process group, so that all of it can be killed at once, and no Ctrl-C meant for us
/// reaches it.
pub(crate) fn own_group(command: &mut Command) {
    command.process_group(0);
}

/// The command of a further program in a container, in the control groups behind `doors`. It needs a process group of its
/// own, or a session.
pub(crate) fn exec_command(launch: &Launch, program: &Path, args: &[String], doors: Vec<File>) -> Command {
    let mut command = command(launch, program, args);
    command.env(EXEC_MARKER, "1");
    enter(&mut command, doors);
    command
}

/// Makes the child of a command enter control groups before it becomes the program.
///
/// For this std forks, which takes longer the more memory this process has: only limited containers pay it.
fn enter(command: &mut Command, doors: Vec<File>) {
    if doors.is_empty() {
        return;
    }
    #[allow(unsafe_code, reason = "std has no stable way to start a child in a control group")]
    // SAFETY: between fork and exec the closure only writes to open descriptors through rustix, which neither
    // allocates nor locks. The files are opened before, and closed by exec.
    unsafe {
        command.pre_exec(move || {
            for door in &doors {
                // 0 is the writer itself.
                rustix::io::write(door, b"0")?;
            }
            Ok(())
        });
    }
}

/// Whether a container's main process is started without a fork, whatever this process would hand on to it.
pub(crate) fn starts_directly(launch: &Launch) -> bool {
    #[cfg(target_env = "gnu")]
    return crate::direct::is_possible(launch);
    #[cfg(not(target_env = "gnu"))]
    return false;
}

/// Starts a container's main process, in the control groups behind `doors`.
pub(crate) fn main_process(
    launch: &Launch,
    spools: [File; 2],
    stdin: Option<&Path>,
    doors: Vec<File>,
) -> io::Result<Spawned> {
    if let Some((user, group)) = launch.user {
        // So that the program can open its own output again, as `/dev/stdout`.
        for spool in &spools {
            fchown(spool, Some(Uid::from_raw(user)), Some(Gid::from_raw(group.unwrap_or(user))))?;
        }
    }
    let [stdout, stderr] = spools;
    let stdin = match stdin {
        Some(pipe) => open_stdin(pipe)?,
        None => File::open("/dev/null")?,
    };
    #[cfg(target_env = "gnu")]
    if starts_directly(launch) {
        return opened(crate::direct::spawn(launch, [stdin, stdout, stderr])?);
    }
    let mut command = command(launch, &launch.program, &launch.args);
    own_group(&mut command);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    enter(&mut command, doors);
    spawned(&mut command)
}

/// The descriptors beyond input and output that this process would hand on to programs: the embedding program, or
/// whoever started it, opened them so. All of ours, and all of std's, close by themselves.
///
/// Asks for each number there may be: to list those that are open takes the kernel three times as long.
fn handed_on() -> io::Result<Vec<RawFd>> {
    let inherited = |number: &RawFd| {
        #[allow(unsafe_code, reason = "only the number is known of what others opened")]
        // SAFETY: the descriptor is only asked for its flag. Where it is closed meanwhile there is none, or another
        // one answers: neither is touched.
        let fd = unsafe { BorrowedFd::borrow_raw(*number) };
        fcntl_getfd(fd).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
    };
    Ok((STDERR + 1..procfs::descriptor_limit()?).filter(inherited).collect())
}

/// Keeps from a command's child what this process would hand on to it. The descriptors of this process stay as they
/// are: others may count on them.
///
/// What another thread opens between this look and the start of the child is missed. Closing it would need a fork
/// each time; so it takes one only where there is something to close.
fn hand_on_nothing(command: &mut Command) -> io::Result<()> {
    let found = handed_on()?;
    if found.is_empty() {
        return Ok(());
    }
    #[allow(unsafe_code, reason = "std has no stable way to close a child's descriptors")]
    // SAFETY: between fork and exec the closure only sets flags through rustix, which neither allocates nor locks.
    // They are those of the child's own copies of the descriptors; one that was closed before the fork is no error.
    unsafe {
        command.pre_exec(move || {
            for number in &found {
                match fcntl_setfd(BorrowedFd::borrow_raw(*number), FdFlags::CLOEXEC) {
                    Ok(()) | Err(Errno::BADF) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        });
    }
    Ok(())
}

/// Runs a command, and opens the process while nobody else can have its pid.
pub(crate) fn spawned(command: &mut Command) -> io::Result<Spawned> {
    hand_on_nothing(command)?;
    let child = command.spawn()?;
    opened(i32::try_from(child.id()).map_err(io::Error::other)?)
}

/// Opens a process that was just started.
fn opened(pid: i32) -> io::Result<Spawned> {
    let opened = open(pid);
    if opened.is_err() {
        // Without a descriptor (too many are open) it could never be waited for.
        crate::kill::group(pid);
        if let Some(pid) = Pid::from_raw(pid)
            && let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
        {
            tracing::warn!(%error, "a process that can't be watched was not waited for");
        }
    }
    let (start_ticks, pidfd) = opened?;
    Ok(Spawned { pid, start_ticks, pidfd: Arc::new(pidfd) })
}

fn open(number: i32) -> io::Result<(u64, OwnedFd)> {
    let pid = Pid::from_raw(number).ok_or_else(|| io::Error::other("the child has no pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok((procfs::stat(number)?.start_ticks, pidfd))
}

/// An input that stays open: a pipe which the program itself holds at both ends, so that it outlives us.
fn open_stdin(path: &Path) -> io::Result<File> {
    match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    File::options().read(true).write(true).custom_flags(flags).open(path)
}

/// Kills a process we have just started, and waits for it.
pub(crate) fn undo(spawned: &Spawned) {
    crate::kill::group(spawned.pid);
    if let Err(error) = waitid(WaitId::PidFd(spawned.pidfd.as_fd()), WaitIdOptions::EXITED) {
        tracing::warn!(pid = spawned.pid, %error, "a process that was taken back was not waited for");
    }
}
