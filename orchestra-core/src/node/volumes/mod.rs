//! Volumes: directories under the agent's root that runtimes mount into containers.

mod content;
mod host;
mod mounts;
mod publish;
mod remove;
mod served;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

pub(crate) use content::{file_set, is_written};
pub use host::HostVolumes;
pub(crate) use mounts::{Means, MountError, mounts, refresh};
pub use remove::remove_tree;
pub(crate) use served::check_served;

use crate::model::{ByteString, HostPathType, Uid};

/// A file of a volume. `Debug` does not show its contents: they may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFile {
    /// What is in it.
    pub contents: ByteString,
    /// Its permissions, at most 0777.
    pub mode: u32,
}

/// The files of a volume, by their path in it: relative, with `/`, without `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSet(pub BTreeMap<String, VolumeFile>);

/// A failure to prepare or remove a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The path leads out of where it must stay, or is none.
    #[error("{path}: {why}")]
    Unsafe {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// What is at a path of the host is not what the volume says, or nothing.
    #[error("{path} is not {expected}")]
    NotThere {
        /// The path.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The file system failed.
    #[error("{path}: failed to {operation}")]
    Io {
        /// The path.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The agent was given no directory for volumes.
    #[error("this node has no directory for volumes; give its agent one with `NodeAgentBuilder::root`")]
    NoRoot,
}

/// Where the agent keeps the volumes of its pods.
///
/// # Contract
/// Idempotent: what is there is found. `publish` is atomic: a reader sees all of the old files or all of the new.
/// Nothing that is opened for a pod lies outside of the pod's directory or of the volume it belongs to, whatever a
/// container has put there. Removal follows no link.
///
/// Shipped: [`HostVolumes`]; `orchestra_testkit::sim_runtime::SimVolumes` for simulations, where no real file may be touched.
#[async_trait]
pub trait VolumeFiles: Debug + Send + Sync + 'static {
    /// The directory of a volume that containers write to, created where it is missing. It, and all that is made in it, belongs
    /// to `group` where there is one.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn directory(&self, pod: &Uid, volume: &str, group: Option<u32>) -> Result<PathBuf, VolumeError>;

    /// The directory of a volume with exactly these files, which belong to `group` where there is one, and which it can read.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn publish(
        &self,
        pod: &Uid,
        volume: &str,
        files: &FileSet,
        group: Option<u32>,
    ) -> Result<PathBuf, VolumeError>;

    /// A path of the host, checked and, where its type says so, created.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn host_path(&self, path: &Path, type_: HostPathType) -> Result<PathBuf, VolumeError>;

    /// The directory of a persistent volume that the node itself keeps, created where it is missing. It outlives pods. It,
    /// and all that is made in it from now on, belongs to `group` where there is one.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn persistent(&self, volume: &str, group: Option<u32>) -> Result<PathBuf, VolumeError>;

    /// Removes such a directory with all that is in it; nothing where there is none.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn remove_persistent(&self, volume: &str) -> Result<(), VolumeError>;

    /// A path inside a volume. A directory is created where nothing is.
    ///
    /// # Errors
    /// [`VolumeError::Unsafe`] where it leads out of the volume; see [`VolumeError`].
    async fn sub_path(&self, volume: &Path, path: &str) -> Result<PathBuf, VolumeError>;

    /// Removes all directories of a pod; nothing where there are none.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn remove(&self, pod: &Uid) -> Result<(), VolumeError>;

    /// The pods that have directories.
    ///
    /// # Errors
    /// See [`VolumeError`].
    async fn pods(&self) -> Result<Vec<Uid>, VolumeError>;
}

const _: fn(&dyn VolumeFiles) = |_| {};

/// No directory at all: pods without volumes run, those with some are told what is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoVolumes;

#[async_trait]
impl VolumeFiles for NoVolumes {
    async fn directory(&self, _: &Uid, _: &str, _: Option<u32>) -> Result<PathBuf, VolumeError> {
        Err(VolumeError::NoRoot)
    }
    async fn publish(&self, _: &Uid, _: &str, _: &FileSet, _: Option<u32>) -> Result<PathBuf, VolumeError> {
        Err(VolumeError::NoRoot)
    }
    async fn host_path(&self, _: &Path, _: HostPathType) -> Result<PathBuf, VolumeError> {
        Err(VolumeError::NoRoot)
    }
    async fn persistent(&self, _: &str, _: Option<u32>) -> Result<PathBuf, VolumeError> {
        Err(VolumeError::NoRoot)
    }
    async fn remove_persistent(&self, _: &str) -> Result<(), VolumeError> {
        Ok(())
    }
    async fn sub_path(&self, _: &Path, _: &str) -> Result<PathBuf, VolumeError> {
        Err(VolumeError::NoRoot)
    }
    async fn remove(&self, _: &Uid) -> Result<(), VolumeError> {
        Ok(())
    }
    async fn pods(&self) -> Result<Vec<Uid>, VolumeError> {
        Ok(Vec::new())
    }
}

/// Checks that a path is relative and stays where it starts.
pub(crate) fn check_relative(path: &str) -> Result<(), VolumeError> {
    let refused = |why: &str| VolumeError::Unsafe { path: path.to_owned(), why: why.to_owned() };
    if path.is_empty() || path.starts_with('/') {
        return Err(refused("must be a relative path"));
    }
    if path.contains('\0') {
        return Err(refused("must not contain a zero byte"));
    }
    if path.split('/').any(|part| part == ".." || part == "." || part.is_empty()) {
        return Err(refused("must have no empty, `.` or `..` part"));
    }
    Ok(())
}

impl fmt::Display for FileSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files", self.0.len())
    }
}
