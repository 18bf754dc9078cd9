//! Reading a store back from its directory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::{self, Logged};
use super::disk::Disk;
use super::frame::{self, Frames, Next};
use super::in_order::in_order;
use super::segment::{self, BadHeader, Header};
use super::segments::{self, Old, Segments};
use super::snapshot;
use crate::model::{Revision, Scheme};
use crate::store::state::{Image, State};
use crate::store::{HistoryLimits, StoreError};

/// How many revisions each opening skips. A disk that did not keep what it had said it had, or a copy of the
/// directory put back, would else give a revision that somebody remembers to another commit. More than a store
/// writes in the time that such a loss can span.
pub(super) const SKIPPED: u64 = 1 << 20;

/// How many bytes of frames are decoded in one go, or one frame that is larger: enough that handing them to another
/// thread costs nothing beside.
const BATCH: usize = 256 << 10;

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) segments: Segments,
}

/// Reads what is in `dir`, which exists.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is damaged beyond a last write that was cut short, [`StoreError::Failed`] where it
/// can't be read.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    scheme: &Scheme,
    history: HistoryLimits,
) -> Result<Recovered, StoreError> {
    let names = disk.list(&dir).map_err(|e| super::failed("list the files in", &dir, e))?;
    let mut superfluous: Vec<PathBuf> =
        names.iter().filter(|name| name.ends_with(snapshot::PARTIAL)).map(|name| dir.join(name)).collect();
    let mut snapshots: Vec<Revision> = names.iter().filter_map(|name| snapshot::revision_of(name)).collect();
    let mut bases: Vec<Revision> = names.iter().filter_map(|name| segment::base_of(name)).collect();
    snapshots.sort();
    bases.sort();

    let mut segments = Segments::new(disk, dir);
    let mut image = Image::default();
    if let Some(newest) = snapshots.pop() {
        let path = segments.dir.join(snapshot::name(newest));
        let size;
        (image, size) = snapshot::read(&*segments.disk, &path, scheme)?;
        segments.snapshot = Some((path, size));
    }
    superfluous.extend(snapshots.into_iter().map(|revision| segments.dir.join(snapshot::name(revision))));

    let covered = image.revision;
    let is_empty = bases.is_empty() && image.revision == Revision::ZERO;
    let mut replay =
        Replay { last: image.revision, state: State::restore(image, history), torn: None, scheme };
    let mut newest = None;
    for base in bases {
        let path = segments.dir.join(segment::name(base));
        // A snapshot ends a segment, so that one which begins before it also ends before it.
        if base < covered {
            superfluous.push(path);
            continue;
        }
        let found = replay.segment(&*segments.disk, &path, base)?;
        // Whatever became of it: no other segment gets its base, and no commit a revision that it may have had.
        replay.state.skip_to(base);
        newest = found.newest.map(|at| (path.clone(), at));
        segments.old.push(Old { base, path, len: found.len });
    }
    if replay.torn.is_none()
        && let Some((path, at)) = newest
    {
        make_sure(&*segments.disk, &segments.dir, &path, &at)?;
    }
    if !is_empty {
        replay.state.skip_to(Revision(replay.state.revision().0.saturating_add(SKIPPED)));
    }
    segments.last = replay.last;
    segments.base = replay.state.revision();
    segments::remove(&*segments.disk, &superfluous);
    Ok(Recovered { state: replay.state, segments })
}

/// The walk through the segments.
struct Replay<'a> {
    state: State,
    /// The last revision so far.
    last: Revision,
    /// Where the last segment has an end that is not good.
    torn: Option<(PathBuf, u64)>,
    scheme: &'a Scheme,
}

/// A segment that was read.
struct Found {
    len: u64,
    /// Its last frame.
    newest: Option<Placed>,
}

/// A frame's place and content.
struct Placed {
    offset: u64,
    content: Arc<Vec<u8>>,
}

