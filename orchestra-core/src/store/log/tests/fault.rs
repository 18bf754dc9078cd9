//! A disk that fails when it is told to.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::store::log::disk::{Disk, DiskFile, OsDisk};

/// The system's file system, with faults.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk {
    shared: Arc<(Mutex<Faults>, Condvar)>,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// How many bytes can still be written.
    pub(super) room: Option<u64>,
    /// Writes do a part of their work and fail.
    pub(super) write: Option<io::ErrorKind>,
    pub(super) sync: Option<io::ErrorKind>,
    pub(super) sync_dir: Option<io::ErrorKind>,
    pub(super) truncate: Option<io::ErrorKind>,
    pub(super) rename: Option<io::ErrorKind>,
    /// Syncs do nothing: for tests that a slow disk would hold up.
    pub(super) quick: bool,
    /// Syncs of files wait.
    pub(super) hold: bool,
    /// How many syncs of files were begun.
    pub(super) syncs: usize,
}

impl FaultyDisk {
    /// One that writes what it is told, and syncs nothing.
    pub(super) fn quick() -> Self {
        let disk = Self::default();
        disk.faults().quick = true;
        disk
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.0.lock().unwrap()
    }

    /// Lets syncs go on.
    pub(super) fn release(&self) {
        self.faults().hold = false;
        self.shared.1.notify_all();
    }

    /// Waits until so many syncs were begun.
    pub(super) async fn syncs_begun(&self, count: usize) {
        let disk = self.clone();
        tokio::task::spawn_blocking(move || {
            let (faults, changed) = &*disk.shared;
            drop(changed.wait_while(faults.lock().unwrap(), |faults| faults.syncs < count).unwrap());
        })
        .await
        .unwrap();
    }

    fn check(fault: Option<io::ErrorKind>) -> io::Result<()> {
        fault.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { file, disk: self.clone() })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.faults().room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.file(OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(OsDisk.open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        OsDisk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Self::check(self.faults().rename)?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Self::check(self.faults().sync_dir)?;
        if self.faults().quick { Ok(()) } else { OsDisk.sync_dir(dir) }
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut faults = self.disk.faults();
        if let Some(kind) = faults.write {
            self.file.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(kind.into());
        }
        if let Some(room) = faults.room {
            let fits = bytes.len().min(usize::try_from(room).unwrap());
            self.file.write_at(offset, &bytes[..fits])?;
            faults.room = Some(room - fits as u64);
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return Ok(());
        }
        self.file.write_at(offset, bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        FaultyDisk::check(self.disk.faults().truncate)?;
        self.file.truncate(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (faults, changed) = &*self.disk.shared;
        let mut faults = faults.lock().unwrap();
        faults.syncs += 1;
        changed.notify_all();
        let faults = changed.wait_while(faults, |faults| faults.hold).unwrap();
        FaultyDisk::check(faults.sync)?;
        if faults.quick {
            return Ok(());
        }
        drop(faults);
        self.file.sync()
    }
}
