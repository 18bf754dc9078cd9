//! Descriptors that whoever started this program left open in it.

use std::os::fd::BorrowedFd;

use rustix::io::{FdFlags, fcntl_setfd};

/// Keeps them from the programs that this one starts. Terminals, editors and build tools leave some open, and the process
/// runtime forks for as long as there are any, where it else need not: the figure would depend on who took it.
pub(crate) fn close_on_exec() {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap());
    for number in numbers.filter(|number| *number > 2).collect::<Vec<i32>>() {
        #[allow(unsafe_code, reason = "only the number is known of what others opened")]
        // SAFETY: only a flag of the descriptor is set, and nothing else runs yet; the directory's own is closed by now.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(fd, FdFlags::CLOEXEC).ok();
    }
}
