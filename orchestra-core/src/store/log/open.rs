//! Opening a store: the directory, its lock, and what is in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::recover::{Recovered, recover};
use super::writer::Writer;
use super::{Handle, LogStore, LogStoreOptions, failed};
use crate::store::StoreError;
use crate::store::shared::Shared;

/// The file whose lock keeps other processes out. It stays there; what is in it names the last owner.
const LOCK: &str = "lock";

impl LogStore {
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogStoreOptions,
    ) -> Result<Self, StoreError> {
        let (policy, limits) = (options.policy(), options.size_limits());
        let LogStoreOptions { scheme, history, .. } = options;
        let made = make_dir(dir)?;
        let lock = lock_dir(dir)?;
        let Recovered { state, mut segments } = recover(disk, dir.to_owned(), &scheme, history)?;
        segments.unsynced = made;
        let writer = Writer::new(Shared::new(state), segments, policy, lock);
        Ok(Self { handle: Arc::new(Handle { writer, limits }) })
    }
}

/// Makes `dir` and what it is in, and gives the directories that got a new name in them.
fn make_dir(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let missing = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let parents = missing.filter_map(Path::parent).map(|parent| match parent.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => parent.to_owned(),
    });
    let parents = parents.collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| failed("make the directory", dir, error))?;
    Ok(parents)
}

fn lock_dir(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(|error| failed("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let owner = match file.read_to_string(&mut owner) {
                Ok(_) if !owner.is_empty() => format!("process {}", owner.trim()),
                _ => "another process".to_owned(),
            };
            let why = format!("{owner} has it open, and holds the lock on {}", path.display());
            return Err(StoreError::Failed {
                operation: format!("open {}: {why}", dir.display()),
                transient: true,
                source: Box::new(io::Error::from(io::ErrorKind::ResourceBusy)),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
    }
    // Only to name the owner, so a full disk does not matter.
    let noted = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(path = %path.display(), %error, "the lock does not name its owner");
    }
    Ok(file)
}
