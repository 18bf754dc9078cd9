//! Volumes without a file system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use orchestra_core::model::{HostPathType, Uid};
use orchestra_core::node::{FileSet, VolumeError, VolumeFiles};

/// The volumes of one pod, by name.
type Pod = BTreeMap<String, FileSet>;

/// Keeps volumes in memory, as what they should contain. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SimVolumes(Arc<Mutex<BTreeMap<Uid, Pod>>>, Arc<Mutex<BTreeSet<String>>>);

impl SimVolumes {
    /// No volumes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Pod>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn persistent(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The persistent volumes that the node keeps, by name.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        self.persistent().iter().cloned().collect()
    }

    /// The text of a file in a volume, where there is such a file.
    #[must_use]
    pub fn read(&self, pod: &Uid, volume: &str, path: &str) -> Option<String> {
        let pods = self.lock();
        let file = pods.get(pod)?.get(volume)?.0.get(path)?;
        file.contents.as_text().map(str::to_owned)
    }

    /// How many pods have volumes.
    #[must_use]
    pub fn pods_with_volumes(&self) -> usize {
        self.lock().len()
    }

    /// The pods that have volumes.
    pub(crate) fn owners(&self) -> Vec<Uid> {
        self.lock().keys().cloned().collect()
    }

    /// All of them are lost.
    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.persistent().clear();
    }

    fn set(&self, pod: &Uid, volume: &str, files: FileSet) -> PathBuf {
        self.lock().entry(pod.clone()).or_default().insert(volume.to_owned(), files);
        Path::new("/sim").join(pod.as_str()).join(volume)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VolumeFiles for SimVolumes {
    async fn directory(&self, pod: &Uid, volume: &str, _: Option<u32>) -> Result<PathBuf, VolumeError> {
        Ok(self.set(pod, volume, FileSet::default()))
    }

    async fn publish(
        &self,
        pod: &Uid,
        volume: &str,
        files: &FileSet,
        _: Option<u32>,
    ) -> Result<PathBuf, VolumeError> {
        Ok(self.set(pod, volume, files.clone()))
    }

    async fn host_path(&self, path: &Path, _: HostPathType) -> Result<PathBuf, VolumeError> {
        Ok(path.to_owned())
    }

    async fn persistent(&self, volume: &str, _: Option<u32>) -> Result<PathBuf, VolumeError> {
        self.persistent().insert(volume.to_owned());
        Ok(Path::new("/sim/persistent").join(volume))
    }

    async fn remove_persistent(&self, volume: &str) -> Result<(), VolumeError> {
        self.persistent().remove(volume);
        Ok(())
    }

    async fn sub_path(&self, volume: &Path, path: &str) -> Result<PathBuf, VolumeError> {
        Ok(volume.join(path))
    }

    async fn remove(&self, pod: &Uid) -> Result<(), VolumeError> {
        self.lock().remove(pod);
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<Uid>, VolumeError> {
        Ok(self.owners())
    }
}
