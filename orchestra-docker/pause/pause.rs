//! The first process of every sandbox: it holds the pod's namespaces, reaps what is left to it, and ends when asked.
//!
//! `pause kill (<pid> <container>)...` kills the process groups of execs, if they still belong to those containers, and `pause end
//! <container>` all that is left of a container: run in a helper container that sees the host's processes. They end with 4 where the
//! kernel does not let them. `pause route add|del <a> <b>` makes the host answer for the network
//! a.b.0.0/16, or ends that: run in one that has the host's network. Without libc, so that its image is this one file.
#![no_std]
#![no_main]
#![no_builtins]

use core::arch::{asm, global_asm};

mod route;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const SOCKET: usize = 41;
    pub const KILL: usize = 62;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOSE: usize = 57;
    pub const GETDENTS64: usize = 61;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const KILL: usize = 129;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const SOCKET: usize = 198;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
}

// The kernel hands over the arguments on the stack: their number, then pointers to them.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call pause_main", "ud2");
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "bl pause_main", "brk #0");

/// Makes a system call.
///
/// # Safety
/// The arguments are what the call expects, and what they point to lives until it returns.
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, out("rcx") _, out("r11") _);
    }
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d);
    }
    result
}

const SIG_BLOCK: usize = 0;
const SIGINT: usize = 2;
const SIGKILL: usize = 9;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIGSET_BYTES: usize = 8;

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: takes numbers only.
        unsafe { syscall(number::EXIT_GROUP, code, 0, 0, 0) };
    }
}

/// Waits for SIGTERM or SIGINT; the kernel reaps the children of who ignores SIGCHLD.
fn pause() -> ! {
    // A kernel `sigaction` whose handler is SIG_IGN, and all else zero.
    let ignore = [1_usize, 0, 0, 0];
    let ends: u64 = 1 << (SIGTERM - 1) | 1 << (SIGINT - 1);
    let set = &raw const ends as usize;
    // SAFETY: the pointers are to locals of the sizes the kernel expects, which outlive the calls.
    unsafe {
        syscall(number::RT_SIGACTION, SIGCHLD, ignore.as_ptr() as usize, 0, SIGSET_BYTES);
        syscall(number::RT_SIGPROCMASK, SIG_BLOCK, set, 0, SIGSET_BYTES);
        // Interrupted when it is stopped and continued.
        while syscall(number::RT_SIGTIMEDWAIT, set, 0, 0, SIGSET_BYTES) < 0 {}
    }
    exit(0)
}

/// The byte at `index` of a string that ends with zero.
///
/// # Safety
/// `index` is not behind the end.
unsafe fn byte(text: *const u8, index: usize) -> u8 {
    unsafe { *text.add(index) }
}

/// Whether `text`, of `length` bytes, has the string `word` in it.
///
/// # Safety
/// `text` has that length, and `word` ends with zero.
unsafe fn contains(text: *const u8, length: usize, word: *const u8) -> bool {
    let mut start = 0;
    while start < length {
        let mut matched = 0;
        loop {
            // SAFETY: all bytes of `word` before `matched` were matched, so none of them was its end.
            let expected = unsafe { byte(word, matched) };
            if expected == 0 {
                return matched > 0;
            }
            // SAFETY: the index is below the length.
            if start + matched >= length || unsafe { byte(text, start + matched) } != expected {
                break;
            }
            matched += 1;
        }
        start += 1;
    }
    false
}

/// The number below 256 that a string is; what is none ends the program.
///
/// # Safety
/// It is a string that ends with zero.
unsafe fn octet(text: *const u8) -> u8 {
    let (mut value, mut index) = (0_usize, 0);
    // SAFETY: stops at the end of the string.
    while let digit @ b'0'..=b'9' = unsafe { byte(text, index) } {
        value = value * 10 + usize::from(digit - b'0');
        index += 1;
        if value > 255 {
            exit(2);
        }
    }
    if index == 0 {
        exit(2);
    }
    value as u8
}

/// A process's file below `/proc`, as far as there is room for it.
struct ProcFile {
    text: [u8; 4096],
    filled: usize,
}

impl ProcFile {
    const fn new() -> Self {
        Self { text: [0; 4096], filled: 0 }
    }

    /// Reads the file `/proc/PID` and `name`, of at most sixteen bytes, and says which number `pid` is; a file that can't be read
    /// is empty.
    ///
    /// # Safety
    /// `pid` is a string that ends with zero.
    unsafe fn read(&mut self, pid: *const u8, name: &[u8]) -> usize {
        let mut path = [0_u8; 64];
        let (mut length, mut value, mut index) = (0, 0_usize, 0);
        self.filled = 0;
        for part in b"/proc/" {
            path[length] = *part;
            length += 1;
        }
        // SAFETY: stops at the end of the string.
        while let digit @ b'0'..=b'9' = unsafe { byte(pid, index) } {
            if index >= 10 {
                exit(2);
            }
            value = value * 10 + usize::from(digit - b'0');
            path[length] = digit;
            length += 1;
            index += 1;
        }
        for part in name {
            path[length] = *part;
            length += 1;
        }
        // SAFETY: the path ends with zero, the buffer has its length, and the kernel's answer says how much it filled.
        unsafe {
            let opened = syscall(number::OPENAT, -100_isize as usize, path.as_ptr() as usize, 0, 0);
            if opened < 0 {
                return value;
            }
            while self.filled < self.text.len() {
                let (rest, room) = (self.text.as_mut_ptr().add(self.filled), self.text.len() - self.filled);
                let read = syscall(number::READ, opened as usize, rest as usize, room, 0);
                if read <= 0 {
                    break;
                }
                self.filled += read as usize;
            }
            syscall(number::CLOSE, opened as usize, 0, 0, 0);
        }
        value
    }

