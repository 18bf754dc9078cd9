//! Starts a program by `posix_spawn`: it takes the same time however large this process is, and hands nothing on.
//!
//! std's `Command` uses it too, but closes nothing in the child but what is marked to be closed; and only what runs
//! between fork and exec could do it there, for which std forks.

#![allow(unsafe_code, reason = "std's Command can't close what it does not know")]

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, c_char, c_int};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::io::fcntl_dupfd_cloexec;

use crate::record::Launch;

/// The first descriptor after input, output and errors.
const FIRST_OTHER: RawFd = 3;

/// Whether `launch` can be started so: it has an absolute path, and the child has nothing to do before it becomes
/// the program that `posix_spawn` has no word for.
pub(crate) fn is_possible(launch: &Launch) -> bool {
    launch.user.is_none()
        && launch.groups.is_empty()
        && launch.limits.is_none()
        && launch.program.is_absolute()
}

/// Starts the main program of `launch`, as the leader of a process group, with `stdio` as its input, output and
/// errors, and no other descriptor. Returns its pid.
pub(crate) fn spawn(launch: &Launch, stdio: [File; 3]) -> io::Result<i32> {
    let program = c_string(launch.program.as_os_str())?;
    let args = launch.args.iter().map(|arg| c_string(OsStr::new(arg)));
    let args = std::iter::once(Ok(program.clone())).chain(args).collect::<io::Result<Vec<_>>>()?;
    // Of two values of a variable the later one counts.
    let env: BTreeMap<_, _> = launch.env.iter().map(|(name, value)| (name, value)).collect();
    let env = env.iter().map(|(name, value)| c_string(OsStr::new(&format!("{name}={value}"))));
    let env = env.collect::<io::Result<Vec<_>>>()?;
    let mut actions = Actions::new()?;
    actions.stdio(stdio)?;
    actions.change_dir(&launch.cwd)?;
    let attributes = Attributes::new()?;
    let (args, env) = (pointers(&args), pointers(&env));
    let mut pid = 0;
    // SAFETY: all pointers are to values that live until the call returns; both lists of strings end with a null
    // pointer. Of the strings, which C takes as mutable, posix_spawn changes none.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.raw,
            &raw const attributes.raw,
            args.as_ptr(),
            env.as_ptr(),
        )
    };
    check(result).map(|()| pid)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::from)
}

/// C's list of strings: pointers, and a null pointer at the end.
fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings.iter().map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// These functions return the error's number, and leave `errno` alone.
fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// What the child does before it becomes the program.
struct Actions {
    raw: libc::posix_spawn_file_actions_t,
    /// What the actions name by number.
    open: Vec<OwnedFd>,
}

impl Actions {
    fn new() -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: it initialises what it is given, where it succeeds.
        check(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: it did.
        Ok(Self { raw: unsafe { raw.assume_init() }, open: Vec::new() })
    }

    /// Makes `files` the descriptors 0, 1 and 2, and closes all others.
    fn stdio(&mut self, files: [File; 3]) -> io::Result<()> {
        for (file, number) in files.into_iter().zip(0..) {
            let mut fd = OwnedFd::from(file);
            if fd.as_raw_fd() < FIRST_OTHER {
                // Where this process had closed its own: one that is set before would take its place.
                fd = fcntl_dupfd_cloexec(&fd, FIRST_OTHER)?;
            }
            // SAFETY: the actions are initialised; the descriptor stays open as long as they live.
            check(unsafe {
                libc::posix_spawn_file_actions_adddup2(&raw mut self.raw, fd.as_raw_fd(), number)
            })?;
            self.open.push(fd);
        }
        // SAFETY: the actions are initialised. It closes descriptors of the child alone.
        check(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&raw mut self.raw, FIRST_OTHER) })
    }

    fn change_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = c_string(dir.as_os_str())?;
        // SAFETY: the actions are initialised; they take a copy of the path.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.raw, dir.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: they are initialised, and nobody has them after this. It can't fail.
        let _always_zero = unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.raw) };
    }
}

/// What the child is: a group of its own, with no signal blocked, and `SIGPIPE` as programs expect it.
struct Attributes {
    raw: libc::posix_spawnattr_t,
}

impl Attributes {
    fn new() -> io::Result<Self> {
        const FLAGS: c_int =
            libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(FLAGS).map_err(io::Error::other)?;
        let mut raw = MaybeUninit::uninit();
        // SAFETY: it initialises what it is given, where it succeeds.
        check(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: it did.
        let mut new = Self { raw: unsafe { raw.assume_init() } };
        let mut set = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised; sigemptyset initialises the set, which can't fail for a valid
        // pointer, and sigaddset adds a signal that exists.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(&raw mut new.raw, set.as_ptr()))?;
            libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(&raw mut new.raw, set.as_ptr()))?;
            check(libc::posix_spawnattr_setpgroup(&raw mut new.raw, 0))?;
            check(libc::posix_spawnattr_setflags(&raw mut new.raw, flags))?;
        }
        Ok(new)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they are initialised, and nobody has them after this. It can't fail.
        let _always_zero = unsafe { libc::posix_spawnattr_destroy(&raw mut self.raw) };
    }
}
