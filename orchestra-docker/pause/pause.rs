//! The first process of every sandbox: it holds the pod's namespaces, reaps what is left to it, and ends when asked.
//!
//! `pause kill <pid> <container>` kills the process group of an exec, if it still belongs to that container: run in a
//! helper container that sees the host's processes. `pause route add|del <a> <b>` makes the host answer for the network
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
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const SOCKET: usize = 41;
    pub const KILL: usize = 62;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod number {
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

/// Kills the process group `pid` if its leader is in the cgroup of `container`.
///
/// # Safety
/// Both are strings that end with zero.
unsafe fn kill(pid: *const u8, container: *const u8) -> ! {
    let (mut path, mut text) = ([0_u8; 64], [0_u8; 4096]);
    let (mut length, mut value, mut index) = (0, 0_usize, 0);
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
    for part in b"/cgroup" {
        path[length] = *part;
        length += 1;
    }
    if value <= 1 {
        exit(2);
    }
    // SAFETY: the path ends with zero, the buffer has its length, and the kernel's answer says how much it filled.
    unsafe {
        let file = syscall(number::OPENAT, -100_isize as usize, path.as_ptr() as usize, 0, 0);
        if file < 0 {
            exit(0);
        }
        let mut filled = 0;
        while filled < text.len() {
            let rest = text.as_mut_ptr().add(filled) as usize;
            let read = syscall(number::READ, file as usize, rest, text.len() - filled, 0);
            if read <= 0 {
                break;
            }
            filled += read as usize;
        }
        if !contains(text.as_ptr(), filled, container) {
            exit(3);
        }
        syscall(number::KILL, value.wrapping_neg(), SIGKILL, 0, 0);
        syscall(number::KILL, value, SIGKILL, 0, 0);
    }
    exit(0)
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
        match *stack {
            4 => kill(word(2), word(3)),
            // `add` or `del`.
            5 => route::route(byte(word(2), 0) == b'a', [octet(word(3)), octet(word(4))]),
            _ => {}
        }
    }
    pause()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(70)
}