impl Replay<'_> {
    /// Replays the segment at `path`. There may be nothing in it, where its first write did not come about.
    fn segment(&mut self, disk: &dyn Disk, path: &Path, base: Revision) -> Result<Found, StoreError> {
        let unreadable = |error: io::Error| super::failed("read", path, error);
        let (mut file, len) = disk.read(path).map_err(unreadable)?;
        let mut head = Vec::new();
        (&mut file).take(segment::HEADER as u64).read_to_end(&mut head).map_err(unreadable)?;
        let header = match Header::read(&head) {
            Ok(header) => header,
            Err(BadHeader::Version(version)) => return Err(super::wrong_version(path, version)),
            Err(BadHeader::Damaged) => {
                file.read_to_end(&mut head).map_err(unreadable)?;
                if frame::contains_frame(&head) {
                    return Err(damaged(path, "its header is damaged"));
                }
                return Ok(Found { len, newest: None });
            }
        };
        if header.base != base {
            return Err(damaged(
                path,
                &format!("it is the segment after {}, under another's name", header.base),
            ));
        }
        self.follows(path, header)?;
        let mut frames = Frames::new(file, segment::HEADER as u64, len);
        let (mut newest, mut torn) = (None, None);
        let next = || {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while bytes < BATCH && torn.is_none() {
                let offset = frames.offset();
                match frames.next().map_err(unreadable)? {
                    Next::Frame(content) => {
                        let content = Arc::new(content);
                        bytes += content.len();
                        newest = Some(Placed { offset, content: Arc::clone(&content) });
                        batch.push((offset, content));
                    }
                    Next::End => break,
                    Next::Bad { more: false } => torn = Some(offset),
                    Next::Bad { more: true } => {
                        let what = format!("at offset {offset} is no whole record, though later ones are");
                        return Err(damaged(path, &what));
                    }
                }
            }
            Ok((!batch.is_empty()).then_some(batch))
        };
        let scheme = self.scheme;
        let decode = |batch: Vec<(u64, Arc<Vec<u8>>)>| -> Vec<(u64, Result<Vec<Logged>, String>)> {
            batch.iter().map(|(offset, content)| (*offset, codec::take_commits(content, scheme))).collect()
        };
        in_order(next, decode, |batch| {
            batch.into_iter().try_for_each(|(offset, commits)| {
                let replayed = commits.and_then(|commits| self.commits(commits));
                replayed.map_err(|what| damaged(path, &format!("at offset {offset}: {what}")))
            })
        })?;
        if let Some(offset) = torn {
            tracing::warn!(path = %path.display(), offset, len, "the last write was cut short and is left out");
            self.torn = Some((path.to_owned(), offset));
        }
        Ok(Found { len, newest })
    }

    /// Checks that nothing is missing between what was read so far and the segment with `header`.
    fn follows(&mut self, path: &Path, header: Header) -> Result<(), StoreError> {
        // Only an opening that found a torn end leaves it behind, and each opening skips revisions.
        let torn =
            self.torn.take().filter(|_| header.previous != self.last || header.base == header.previous);
        if let Some((torn, offset)) = torn {
            let what = format!(
                "at offset {offset} is no whole record, though later commits are in {}",
                path.display()
            );
            return Err(damaged(&torn, &what));
        }
        if header.previous != self.last {
            let what = format!(
                "it follows revision {}, but what is before it ends at {}",
                header.previous, self.last
            );
            return Err(damaged(path, &what));
        }
        Ok(())
    }

    fn commits(&mut self, commits: Vec<Logged>) -> Result<(), String> {
        for Logged { revision, epoch, writes, bytes } in commits {
            if revision <= self.last {
                return Err(format!("revision {revision} comes after {}", self.last));
            }
            self.last = revision;
            self.state.replay(revision, epoch, writes, bytes);
        }
        Ok(())
    }
}

/// Writes the last frame again, in its place, and waits until it is on disk. Where its sync failed, it may be in
/// the system's memory only, and the system would never write it by itself. All before it was synced.
fn make_sure(disk: &dyn Disk, dir: &Path, path: &Path, frame: &Placed) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(frame.content.len());
    let written = frame::write(&mut bytes, |buffer| {
        buffer.extend_from_slice(&frame.content);
        Ok::<_, io::Error>(())
    })
    .and_then(|()| {
        let mut file = disk.open(path)?;
        file.write_at(frame.offset, &bytes)?;
        file.sync()?;
        disk.sync_dir(dir)
    });
    match written {
        Err(error) if super::is_full(&error) => {
            // It lies in a file that has room for it; a file system that copies on write has none for the copy.
            tracing::warn!(path = %path.display(), %error, "no room to secure the last commits");
            Ok(())
        }
        other => other.map_err(|e| super::failed("secure the last commits in", path, e)),
    }
}

fn damaged(path: &Path, what: &str) -> StoreError {
    super::corrupt(path, &format!("{what}; restore the directory from a backup"))
}
