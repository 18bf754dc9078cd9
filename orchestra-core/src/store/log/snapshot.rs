//! A file with all objects as of one revision.
//!
//! One frame with the counters, then frames with objects. It is written under a name of its own, and renamed when
//! it is whole and on disk: a snapshot that is there is complete.

use std::io;
use std::path::Path;

use super::codec;
use super::disk::{Disk, DiskFile};
use super::frame::{self, Frames, Next};
use super::in_order::in_order;
use crate::model::{Revision, Scheme};
use crate::store::StoreError;
use crate::store::state::Image;

const MAGIC: [u8; 8] = *b"\x89ORCSNP\n";
/// The format that is written, and the only one that is read.
const VERSION: u32 = 1;
const HEADER: usize = 12;
const SUFFIX: &str = ".snapshot";
/// What marks a file that is not whole yet.
pub(super) const PARTIAL: &str = ".partial";

/// How many bytes of objects go into one frame: enough that the frame itself costs nothing.
const FRAME: usize = 256 << 10;
/// After how many bytes a snapshot is synced: one sync of all of it would hold up the log for as long.
const SYNC: u64 = 4 << 20;

/// The name of the snapshot of `revision`.
pub(super) fn name(revision: Revision) -> String {
    format!("{:020}{SUFFIX}", revision.0)
}

/// The revision of the snapshot that is called `name`, if one is.
pub(super) fn revision_of(name: &str) -> Option<Revision> {
    name.strip_suffix(SUFFIX)?.parse().ok().map(Revision)
}

/// Writes `image` to `dir`, and gives its size. `stop` is asked now and then whether it is still wanted.
///
/// # Errors
/// Where that fails; nothing is left of it then.
pub(super) fn write(disk: &dyn Disk, dir: &Path, image: &Image, stop: &dyn Fn() -> bool) -> io::Result<u64> {
    let partial = dir.join(name(image.revision) + PARTIAL);
    let written = write_to(disk, &partial, image, stop).and_then(|size| {
        disk.rename(&partial, &dir.join(name(image.revision)))?;
        disk.sync_dir(dir)?;
        Ok(size)
    });
    if written.is_err()
        && let Err(error) = disk.remove(&partial)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %partial.display(), %error, "what is left of a failed snapshot can't be removed");
    }
    written
}

fn write_to(disk: &dyn Disk, path: &Path, image: &Image, stop: &dyn Fn() -> bool) -> io::Result<u64> {
    let mut out = Out { file: disk.create(path)?, len: 0, synced: 0 };
    let mut buffer = Vec::with_capacity(2 * FRAME);
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&VERSION.to_le_bytes());
    frame::write(&mut buffer, |buffer| codec::put_image_head(buffer, image))?;
    let mut objects = image.objects.iter().peekable();
    while objects.peek().is_some() {
        if stop() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the store is closing"));
        }
        frame::write::<io::Error>(&mut buffer, |buffer| {
            let start = buffer.len();
            while buffer.len() - start < FRAME
                && let Some(object) = objects.next()
            {
                codec::put_object(buffer, object);
            }
            Ok(())
        })?;
        out.write(&buffer)?;
        buffer.clear();
    }
    out.write(&buffer)?;
    out.file.sync()?;
    Ok(out.len)
}

struct Out {
    file: Box<dyn DiskFile>,
    len: u64,
    synced: u64,
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.len, bytes)?;
        self.len += bytes.len() as u64;
        if self.len - self.synced >= SYNC {
            self.file.sync()?;
            self.synced = self.len;
        }
        Ok(())
    }
}

/// Reads the snapshot at `path`, and its size.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is damaged, [`StoreError::Failed`] where it can't be read.
pub(super) fn read(disk: &dyn Disk, path: &Path, scheme: &Scheme) -> Result<(Image, u64), StoreError> {
    let corrupt =
        |what: String| super::corrupt(path, &format!("{what}; restore the directory from a backup"));
    let unreadable = |error: io::Error| super::failed("read", path, error);
    let (mut file, len) = disk.read(path).map_err(unreadable)?;
    let mut header = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&mut file, HEADER as u64), &mut header).map_err(unreadable)?;
    let Some(version) = header.strip_prefix(&MAGIC).and_then(|rest| <[u8; 4]>::try_from(rest).ok()) else {
        return Err(corrupt("it is not a snapshot".to_owned()));
    };
    if version != VERSION.to_le_bytes() {
        return Err(super::wrong_version(path, u32::from_le_bytes(version)));
    }
    let mut frames = Frames::new(file, HEADER as u64, len);
    let none_whole = |offset: u64| corrupt(format!("no whole frame at offset {offset}"));
    let mut next = || {
        let offset = frames.offset();
        match frames.next().map_err(unreadable)? {
            Next::Frame(content) => Ok(Some((offset, content))),
            Next::End => Ok(None),
            Next::Bad { .. } => Err(none_whole(offset)),
        }
    };
    let at = |offset: u64| move |what: String| format!("at offset {offset}: {what}");
    let (offset, head) = next()?.ok_or_else(|| none_whole(HEADER as u64))?;
    let (mut image, count) = codec::take_image_head(&head, scheme).map_err(at(offset)).map_err(corrupt)?;
    let decode =
        |(offset, content): (u64, Vec<u8>)| codec::take_objects(&content, scheme).map_err(at(offset));
    in_order(next, decode, |objects| {
        image.objects.append(&mut objects.map_err(corrupt)?);
        Ok(())
    })?;
    if image.objects.len() as u64 != count {
        return Err(corrupt(format!("it has {} of {count} objects", image.objects.len())));
    }
    Ok((image, len))
}
