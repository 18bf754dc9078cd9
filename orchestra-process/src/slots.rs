//! Directories and spools of containers, used again and again.
//!
//! Making and removing three files for each container would cost more than starting its program: a file system
//! with a journal is slow at exactly that, and slower the more is removed. So each container gets a numbered *slot*,
//! which is emptied when the container is removed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use orchestra_core::node::remove_tree;
use rustix::fs::OFlags;

/// Empty slots that are kept: those of a large rollout. Beyond that they are removed.
const MAX_FREE: usize = 256;

/// The rights of a container's directory: its own.
const DIR_MODE: u32 = 0o700;

/// The slots of a state directory.
#[derive(Debug)]
pub(crate) struct Slots {
    dirs: PathBuf,
    spools: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: BTreeSet<u32>,
    /// The lowest number that never was a slot.
    next: u32,
}

impl Slots {
    pub(crate) fn new(root: &Path) -> Self {
        Self { dirs: root.join("slots"), spools: root.join("spool"), state: Mutex::default() }
    }

    /// Makes the directories that hold the slots. Containers pass through the first, maybe as other users.
    pub(crate) fn prepare(root: &Path) -> io::Result<()> {
        for (dir, mode) in [("slots", 0o711), ("spool", 0o700)] {
            match DirBuilder::new().mode(mode).create(root.join(dir)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The container's own directory.
    pub(crate) fn dir(&self, slot: u32) -> PathBuf {
        self.dirs.join(slot.to_string())
    }

    /// The directory of all spools, to be watched.
    pub(crate) fn spool_dir(&self) -> &Path {
        &self.spools
    }

    /// The spools of standard output and standard error.
    pub(crate) fn spools(&self, slot: u32) -> [PathBuf; 2] {
        ["out", "err"].map(|name| self.spools.join(format!("{slot}.{name}")))
    }

    /// The slot of a spool, by the file's name.
    pub(crate) fn of_spool(name: &str) -> Option<u32> {
        name.rsplit_once('.')?.0.parse().ok()
    }

    /// Whether the next slot is there already.
    pub(crate) fn has_free(&self) -> bool {
        self.with(|state| !state.free.is_empty())
    }

    /// An empty slot.
    pub(crate) fn take(&self, user: Option<(u32, Option<u32>)>) -> io::Result<u32> {
        let (slot, fresh) = self.with(|state| match state.free.pop_first() {
            Some(slot) => (slot, false),
            None => {
                state.next += 1;
                (state.next - 1, true)
            }
        });
        let dir = self.dir(slot);
        let made = if fresh { DirBuilder::new().mode(DIR_MODE).create(&dir) } else { Ok(()) };
        let owned = made.and_then(|()| match user {
            Some((user, group)) => std::os::unix::fs::chown(&dir, Some(user), Some(group.unwrap_or(user))),
            None => Ok(()),
        });
        if owned.is_err() && dir.is_dir() {
            // It is as empty as it was.
            self.with(|state| state.free.insert(slot));
        }
        owned.map(|()| slot)
    }

    /// Empties a slot and takes it back. One that another user had is not used again.
    pub(crate) fn give_back(&self, slot: u32, user: Option<(u32, Option<u32>)>) -> io::Result<()> {
        if user.is_some() || self.with(|state| state.free.len() >= MAX_FREE) {
            return self.remove(slot);
        }
        empty_dir(&self.dir(slot))?;
        for spool in self.spools(slot) {
            empty_file(&spool)?;
        }
        self.with(|state| state.free.insert(slot));
        Ok(())
    }

    fn remove(&self, slot: u32) -> io::Result<()> {
        remove_tree(&self.dir(slot))?;
        self.spools(slot).iter().try_for_each(|spool| gone(fs::remove_file(spool)))
    }

    /// Finds the slots of an earlier run. Those that are not in `used` are emptied. One that can't be is left out: whatever a
    /// program has left behind, the others go on.
    pub(crate) fn recover(&self, used: &BTreeSet<u32>) -> io::Result<()> {
        let mut found = used.clone();
        for entry in fs::read_dir(&self.dirs)? {
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        for entry in fs::read_dir(&self.spools)? {
            found.extend(entry?.file_name().to_str().and_then(Self::of_spool));
        }
        self.with(|state| state.next = found.last().map_or(0, |last| last + 1));
        for slot in found.difference(used) {
            if let Err(error) = self.give_back(*slot, None) {
                tracing::warn!(slot, %error, "a directory that a container has left can't be emptied");
            }
        }
        Ok(())
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Leaves an empty directory with its first rights, whatever the program made of it. No link is followed.
fn empty_dir(dir: &Path) -> io::Result<()> {
    let is_dir = fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir());
    if !is_dir {
        gone(fs::remove_file(dir))?;
        return DirBuilder::new().mode(DIR_MODE).create(dir);
    }
    let mode = Permissions::from_mode(DIR_MODE);
    if fs::symlink_metadata(dir)?.permissions().mode() & 0o7777 != DIR_MODE {
        fs::set_permissions(dir, mode)?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Leaves an empty plain file, or none.
pub(crate) fn empty_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(meta) if meta.is_file() && meta.len() == 0 => Ok(()),
        Ok(meta) if meta.is_file() => {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            OpenOptions::new().write(true).custom_flags(flags).open(path)?.set_len(0)
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Opens a spool for a program to write to: a plain file, or a new one.
pub(crate) fn open_spool(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is no plain file", path.display())));
    }
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn a_slot_comes_back_empty_whatever_was_left_in_it() {
        let root = TempDir::new();
        Slots::prepare(root.path()).unwrap();
        let slots = Slots::new(root.path());
        let slot = slots.take(None).unwrap();
        let dir = slots.dir(slot);
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "text").unwrap();
        let outside = root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "text").unwrap();
        std::os::unix::fs::symlink(&outside, dir.join("link")).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        fs::write(&slots.spools(slot)[0], "left").unwrap();
        slots.give_back(slot, None).unwrap();
        assert!(outside.join("precious").exists(), "a link was followed");
        assert_eq!(slots.take(None).unwrap(), slot);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, DIR_MODE);
        assert_eq!(fs::metadata(&slots.spools(slot)[0]).unwrap().len(), 0);
        assert_ne!(slots.take(None).unwrap(), slot);
    }

    /// Does this on a thread without root's way around permissions, so that it means something as root, too.
    fn like_any_user(test: impl FnOnce() + Send + 'static) {
        use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
        let limited = std::thread::spawn(|| {
            let sets = capabilities(None).unwrap();
            set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..sets }).unwrap();
            test();
        });
        limited.join().unwrap();
    }

    #[test]
    fn directories_that_their_owner_may_not_write_to_are_emptied() {
        like_any_user(|| {
            let root = TempDir::new();
            Slots::prepare(root.path()).unwrap();
            let slots = Slots::new(root.path());
            let slot = slots.take(None).unwrap();
            let leave = || {
                let cache = slots.dir(slot).join("go/pkg");
                fs::create_dir_all(&cache).unwrap();
                fs::write(cache.join("file"), "text").unwrap();
                fs::set_permissions(&cache, Permissions::from_mode(0o555)).unwrap();
                fs::set_permissions(slots.dir(slot).join("go"), Permissions::from_mode(0o000)).unwrap();
            };
            leave();
            slots.give_back(slot, None).unwrap();
            assert_eq!(slots.take(None).unwrap(), slot);
            leave();
            let after = Slots::new(root.path());
            after.recover(&BTreeSet::new()).unwrap();
            assert_eq!(after.take(None).unwrap(), slot);
        });
    }

    #[test]
    fn a_slot_that_cannot_be_given_to_its_user_is_not_lost() {
        like_any_user(|| {
            let root = TempDir::new();
            Slots::prepare(root.path()).unwrap();
            let slots = Slots::new(root.path());
            for _ in 0..3 {
                slots.take(Some((4242, None))).unwrap_err();
            }
            assert_eq!(slots.take(None).unwrap(), 0);
            assert_eq!(fs::read_dir(root.path().join("slots")).unwrap().count(), 1);
        });
    }

    #[test]
    fn a_slot_that_cannot_be_emptied_is_left_out() {
        let root = TempDir::new();
        Slots::prepare(root.path()).unwrap();
        let before = Slots::new(root.path());
        let (stuck, left) = (before.take(None).unwrap(), before.take(None).unwrap());
        // No program can do this, nor can anybody undo it by emptying files.
        fs::create_dir_all(before.spools(stuck)[0].join("full")).unwrap();
        let after = Slots::new(root.path());
        after.recover(&BTreeSet::new()).unwrap();
        assert_eq!(after.take(None).unwrap(), left);
        assert!(after.take(None).unwrap() > left, "the stuck one is not given to anybody");
    }

    #[test]
    fn slots_of_an_earlier_run_are_kept_or_emptied() {
        let root = TempDir::new();
        Slots::prepare(root.path()).unwrap();
        let before = Slots::new(root.path());
        let (kept, left) = (before.take(None).unwrap(), before.take(None).unwrap());
        fs::write(before.dir(kept).join("file"), "text").unwrap();
        fs::write(before.dir(left).join("file"), "text").unwrap();
        let after = Slots::new(root.path());
        after.recover(&BTreeSet::from([kept])).unwrap();
        assert!(after.dir(kept).join("file").exists() && !after.dir(left).join("file").exists());
        assert_eq!(after.take(None).unwrap(), left);
        assert!(after.take(None).unwrap() > left);
    }
}
