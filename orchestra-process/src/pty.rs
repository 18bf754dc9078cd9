//! Terminals for what `exec` runs.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::OFlags;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::{mpsc, watch};

use crate::reap::Status;

/// The size of a terminal until its client says another.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// Gives a command a new terminal as input, output and controlling terminal, in a session and group of its own.
/// Returns our end.
pub(crate) fn attach(command: &mut Command) -> io::Result<OwnedFd> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    tcsetwinsize(&master, SIZE)?;
    let name = ptsname(&master, Vec::new())?;
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let flags = OFlags::NOCTTY.bits().cast_signed();
    let slave = File::options().read(true).write(true).custom_flags(flags).open(path)?;
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    #[allow(unsafe_code, reason = "std has no stable way to give a child a session and a terminal")]
    // SAFETY: between fork and exec the closure makes two system calls through rustix, which neither allocate nor
    // lock, and touches no memory of this process. Standard input is the terminal by then: std sets it up first.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    Ok(master)
}

/// Sets the sizes the client sends, until it or the program ends.
pub(crate) async fn resize(
    terminal: OwnedFd,
    mut sizes: mpsc::Receiver<(u16, u16)>,
    mut ended: watch::Receiver<Option<Status>>,
) {
    loop {
        let size = tokio::select! {
            biased;
            _ = ended.wait_for(Option::is_some) => return,
            size = sizes.recv() => size,
        };
        let Some((columns, rows)) = size else { return };
        let size = Winsize { ws_col: columns, ws_row: rows, ..SIZE };
        if let Err(error) = tcsetwinsize(&terminal, size) {
            tracing::debug!(%error, "a terminal's size can't be set");
        }
    }
}
