//! The exit status of a process that is not our child.
//!
//! Linux 6.15 and later tell it to whoever held a descriptor of the process when it ended (`PIDFD_GET_INFO`, see
//! `include/uapi/linux/pidfd.h`). Older kernels refuse the call, and the status stays unknown.

use std::os::fd::OwnedFd;

use rustix::ioctl::{Updater, ioctl, opcode};

use crate::reap::Status;

/// `PIDFD_INFO_EXIT`: asks for the exit status, and says that it is there.
const INFO_EXIT: u64 = 1 << 3;

/// The first published form of `struct pidfd_info`: 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, and eight user and group ids.
    ids: [u32; 11],
    exit_code: i32,
}

const GET_INFO: rustix::ioctl::Opcode = opcode::read_write::<Info>(0xff, 11);

/// How the process ended, where it has and the kernel tells.
pub(crate) fn exit_status(pidfd: &OwnedFd) -> Option<Status> {
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    #[allow(unsafe_code, reason = "std and rustix have no PIDFD_GET_INFO")]
    // SAFETY: the opcode is PIDFD_GET_INFO for a structure of exactly this size and layout, which the kernel
    // reads and writes within its size; it holds plain integers, valid for any bits.
    unsafe { ioctl(pidfd, Updater::<GET_INFO, Info>::new(&mut info)) }.ok()?;
    (info.mask & INFO_EXIT != 0).then(|| decode(info.exit_code))
}

/// A wait status as of wait(2): the signal in the low seven bits, the exit code in the second byte.
pub(crate) fn decode(status: i32) -> Status {
    match status & 0x7f {
        0 => Status::Code((status >> 8) & 0xff),
        signal => Status::Signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_are_decoded() {
        assert_eq!(size_of::<Info>(), 64);
        assert_eq!(decode(7 << 8), Status::Code(7));
        assert_eq!(decode(9), Status::Signal(9));
        assert_eq!(decode(11 | 0x80), Status::Signal(11), "with a core file");
    }
}
