//! The log as a whole: a chain of segments, of which the last is written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::Disk;
use super::segment::{AppendError, Header, Segment};
use crate::model::Revision;

/// After how many segments a snapshot is made, however short they are: each opening of the store begins one.
const SEGMENTS: usize = 64;

/// When the log is cut by a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotPolicy {
    /// Not before the log has so many bytes.
    pub(super) min_bytes: u64,
    /// Not before it is so many times as large as the last snapshot.
    pub(super) ratio: f64,
}

/// A segment that is complete.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) base: Revision,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// The segments since the last snapshot.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// The last revision on disk.
    pub(super) last: Revision,
    /// Where the next segment begins.
    pub(super) base: Revision,
    pub(super) old: Vec<Old>,
    current: Option<Segment>,
    /// Directories whose names are not on disk yet.
    pub(super) unsynced: Vec<PathBuf>,
    /// The last snapshot's file and size.
    pub(super) snapshot: Option<(PathBuf, u64)>,
    /// No snapshot is tried below this size of the log: it grows when one failed.
    not_below: u64,
}

impl Segments {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self {
            disk,
            dir,
            last: Revision::ZERO,
            base: Revision::ZERO,
            old: Vec::new(),
            current: None,
            unsynced: Vec::new(),
            snapshot: None,
            not_below: 0,
        }
    }

    /// Appends the commits through `last` and waits until they are on disk.
    ///
    /// # Errors
    /// [`AppendError`]
    pub(super) fn append(&mut self, frame: &[u8], last: Revision) -> Result<(), AppendError> {
        let mut segment = match self.current.take() {
            Some(segment) => segment,
            None => {
                let header = Header { previous: self.last, base: self.base };
                let segment =
                    Segment::create(&*self.disk, &self.dir, header).map_err(AppendError::Refused)?;
                self.unsynced.push(self.dir.clone());
                segment
            }
        };
        let appended = segment.append(frame, &*self.disk, &self.unsynced);
        if appended.is_ok() {
            self.unsynced.clear();
            self.last = last;
        }
        self.current = Some(segment);
        appended
    }

    /// The file that is written now.
    pub(super) fn path(&self) -> PathBuf {
        self.current.as_ref().map_or_else(|| self.dir.clone(), |segment| segment.path().to_owned())
    }

    fn bytes(&self) -> u64 {
        self.old.iter().map(|old| old.len).sum::<u64>() + self.current.as_ref().map_or(0, Segment::len)
    }

    /// Whether it is time for a snapshot.
    pub(super) fn snapshot_due(&self, policy: SnapshotPolicy) -> bool {
        let bytes = self.bytes();
        let snapshot = self.snapshot.as_ref().map_or(0, |(_, size)| *size);
        #[allow(clippy::cast_precision_loss, reason = "a threshold needs no more than 53 bits")]
        let large = bytes >= policy.min_bytes && bytes as f64 >= policy.ratio * snapshot as f64;
        (large || self.old.len() >= SEGMENTS) && bytes >= self.not_below
    }

    /// Ends the current segment, so that a snapshot of this revision makes all there are superfluous.
    pub(super) fn rotate(&mut self) {
        if let Some(segment) = self.current.take() {
            self.old.push(Old { base: self.base, path: segment.path().to_owned(), len: segment.len() });
        }
        self.base = self.last;
    }

    /// Takes note of a new snapshot, and says which files it makes superfluous.
    pub(super) fn snapshot_made(&mut self, revision: Revision, path: PathBuf, size: u64) -> Vec<PathBuf> {
        let before = self.snapshot.replace((path, size)).map(|(path, _)| path);
        let (old, kept) = std::mem::take(&mut self.old).into_iter().partition(|old| old.base < revision);
        self.old = kept;
        self.not_below = 0;
        let old: Vec<Old> = old;
        before.into_iter().chain(old.into_iter().map(|old| old.path)).collect()
    }

    /// Takes note that a snapshot failed: the next is tried when the log has grown by as much as makes one due.
    pub(super) fn snapshot_failed(&mut self, policy: SnapshotPolicy) {
        self.not_below = self.bytes() + policy.min_bytes;
    }
}

/// Removes files that nobody needs any more. What can't be removed now is removed at the next opening.
pub(super) fn remove(disk: &dyn Disk, paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = disk.remove(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a superfluous file of the store can't be removed");
        }
    }
}
