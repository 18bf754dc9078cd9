//! The runtime's memory across its own death: an append-only file of JSON lines.
//!
//! One `write` for each change keeps the cost of a pod low. The page cache outlives a killed process, so
//! nothing is synced: after a crash of the *host* all processes are gone too, and what the journal lost of
//! them with it. A torn last line is ignored.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use orchestra_core::model::Timestamp;

use crate::record::{ContainerRecord, End, Record, SandboxRecord, Started};

/// The journal is rewritten when it is longer than this and than four times what was left of it at the last
/// time: short enough to be read in some ten milliseconds at the next start, long enough to be rarely done.
const REWRITE_BYTES: u64 = 4 * 1024 * 1024;

/// Fewer resting addresses are not worth looking through.
const FORGET_AT: usize = 1024;

/// What the journal says: all that exists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) instance: String,
    pub(crate) boot: String,
    pub(crate) sandboxes: BTreeMap<Arc<str>, SandboxEntry>,
    pub(crate) containers: BTreeMap<Arc<str>, ContainerEntry>,
    pub(crate) resting: BTreeMap<Ipv4Addr, Timestamp>,
}

/// A sandbox, and when it was stopped.
#[derive(Clone, Debug)]
pub(crate) struct SandboxEntry {
    pub(crate) record: Arc<SandboxRecord>,
    pub(crate) stopped: Option<Timestamp>,
}

/// A container and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct ContainerEntry {
    pub(crate) record: Arc<ContainerRecord>,
    pub(crate) started: Option<Started>,
    pub(crate) end: Option<End>,
}

impl Contents {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Opened { instance, boot } => (self.instance, self.boot) = (instance, boot),
            Record::Sandbox(record) => {
                let id = Arc::clone(&record.id);
                self.sandboxes.insert(id, SandboxEntry { record, stopped: None });
            }
            Record::SandboxStopped { id, at } => {
                if let Some(entry) = self.sandboxes.get_mut(&id) {
                    entry.stopped = Some(at);
                }
            }
            Record::SandboxRemoved { id } => {
                self.sandboxes.remove(&id);
                self.containers.retain(|_, entry| entry.record.sandbox != id);
            }
            Record::Container(record) => {
                let entry = ContainerEntry { record: Arc::clone(&record), started: None, end: None };
                self.containers.insert(Arc::clone(&record.id), entry);
            }
            Record::Started(started) => {
                if let Some(entry) = self.containers.get_mut(&started.id) {
                    entry.started = Some(started);
                }
            }
            Record::Ended { id, end } => {
                if let Some(entry) = self.containers.get_mut(&id) {
                    entry.end = Some(end);
                }
            }
            Record::ContainerRemoved { id } => drop(self.containers.remove(&id)),
            Record::Resting { ip, until } => drop(self.resting.insert(ip, until)),
        }
    }

    /// The shortest journal with these contents.
    fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Opened { instance: self.instance.clone(), boot: self.boot.clone() }];
        records.extend(self.resting.iter().map(|(ip, until)| Record::Resting { ip: *ip, until: *until }));
        for (id, entry) in &self.sandboxes {
            records.push(Record::Sandbox(Arc::clone(&entry.record)));
            records.extend(entry.stopped.map(|at| Record::SandboxStopped { id: Arc::clone(id), at }));
        }
        for (id, entry) in &self.containers {
            records.push(Record::Container(Arc::clone(&entry.record)));
            records.extend(entry.started.clone().map(Record::Started));
            records.extend(entry.end.clone().map(|end| Record::Ended { id: Arc::clone(id), end }));
        }
        records
    }
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<State>);

#[derive(Debug)]
struct State {
    path: PathBuf,
    file: File,
    contents: Contents,
    /// Bytes in the file, all of whole lines.
    len: u64,
    /// The length at which it is rewritten.
    rewrite_at: u64,
    /// The number of resting addresses at which those that have rested are forgotten.
    forget_at: usize,
}

