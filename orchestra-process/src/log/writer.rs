//! Moves output from the spools into log files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use orchestra_core::model::Timestamp;
use orchestra_core::runtime::LogSource;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use tokio::sync::watch;

use super::line::Line;
use crate::slots::{empty_file, open_spool};

/// A longer line is split: the limit of Kubernetes' container runtimes.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// How much of one spool is moved before others have their turn: some milliseconds of work.
const MAX_TURN: usize = 1024 * 1024;

/// How much is read from a spool at once. Holds several lines of full length.
const READ_SIZE: usize = 4 * MAX_LINE;

/// Moved output is cut out of a spool when it has reached this size, so that small outputs cost nothing.
const PUNCH_BYTES: u64 = 256 * 1024;

/// File systems work in blocks of at most this size; a hole is made of whole ones.
const PUNCH_ALIGN: u64 = 4096;

const SOURCES: [LogSource; 2] = [LogSource::Stdout, LogSource::Stderr];

/// How much log is kept of one container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    /// Size of one file, in bytes.
    pub(crate) max_bytes: u64,
    /// Number of files.
    pub(crate) max_files: u64,
}

/// Where the output of a container is.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The spools of standard output and standard error.
    pub(crate) spools: [PathBuf; 2],
    /// The directory of its log files.
    pub(crate) dir: PathBuf,
}

/// How far a log is written. Generation 0: nothing was ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) generation: u64,
    pub(crate) len: u64,
    /// Whether nothing will be added.
    pub(crate) finished: bool,
}

/// The log of one container.
#[derive(Debug)]
pub(crate) struct ContainerLog {
    paths: Paths,
    limits: LogLimits,
    state: Mutex<State>,
    position: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of each spool that are in the log.
    moved: [u64; 2],
    /// Bytes of each spool that were cut out.
    punched: [u64; 2],
    position: Position,
    /// The file that is written.
    current: PathBuf,
    last: Timestamp,
    /// Set after adoption: what is found first was written before, by the time of its file.
    recovered: bool,
}

/// The name of a log file says how much of each spool lies before it, so that the files themselves say how far
/// the spools were read: nothing is lost or doubled after a crash.
pub(crate) fn file_name(generation: u64, moved: [u64; 2]) -> String {
    format!("{generation:08}-{}-{}.log", moved[0], moved[1])
}

fn parse_file_name(name: &str) -> Option<(u64, [u64; 2])> {
    let mut numbers = name.strip_suffix(".log")?.split('-').map(str::parse);
    let (generation, out, err) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((generation, [out, err]))
}

