//! A file of the log.
//!
//! It begins with its format, version (u32), the last revision in the log before it (u64), the revision its own
//! come after (u64), and a CRC-32 of these. One frame for each group of commits follows. The revisions between the
//! two in the header are skipped: no commit ever has them.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskFile};
use crate::model::Revision;

/// The bytes in front of a segment's first frame.
pub(super) const HEADER: usize = 32;
const MAGIC: [u8; 8] = *b"\x89ORCLOG\n";
/// The format that is written, and the only one that is read.
const VERSION: u32 = 1;
const SUFFIX: &str = ".log";

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The last revision before it.
    pub(super) previous: Revision,
    /// Its commits have greater revisions.
    pub(super) base: Revision,
}

/// Why a header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It is not one, or not whole.
    Damaged,
    /// It is of another version of the format.
    Version(u32),
}

impl Header {
    fn bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.base.0.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`BadHeader`]
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER] = bytes.first_chunk().ok_or(BadHeader::Damaged)?;
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        if bytes[..8] != MAGIC || number(28, 32) != u64::from(crc32fast::hash(&bytes[..28])) {
            return Err(BadHeader::Damaged);
        }
        match u32::try_from(number(8, 12)) {
            Ok(VERSION) => Ok(Self { previous: Revision(number(12, 20)), base: Revision(number(20, 28)) }),
            other => Err(BadHeader::Version(other.unwrap_or_default())),
        }
    }
}

/// The name of the segment of `base`.
pub(super) fn name(base: Revision) -> String {
    format!("{:020}{SUFFIX}", base.0)
}

/// The base of the segment that is called `name`, if one is.
pub(super) fn base_of(name: &str) -> Option<Revision> {
    name.strip_suffix(SUFFIX)?.parse().ok().map(Revision)
}

/// A segment that is written.
#[derive(Debug)]
pub(super) struct Segment {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: Header,
    /// How much of it is good and on disk.
    len: u64,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing happened, and it may be tried again.
    Refused(io::Error),
    /// Nobody knows what is on disk. Nothing more may be appended.
    Unknown(io::Error),
}

impl Segment {
    /// Makes the file of a segment, which stays empty until the first frame is appended.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, header: Header) -> io::Result<Self> {
        let path = dir.join(name(header.base));
        let file = disk.create(&path)?;
        Ok(Self { file, path, header, len: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends `frame` and waits until it is on disk, together with the names in `dirs`.
    ///
    /// # Errors
    /// [`AppendError`]
    pub(super) fn append(
        &mut self,
        frame: &[u8],
        disk: &dyn Disk,
        dirs: &[PathBuf],
    ) -> Result<(), AppendError> {
        let start = if self.len == 0 { HEADER as u64 } else { self.len };
        let header = if self.len == 0 { self.file.write_at(0, &self.header.bytes()) } else { Ok(()) };
        if let Err(error) = header.and_then(|()| self.file.write_at(start, frame)) {
            // Not synced, so what is cut off here was never said to be there.
            return match self.file.truncate(self.len) {
                Ok(()) => Err(AppendError::Refused(error)),
                Err(_worse) => Err(AppendError::Unknown(error)),
            };
        }
        self.file.sync().map_err(AppendError::Unknown)?;
        for dir in dirs {
            disk.sync_dir(dir).map_err(AppendError::Unknown)?;
        }
        self.len = start + frame.len() as u64;
        Ok(())
    }
}
