//! The lock on a state directory.

use std::fs::{File, TryLockError};
use std::io;

/// Holds an exclusive lock on a file until it is dropped.
///
/// Closing the file would not be enough: a child that another thread has forked and that has not called `exec` yet has
/// the file open too, and the lock with it.
#[derive(Debug)]
pub(crate) struct StateLock(File);

impl StateLock {
    /// Takes the lock; `None` where another process, or another runtime of this one, has it.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock on a state directory stays until its last holder closes it");
        }
    }
}
