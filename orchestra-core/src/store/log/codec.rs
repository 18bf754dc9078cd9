//! Commits and images as bytes.
//!
//! Objects are JSON manifests, so that an old store can be read by a program that knows more kinds or fields.
//! Numbers are little-endian; a text or manifest is preceded by its length (u32).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::json::{MAX_DEPTH, depth};
use crate::model::{AnyObject, GroupKind, ObjectKey, Revision, Scheme};
use crate::store::state::{Image, Last, Replayed, at_revision};
use crate::store::{Commit, Epoch, StoreError, Write};

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// What is before the text of an object that is put: the type of the write, and the length.
const PREFIX: usize = 5;

/// A key as JSON.
#[derive(Serialize, Deserialize)]
struct Key {
    group: String,
    kind: String,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// The size limits of what is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct SizeLimits {
    pub(super) object: usize,
    pub(super) commit: usize,
}

/// The writes of `commit`, without the revision, which is not known yet: the one inside an object is of no
/// consequence, and set when it is read.
///
/// # Errors
/// [`StoreError::TooLarge`], and [`StoreError::Invalid`] where an object could not be read again.
pub(super) fn encode_writes(commit: &Commit, limits: SizeLimits) -> Result<Vec<u8>, StoreError> {
    let too_large = |what: String, limit: usize| StoreError::TooLarge { what, limit: limit as u64 };
    let mut body = Vec::new();
    for write in &commit.writes {
        let start = body.len();
        match write {
            Write::Put(object) => {
                body.push(PUT);
                put_sized(&mut body, |body| object.write_json(body));
                let size = body.len() - start;
                if size > limits.object {
                    let what = format!("{}, of {size} bytes as JSON,", write.key());
                    return Err(too_large(what, limits.object));
                }
                // The store could not be opened with it.
                let depth = depth(&body[start + PREFIX..]);
                if depth > MAX_DEPTH {
                    let why = format!("{} is nested {depth} deep, and {MAX_DEPTH} is the most", write.key());
                    return Err(StoreError::Invalid(why));
                }
            }
            Write::Delete(key) => {
                body.push(DELETE);
                put_sized(&mut body, |body| write_key(key, body));
            }
        }
        if body.len() > limits.commit {
            let what = format!("a commit of {} writes, {} bytes or more,", commit.writes.len(), body.len());
            return Err(too_large(what, limits.commit));
        }
    }
    Ok(body)
}

/// Appends a commit of `revision` whose writes are `body`.
///
/// # Errors
/// Where it is over 4 GiB.
pub(super) fn put_commit(
    buffer: &mut Vec<u8>,
    revision: Revision,
    epoch: Option<Epoch>,
    body: &[u8],
) -> io::Result<()> {
    buffer.extend_from_slice(&revision.0.to_le_bytes());
    buffer.extend_from_slice(&epoch.unwrap_or_default().0.to_le_bytes());
    let len = u32::try_from(body.len()).map_err(|e| io::Error::new(io::ErrorKind::FileTooLarge, e))?;
    buffer.extend_from_slice(&len.to_le_bytes());
    buffer.extend_from_slice(body);
    Ok(())
}

/// A commit that was read back.
pub(super) struct Logged {
    pub(super) revision: Revision,
    pub(super) epoch: Option<Epoch>,
    pub(super) writes: Replayed,
    /// The size of its writes.
    pub(super) bytes: usize,
}

/// Reads the commits of a frame.
///
/// # Errors
/// What is wrong, where the frame is not as it was written or an object can't be read any more.
pub(super) fn take_commits(mut content: &[u8], scheme: &Scheme) -> Result<Vec<Logged>, String> {
    let mut commits = Vec::new();
    while !content.is_empty() {
        let revision = Revision(take_u64(&mut content)?);
        let epoch = match take_u64(&mut content)? {
            0 => None,
            epoch => Some(Epoch(epoch)),
        };
        let mut body = take_sized(&mut content)?;
        let bytes = body.len();
        let mut writes = Replayed::new();
        while let Some((tag, rest)) = body.split_first() {
            body = rest;
            let json = take_sized(&mut body)?;
            writes.push(match *tag {
                PUT => {
                    let object = at_revision(read_object(json, scheme)?, revision);
                    (ObjectKey::of(&*object), Some(object))
                }
                DELETE => (read_key(json, scheme)?, None),
                tag => return Err(format!("a write of the unknown type {tag} at revision {revision}")),
            });
        }
        commits.push(Logged { revision, epoch, writes, bytes });
    }
    Ok(commits)
}