/// A container's log files, oldest first.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<(u64, [u64; 2], PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some((generation, moved)) = entry.file_name().to_str().and_then(parse_file_name) {
            files.push((generation, moved, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

impl ContainerLog {
    pub(crate) fn new(paths: Paths, limits: LogLimits) -> Self {
        Self { paths, limits, state: Mutex::default(), position: watch::Sender::new(Position::default()) }
    }

    /// Finds out from the files how far the log of an earlier run is. `finished`: its container has ended.
    pub(crate) fn recover(paths: Paths, limits: LogLimits, finished: bool) -> io::Result<Self> {
        let mut state = State { recovered: true, ..State::default() };
        if let Some((generation, moved, path)) = files(&paths.dir)?.pop() {
            let text = fs::read(&path)?;
            let len = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            state.moved = moved;
            for line in text[..len].split(|byte| *byte == b'\n').filter_map(Line::decode) {
                state.moved[usize::from(line.source == LogSource::Stderr)] += line.written();
                state.last = state.last.max(line.at);
            }
            if len < text.len() {
                OpenOptions::new().write(true).open(&path)?.set_len(len as u64)?;
            }
            state.position = Position { generation, len: len as u64, finished: false };
            state.current = path;
        }
        state.position.finished = finished;
        let position = watch::Sender::new(state.position);
        Ok(Self { paths, limits, state: Mutex::new(state), position })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.paths.dir
    }

    pub(crate) fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the files into which the container will write.
    pub(crate) fn open_spools(&self) -> io::Result<[File; 2]> {
        let [out, err] = &self.paths.spools;
        Ok([open_spool(out)?, open_spool(err)?])
    }

    /// Moves what was written since. Returns whether there may be more.
    pub(crate) fn ingest(&self, now: Timestamp) -> io::Result<bool> {
        let mut state = self.state();
        if state.position.finished {
            return Ok(false);
        }
        let more = self.move_spools(&mut state, now, false);
        self.position
            .send_if_modified(|position| std::mem::replace(position, state.position) != state.position);
        more
    }

    /// Moves the rest, also a last line without an end: the container has ended.
    pub(crate) fn finish(&self, now: Timestamp) -> io::Result<()> {
        let mut state = self.state();
        let mut moved = Ok(true);
        while !state.position.finished && matches!(moved, Ok(true)) {
            moved = self.move_spools(&mut state, now, true);
        }
        state.position.finished = true;
        self.position.send_replace(state.position);
        moved?;
        self.paths.spools.iter().try_for_each(|spool| empty_file(spool))
    }

    /// Removes the log.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let mut state = self.state();
        state.position.finished = true;
        self.position.send_replace(state.position);
        if state.position.generation == 0 {
            return Ok(());
        }
        match fs::remove_dir_all(&self.paths.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn move_spools(&self, state: &mut State, now: Timestamp, last: bool) -> io::Result<bool> {
        let mut more = false;
        for source in SOURCES {
            more |= self.move_spool(state, source, now, last)?;
        }
        state.recovered = false;
        Ok(more)
    }

    fn move_spool(
        &self,
        state: &mut State,
        source: LogSource,
        now: Timestamp,
        last: bool,
    ) -> io::Result<bool> {
        let index = usize::from(source == LogSource::Stderr);
        // The program may have put anything in place of its spool: follow no link, wait for no pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let spool = match OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&self.paths.spools[index])
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            spool => spool?,
        };
        let meta = spool.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other(format!(
                "{} is no file any more",
                self.paths.spools[index].display()
            )));
        }
        if meta.len() < state.moved[index] {
            // The program truncated its own output (`> /dev/stdout`): what follows starts at 0 again.
            state.moved[index] = 0;
            state.punched[index] = 0;
            self.rotate(state)?;
        }
        let at = if state.recovered { now.min(modified(&meta)) } else { now };
        state.last = state.last.max(at);
        let mut buffer =
            vec![0; READ_SIZE.min(usize::try_from(meta.len() - state.moved[index]).unwrap_or(READ_SIZE))];
        let mut turn = 0;
        while turn < MAX_TURN && !buffer.is_empty() {
            let read = spool.read_at(&mut buffer, state.moved[index])?;
            let moved = self.write_lines(state, source, &buffer[..read], last && read < READ_SIZE)?;
            turn += moved;
            if moved == 0 || (moved == read && read < buffer.len()) {
                break;
            }
        }
        punch(&spool, &mut state.punched[index], state.moved[index]);
        Ok(turn >= MAX_TURN)
    }

    /// Appends the whole lines of `text`, and too long or last parts, to the log. Returns how much of it.
    fn write_lines(
        &self,
        state: &mut State,
        source: LogSource,
        text: &[u8],
        last: bool,
    ) -> io::Result<usize> {
        let index = usize::from(source == LogSource::Stderr);
        let (mut out, mut start, mut pending) = (Vec::with_capacity(text.len() * 2), 0, 0);
        while start < text.len() {
            let rest = &text[start..];
            let end = rest.iter().take(MAX_LINE + 1).position(|byte| *byte == b'\n');
            let (len, full) = match end {
                Some(end) => (end, true),
                None if rest.len() > MAX_LINE => (MAX_LINE, false),
                None if last => (rest.len(), false),
                None => break,
            };
            let line = Line { at: state.last, source, full, text: &rest[..len] };
            let before = out.len();
            line.encode(&mut out);
            if state.position.len + out.len() as u64 > self.limits.max_bytes
                && state.position.len + before as u64 > 0
            {
                let record = out.split_off(before);
                self.flush(state, &mut out, index, &mut pending)?;
                self.rotate(state)?;
                out = record;
            }
            pending += line.written();
            start += len + usize::from(full);
        }
        self.flush(state, &mut out, index, &mut pending)?;
        Ok(start)
    }

    /// Writes whole records. After an error the file is as before, and nothing counts as moved.
    fn flush(&self, state: &mut State, out: &mut Vec<u8>, index: usize, pending: &mut u64) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if state.position.generation == 0 {
            self.rotate(state)?;
        }
        let mut file = OpenOptions::new().append(true).open(&state.current)?;
        if let Err(error) = file.write_all(out) {
            file.set_len(state.position.len)?;
            return Err(error);
        }
        state.position.len += out.len() as u64;
        state.moved[index] += std::mem::take(pending);
        out.clear();
        Ok(())
    }

    /// Starts the next file, and removes those that are too many.
    fn rotate(&self, state: &mut State) -> io::Result<()> {
        if state.position.generation == 0 {
            fs::create_dir_all(&self.paths.dir)?;
        }
        let generation = state.position.generation + 1;
        let path = self.paths.dir.join(file_name(generation, state.moved));
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        state.current = path;
        state.position = Position { generation, len: 0, finished: false };
        let mut old = files(&self.paths.dir)?;
        old.retain(|(old, ..)| old + self.limits.max_files.max(1) <= generation);
        old.iter().try_for_each(|(.., path)| remove_file(path))
    }
}

/// Gives the disk back what was moved. Where the file system can't, the spool keeps its size until its
/// container ends.
fn punch(spool: &File, punched: &mut u64, moved: u64) {
    let end = moved / PUNCH_ALIGN * PUNCH_ALIGN;
    if end < *punched + PUNCH_BYTES {
        return;
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = fallocate(spool, flags, *punched, end - *punched) {
        tracing::debug!(%error, "a spool can't be shortened");
    }
    *punched = end;
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn modified(meta: &fs::Metadata) -> Timestamp {
    Timestamp::from_micros(meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1000)
}
