//! Reads logs, across rotation and while they grow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures_util::stream;
use orchestra_core::model::Timestamp;
use orchestra_core::runtime::{LogChunk, LogOptions, LogStream, RuntimeError};
use tokio::sync::watch;

use super::line::Line;
use super::writer::{ContainerLog, MAX_LINE, Position, files};
use crate::error::failed;

/// How much of a log file is read at once: enough to make the change of threads cheap.
const READ_SIZE: usize = 8 * MAX_LINE;

/// A stream over the log. To be called where blocking is allowed.
pub(crate) fn open(id: Arc<str>, log: &ContainerLog, options: &LogOptions) -> io::Result<LogStream> {
    let mut reader = Reader {
        dir: log.dir().to_owned(),
        generation: 0,
        file: None,
        buffer: Vec::new(),
        skip_records: 0,
        since: options.since,
        left: options.limit_bytes,
    };
    // Subscribed before the tail is looked for: what is written meanwhile is not missed.
    let position = log.position();
    if let Some(tail) = options.tail {
        reader.seek_tail(tail)?;
    }
    let follow =
        Follow { id, reader: Some(reader), position, follow: options.follow, queue: VecDeque::new() };
    Ok(LogStream::new(stream::unfold(
        follow,
        |mut follow| async move { Some((follow.next().await?, follow)) },
    )))
}

#[derive(Debug)]
struct Follow {
    id: Arc<str>,
    /// `None` after the end.
    reader: Option<Reader>,
    position: watch::Receiver<Position>,
    follow: bool,
    queue: VecDeque<LogChunk>,
}

impl Follow {
    async fn next(&mut self) -> Option<Result<LogChunk, RuntimeError>> {
        loop {
            if let Some(chunk) = self.queue.pop_front() {
                return Some(Ok(chunk));
            }
            let mut reader = self.reader.take()?;
            // Taken before reading: what was written until then will have been read.
            let position = *self.position.borrow_and_update();
            let read = tokio::task::spawn_blocking(move || {
                let chunks = reader.read(position)?;
                Ok::<_, io::Error>((reader, chunks))
            });
            let (reader, chunks) = match read.await.map_err(io::Error::other).flatten() {
                Ok(read) => read,
                Err(error) => return Some(Err(failed(&self.id, "read its log", error))),
            };
            self.queue = chunks;
            let ended = reader.left == Some(0);
            let caught_up = self.queue.is_empty();
            if ended || (caught_up && (position.finished || !self.follow)) {
                continue;
            }
            self.reader = Some(reader);
            if caught_up && self.position.changed().await.is_err() {
                // The container was removed, or the runtime has gone.
                self.reader = None;
            }
        }
    }
}

#[derive(Debug)]
struct Reader {
    /// Where the files are. Not the log itself: it shall go with its container, and end this with it.
    dir: PathBuf,
    /// The file that is read, or comes next.
    generation: u64,
    file: Option<File>,
    /// What was read and is no whole record yet.
    buffer: Vec<u8>,
    skip_records: u64,
    since: Option<Timestamp>,
    left: Option<u64>,
}

impl Reader {
    /// Sets out at the start of the last `tail` lines.
    fn seek_tail(&mut self, tail: usize) -> io::Result<()> {
        let mut wanted = tail;
        for (generation, _, path) in files(&self.dir)?.into_iter().rev() {
            let Some((starts, records)) = line_starts(path, wanted)? else { continue };
            self.generation = generation;
            // All of this file is wanted, or the last lines of it; none where `tail` is 0.
            self.skip_records = starts.front().copied().unwrap_or(records);
            wanted -= starts.len();
            if wanted == 0 {
                break;
            }
        }
        Ok(())
    }

    /// What comes next; nothing where the reader has caught up with `position`.
    fn read(&mut self, position: Position) -> io::Result<VecDeque<LogChunk>> {
        let mut chunks = VecDeque::new();
        while chunks.is_empty() {
            let Some(file) = self.file.as_mut() else {
                if !self.open_next()? {
                    break;
                }
                continue;
            };
            let start = self.buffer.len();
            self.buffer.resize(start + READ_SIZE, 0);
            let read = file.read(&mut self.buffer[start..])?;
            self.buffer.truncate(start + read);
            if read > 0 {
                self.decode(&mut chunks);
            } else if self.generation < position.generation {
                self.generation += 1;
                self.file = None;
                self.buffer.clear();
                self.skip_records = 0;
            } else {
                break;
            }
            if self.left == Some(0) {
                break;
            }
        }
        Ok(chunks)
    }

    /// Opens the file of this generation, or the oldest later one where it was rotated away.
    fn open_next(&mut self) -> io::Result<bool> {
        for (generation, _, path) in files(&self.dir)? {
            if generation < self.generation {
                continue;
            }
            match File::open(path) {
                Ok(file) => {
                    if generation != self.generation {
                        self.skip_records = 0;
                    }
                    (self.generation, self.file) = (generation, Some(file));
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn decode(&mut self, chunks: &mut VecDeque<LogChunk>) {
        let whole = self.buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for record in self.buffer[..whole].split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = Line::decode(&record[..record.len() - 1]) else { continue };
            if self.skip_records > 0 {
                self.skip_records -= 1;
                continue;
            }
            if self.since.is_some_and(|since| line.at < since) || self.left == Some(0) {
                continue;
            }
            let mut bytes = BytesMut::with_capacity(line.text.len() + 1);
            bytes.put_slice(line.text);
            if line.full {
                bytes.put_u8(b'\n');
            }
            if let Some(left) = &mut self.left {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
            }
            chunks.push_back(LogChunk { source: line.source, at: line.at, bytes: bytes.freeze() });
        }
        self.buffer.drain(..whole);
    }
}

/// At which records the last `wanted` lines of a file start, and how many records it has; `None` where it is gone.
fn line_starts(path: PathBuf, wanted: usize) -> io::Result<Option<(VecDeque<u64>, u64)>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut lines = BufReader::with_capacity(READ_SIZE, file);
    let (mut starts, mut records, mut at_start) = (VecDeque::new(), 0, true);
    let mut record = Vec::new();
    while lines.read_until(b'\n', &mut record)? > 0 {
        if let Some(line) = record.strip_suffix(b"\n").and_then(Line::decode) {
            if at_start && wanted > 0 {
                if starts.len() == wanted {
                    starts.pop_front();
                }
                starts.push_back(records);
            }
            at_start = line.full;
            records += 1;
        }
        record.clear();
    }
    Ok(Some((starts, records)))
}