/// The part of an image that comes before its objects.
#[derive(Serialize, Deserialize)]
struct ImageHead {
    revision: Revision,
    epoch: u64,
    objects: u64,
    kinds: Vec<KindHead>,
}

#[derive(Serialize, Deserialize)]
struct KindHead {
    group: String,
    kind: String,
    last: Revision,
    namespaces: BTreeMap<Arc<str>, Revision>,
}

/// Appends what `image` has beside its objects.
pub(super) fn put_image_head(buffer: &mut Vec<u8>, image: &Image) -> io::Result<()> {
    let kinds = image.last.iter().map(|(name, last)| KindHead {
        group: name.group.to_string(),
        kind: name.kind.to_string(),
        last: last.revision,
        namespaces: last.namespaces.clone(),
    });
    let head = ImageHead {
        revision: image.revision,
        epoch: image.epoch.0,
        objects: image.objects.len() as u64,
        kinds: kinds.collect(),
    };
    Ok(serde_json::to_writer(buffer, &head)?)
}

/// Reads what an image has beside its objects, and how many those are.
///
/// # Errors
/// What is wrong with it.
pub(super) fn take_image_head(content: &[u8], scheme: &Scheme) -> Result<(Image, u64), String> {
    let head: ImageHead = serde_json::from_slice(content).map_err(|e| e.to_string())?;
    let last = head.kinds.into_iter().map(|kind| {
        let last = Last { revision: kind.last, namespaces: kind.namespaces };
        (group_kind(kind.group, kind.kind, scheme), last)
    });
    let image = Image {
        revision: head.revision,
        epoch: Epoch(head.epoch),
        last: last.collect(),
        objects: Vec::new(),
    };
    Ok((image, head.objects))
}

/// Appends an object, with its revision.
pub(super) fn put_object(buffer: &mut Vec<u8>, object: &AnyObject) {
    put_sized(buffer, |buffer| object.write_json(buffer));
}

/// Reads objects that [`put_object`] wrote.
///
/// # Errors
/// What is wrong.
pub(super) fn take_objects(mut content: &[u8], scheme: &Scheme) -> Result<Vec<AnyObject>, String> {
    let mut objects = Vec::new();
    while !content.is_empty() {
        objects.push(read_object(take_sized(&mut content)?, scheme)?);
    }
    Ok(objects)
}

fn put_sized(buffer: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    fill(buffer);
    // An object beyond 4 GiB is refused by its size, which is far beyond every limit.
    let len = u32::try_from(buffer.len() - start - 4).unwrap_or(u32::MAX);
    buffer[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or("a record is shorter than it says")?;
    *bytes = rest;
    Ok(taken)
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64, String> {
    let taken = take(bytes, 8)?;
    Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = take(bytes, 4)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
    take(bytes, len)
}

fn write_key(key: &ObjectKey, buffer: &mut Vec<u8>) {
    let key = Key {
        group: key.kind.group.to_string(),
        kind: key.kind.kind.to_string(),
        namespace: Arc::clone(&key.namespace),
        name: Arc::clone(&key.name),
    };
    // Text can always be written, and into memory.
    if let Ok(json) = serde_json::to_vec(&key) {
        buffer.extend_from_slice(&json);
    }
}

fn read_key(json: &[u8], scheme: &Scheme) -> Result<ObjectKey, String> {
    let key: Key = serde_json::from_slice(json).map_err(|e| format!("a key can't be read: {e}"))?;
    Ok(ObjectKey { kind: group_kind(key.group, key.kind, scheme), namespace: key.namespace, name: key.name })
}

/// The kind of that name: where the scheme knows it, without text of its own.
fn group_kind(group: String, kind: String, scheme: &Scheme) -> GroupKind {
    match scheme.kinds().find(|info| info.group == group && info.kind == kind) {
        Some(info) => info.group_kind(),
        None => GroupKind { group: group.into(), kind: kind.into() },
    }
}

fn read_object(json: &[u8], scheme: &Scheme) -> Result<AnyObject, String> {
    scheme.decode_stored_json(json).map_err(|e| {
        let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
        format!("the object {} {} can't be read: {e}", value["kind"], value["metadata"]["name"])
    })
}