impl Journal {
    /// Reads what an earlier run left; nothing where there was none.
    pub(crate) fn read(path: &Path) -> io::Result<Contents> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut contents = Contents::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(record) => contents.apply(record),
                Err(error) => tracing::warn!(%error, "skipping a torn line of the runtime's journal"),
            }
        }
        Ok(contents)
    }

    /// Starts a journal that holds `contents`, in place of the one at `path`.
    pub(crate) fn start(path: &Path, contents: Contents) -> io::Result<Self> {
        let (file, len) = write_new(path, &contents)?;
        let rewrite_at = REWRITE_BYTES.max(len * 4);
        let state = State { path: path.to_owned(), file, contents, len, rewrite_at, forget_at: FORGET_AT };
        Ok(Self(Mutex::new(state)))
    }

    /// Writes a record down. After an error the journal is as it was before.
    pub(crate) fn append(&self, record: Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.file.write_all(&line) {
            // Part of a line would spoil the next one.
            let len = state.len;
            if let Err(error) = state.file.set_len(len) {
                tracing::warn!(%error, "the end of the runtime's journal is torn");
            }
            return Err(error);
        }
        state.len += line.len() as u64;
        state.contents.apply(record);
        if state.len > state.rewrite_at {
            state.rewrite();
        }
        Ok(())
    }

    /// Forgets the addresses that have rested until `now`, once they are many.
    pub(crate) fn forget_rested(&self, now: Timestamp) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.contents.resting.len() >= state.forget_at {
            state.contents.resting.retain(|_, until| *until > now);
            state.forget_at = FORGET_AT.max(2 * state.contents.resting.len());
        }
    }
}

impl State {
    fn rewrite(&mut self) {
        match write_new(&self.path, &self.contents) {
            Ok((file, len)) => (self.file, self.len) = (file, len),
            // It goes on in the old file, which is longer than need be and right.
            Err(error) => tracing::warn!(%error, "the runtime's journal can't be shortened"),
        }
        self.rewrite_at = REWRITE_BYTES.max(self.len * 4);
    }
}

/// Writes a whole journal beside the old one, and puts it in its place.
fn write_new(path: &Path, contents: &Contents) -> io::Result<(File, u64)> {
    let mut text = Vec::new();
    for record in contents.records() {
        serde_json::to_writer(&mut text, &record)?;
        text.push(b'\n');
    }
    let new = path.with_extension("new");
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    fs::rename(&new, path)?;
    Ok((file, text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn started(id: &str, pid: i32) -> Record {
        Record::Started(Started { id: id.into(), pid, ticks: 7, at: Timestamp::EPOCH })
    }

    fn container(id: &str) -> Record {
        Record::Container(Arc::new(crate::testing::container_record(id)))
    }

    #[test]
    fn what_was_appended_is_read_again_also_after_a_torn_line() {
        let dir = TempDir::new();
        let path = dir.path().join("journal");
        let journal = Journal::start(&path, Contents::default()).unwrap();
        journal.append(container("a")).unwrap();
        journal.append(container("b")).unwrap();
        journal.append(started("a", 12)).unwrap();
        journal.append(Record::ContainerRemoved { id: "b".into() }).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"t\":\"ended\",\"id\":\"a").unwrap();
        let contents = Journal::read(&path).unwrap();
        assert_eq!(contents.containers.len(), 1);
        assert_eq!(contents.containers["a"].started.as_ref().unwrap().pid, 12);
        assert!(contents.containers["a"].end.is_none());
    }

    #[test]
    fn a_long_journal_is_rewritten_to_what_is_left() {
        let dir = TempDir::new();
        let path = dir.path().join("journal");
        let journal = Journal::start(&path, Contents::default()).unwrap();
        // Each is 10 KiB long, and replaces the one before.
        let mut longest = 0;
        for number in 0..1000 {
            let mut record = crate::testing::container_record("kept");
            record.attempt = number;
            record.launch.args = vec!["x".repeat(10 * 1024)];
            journal.append(Record::Container(Arc::new(record))).unwrap();
            longest = longest.max(fs::metadata(&path).unwrap().len());
        }
        assert!(longest > REWRITE_BYTES / 2 && longest <= REWRITE_BYTES + 16 * 1024, "{longest}");
        assert_eq!(Journal::read(&path).unwrap().containers["kept"].record.attempt, 999);
    }
}
