//! What the kernel says of processes.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

/// How much of a process's environment is looked at. A marker further back is not seen; Linux allows more,
/// but an environment of this size is already out of the ordinary.
const MAX_ENVIRON: usize = 256 * 1024;

/// `/proc/<pid>/stat` holds some fifty numbers and a name of at most 64 bytes.
const MAX_STAT: usize = 2048;

/// Read at once of an environment: most are smaller.
const ENVIRON_READ: usize = 8 * 1024;

/// The parts of `/proc/<pid>/stat` that are needed, see proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) ppid: i32,
    pub(crate) pgrp: i32,
    /// CPU time of the process and of the children it waited for, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// When it started, in clock ticks since boot. With the pid it identifies a process.
    pub(crate) start_ticks: u64,
    /// Whether it is just becoming another program: it has memory, and no environment yet.
    pub(crate) becoming: bool,
    /// The wait status of a zombie; 0 while it runs, and where the kernel does not let us see it.
    pub(crate) exit_status: i32,
}

impl Stat {
    /// Whether the process has ended and was not waited for yet.
    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

pub(crate) fn stat(pid: i32) -> io::Result<Stat> {
    // In one read: the kernel makes the whole text at the first one.
    let mut text = [0; MAX_STAT];
    let read = fs::File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
    parse_stat(&text[..read])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/<pid>/stat"))
}

/// The second field is the program's name in parentheses, and may hold anything, so parse from its end.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<i64>().ok());
    let ticks = |field: usize| number(field).and_then(|value| u64::try_from(value).ok());
    let cpu_ticks = (14..=17).filter_map(ticks).sum();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        ppid: i32::try_from(number(4)?).ok()?,
        pgrp: i32::try_from(number(5)?).ok()?,
        cpu_ticks,
        start_ticks: ticks(22)?,
        becoming: ticks(23).is_some_and(|size| size > 0) && ticks(51) == Some(0),
        exit_status: number(52).and_then(|status| i32::try_from(status).ok()).unwrap_or(0),
    })
}

/// All processes that exist now, in no order.
pub(crate) fn pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// A variable in the environment a process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// It has this value.
    Value(String),
    /// It is not there, or may not be read.
    Absent,
    /// There is no environment at all: of a kernel thread, of a program started without one, and for a moment of
    /// every program, while it replaces another one.
    Blank,
}

/// The value of a variable in the environment a process was started with.
pub(crate) fn variable(pid: i32, name: &[u8], buffer: &mut Vec<u8>) -> Variable {
    match environ(pid, buffer) {
        Err(_) => Variable::Absent,
        Ok([]) => Variable::Blank,
        Ok(environ) => environ
            .split(|byte| *byte == 0)
            .find_map(|entry| {
                let value = entry.strip_prefix(name)?.strip_prefix(b"=")?;
                String::from_utf8(value.to_vec()).ok()
            })
            .map_or(Variable::Absent, Variable::Value),
    }
}

fn environ(pid: i32, buffer: &mut Vec<u8>) -> io::Result<&[u8]> {
    let mut file = fs::File::open(format!("/proc/{pid}/environ"))?;
    let mut len = 0;
    while len < MAX_ENVIRON {
        buffer.resize(buffer.len().max(len + ENVIRON_READ), 0);
        match file.read(&mut buffer[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(&buffer[..len])
}

/// The files that a process writes its output and its errors to, as far as they are files and may be seen.
pub(crate) fn outputs(pid: i32) -> impl Iterator<Item = PathBuf> {
    [1, 2].into_iter().filter_map(move |number| fs::read_link(format!("/proc/{pid}/fd/{number}")).ok())
}

/// One past the greatest number that a descriptor of this process can have now.
pub(crate) fn descriptor_limit() -> io::Result<i32> {
    // In one read, of which this is near the start. The program's name is in it, which may be any bytes.
    let mut status = [0; MAX_STAT];
    let read = fs::File::open("/proc/self/status")?.read(&mut status)?;
    let status = String::from_utf8_lossy(&status[..read]);
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse().ok());
    size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/self/status"))
}

/// Identifies this start of the host's kernel.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Memory of a process that only it holds, in bytes: resident without files and shared memory.
pub(crate) fn private_memory(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.nth(1)?, fields.next()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}

/// The host's memory in bytes.
pub(crate) fn total_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no MemTotal in /proc/meminfo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_mislead() {
        let text = b"42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 1 0 12345 1 1";
        let expected = Stat {
            state: b'S',
            ppid: 7,
            pgrp: 42,
            cpu_ticks: 50,
            start_ticks: 12345,
            becoming: false,
            exit_status: 0,
        };
        assert_eq!(parse_stat(text), Some(expected));
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b"42 (a) S 1"), None);
    }

    #[test]
    fn the_own_process_is_found() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(pids().unwrap().contains(&pid));
        assert!(!stat(pid).unwrap().is_zombie());
        assert!(private_memory(pid).unwrap() > 0 && total_memory().unwrap() > 0);
        assert!(!boot_id().unwrap().is_empty());
    }
}