    /// # Safety
    /// `word` ends with zero.
    unsafe fn contains(&self, word: *const u8) -> bool {
        // SAFETY: no more than the whole text was filled.
        unsafe { contains(self.text.as_ptr(), self.filled, word) }
    }
}

/// The exit code where a process of somebody else has the number by now.
const OF_NOBODY: usize = 3;

/// The exit code where a process is there, and may not be killed.
const REFUSED: usize = 4;

/// Kills a process, or a group by its negative number. Returns 0 also where there is none any more.
fn kill_number(number: usize) -> usize {
    const NO_SUCH_PROCESS: isize = -3;
    // SAFETY: takes numbers only.
    match unsafe { syscall(number::KILL, number, SIGKILL, 0, 0) } {
        0 | NO_SUCH_PROCESS => 0,
        _ => REFUSED,
    }
}

/// Kills the process group `pid` if its leader is in the cgroup of `container`. Returns an exit code.
///
/// # Safety
/// Both are strings that end with zero.
unsafe fn kill(pid: *const u8, container: *const u8) -> usize {
    let mut cgroup = ProcFile::new();
    // SAFETY: both end with zero.
    let (pid, is_ours) = unsafe { (cgroup.read(pid, b"/cgroup"), cgroup.contains(container)) };
    match (pid, cgroup.filled) {
        (0 | 1, _) => exit(2),
        (_, 0) => 0,
        _ if !is_ours => OF_NOBODY,
        _ => {
            let group = kill_number(pid.wrapping_neg());
            let leader = kill_number(pid);
            if group > leader { group } else { leader }
        }
    }
}

/// Kills the processes in the cgroup of `container`, and its shim: then containerd removes what else there is of it.
///
/// # Safety
/// It is a string that ends with zero.
unsafe fn end(container: *const u8) -> ! {
    const NAME: usize = 19;
    let (mut entries, mut cgroup, mut command) = ([0_u8; 4096], ProcFile::new(), ProcFile::new());
    let mut worst = 0;
    // SAFETY: the strings end with zero; of the buffer only what the kernel filled is read, entry by entry, each of which says
    // how long it is and has a name that ends with zero.
    unsafe {
        let proc = syscall(number::OPENAT, -100_isize as usize, b"/proc\0".as_ptr() as usize, 0, 0);
        if proc < 0 {
            exit(2);
        }
        loop {
            let (to, room) = (entries.as_mut_ptr(), entries.len());
            let filled = syscall(number::GETDENTS64, proc as usize, to as usize, room, 0);
            if filled < 0 {
                exit(1);
            }
            if filled == 0 {
                exit(worst);
            }
            let mut at = 0;
            while at < filled as usize {
                let entry = to.add(at);
                at += usize::from(byte(entry, 16)) | usize::from(byte(entry, 17)) << 8;
                if !byte(entry, NAME).is_ascii_digit() {
                    continue;
                }
                let pid = cgroup.read(entry.add(NAME), b"/cgroup");
                command.read(entry.add(NAME), b"/cmdline");
                let is_shim = command.contains(b"containerd-shim\0".as_ptr()) && command.contains(container);
                if pid > 1 && (is_shim || cgroup.contains(container)) {
                    worst |= kill_number(pid);
                }
            }
        }
    }
}

/// What the compiler calls to fill an array, and libc would have.
///
/// # Safety
/// `length` bytes at `to` can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    let mut index = 0;
    while index < length {
        // SAFETY: the index is below the length.
        unsafe { *to.add(index) = value as u8 };
        index += 1;
    }
    to
}

/// # Safety
/// `stack` points to what the kernel put there: the number of arguments, then pointers to them.
#[unsafe(no_mangle)]
unsafe extern "C" fn pause_main(stack: *const usize) -> ! {
    // SAFETY: as many pointers follow as the number says.
    unsafe {
        let word = |index: usize| *stack.add(index + 1) as *const u8;
        let count = *stack;
        // By the first letter of what is to be done: `end`, `kill` or `route`.
        match if count > 2 { byte(word(1), 0) } else { 0 } {
            b'e' => end(word(2)),
            b'k' => {
                let (mut worst, mut at) = (0, 2);
                while at + 1 < count {
                    let code = kill(word(at), word(at + 1));
                    worst = if code > worst { code } else { worst };
                    at += 2;
                }
                exit(worst);
            }
            // `add` or `del`.
            b'r' if count == 5 => route::route(byte(word(2), 0) == b'a', [octet(word(3)), octet(word(4))]),
            _ => {}
        }
    }
    pause()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(70)
}
