//! Volumes on the host's file system.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{FileSet, VolumeError, VolumeFiles, check_relative, publish, remove_tree};
use crate::model::{HostPathType, Uid};

/// The permissions of a directory that containers of any user write to, as Kubernetes gives an emptyDir.
const SHARED_MODE: u32 = 0o777;

/// What is made in a directory with this bit belongs to the directory's group.
pub(super) const SET_GROUP: u32 = 0o2000;

/// The permissions of the directory of all pods: to be passed, not to be listed.
const PASSAGE_MODE: u32 = 0o711;

/// Keeps volumes under one directory: `pods/<uid>/volumes/<name>`, and those that outlive pods in `persistent/<name>`.
#[derive(Clone, Debug)]
pub struct HostVolumes {
    root: PathBuf,
}

impl HostVolumes {
    /// Volumes under `root`, which is created when it is first needed.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn pods_dir(&self) -> PathBuf {
        self.root.join("pods")
    }

    fn pod_dir(&self, pod: &Uid) -> Result<PathBuf, VolumeError> {
        Ok(self.pods_dir().join(part(pod.as_str())?))
    }

    fn volume_dir(&self, pod: &Uid, volume: &str) -> Result<PathBuf, VolumeError> {
        Ok(self.pod_dir(pod)?.join("volumes").join(part(volume)?))
    }

    fn persistent_dir(&self) -> PathBuf {
        self.root.join("persistent")
    }

    /// Makes the directory of all pods, or of all persistent volumes, where it is not there. Whoever is neither the agent nor in a pod finds no way
    /// through it: what is in it is named by a uid, which can't be listed and not be guessed. Containers of other
    /// users get through.
    async fn ensure_passage(dir: PathBuf) -> Result<(), VolumeError> {
        Self::blocking(dir, |path| {
            if !path.is_dir() {
                fs::create_dir_all(path).map_err(io(path, "create it"))?;
                set_mode(path, PASSAGE_MODE)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes a directory that containers of any user write to, where it is not there, and gives it to the group.
    async fn shared_dir(dir: PathBuf, group: Option<u32>) -> Result<PathBuf, VolumeError> {
        Self::blocking(dir, move |path| {
            if !path.is_dir() {
                fs::create_dir_all(path).map_err(io(path, "create it"))?;
                set_mode(path, SHARED_MODE)?;
            }
            if let Some(group) = group
                && !belongs_to(path, group)
            {
                give(path, group)?;
                set_mode(path, SHARED_MODE | SET_GROUP)?;
            }
            Ok(path.to_owned())
        })
        .await
    }

    /// Removes a directory with all that is in it.
    async fn remove_dir(dir: PathBuf) -> Result<(), VolumeError> {
        Self::blocking(dir, |dir| remove_tree(dir).map_err(io(dir, "remove it"))).await
    }

    /// Does file work where it may block.
    async fn blocking<R: Send + 'static>(
        path: PathBuf,
        work: impl FnOnce(&Path) -> Result<R, VolumeError> + Send + 'static,
    ) -> Result<R, VolumeError> {
        let shown = path.clone();
        let result = tokio::task::spawn_blocking(move || work(&path)).await;
        result.unwrap_or_else(|error| Err(io(&shown, "work on it")(std::io::Error::other(error))))
    }
}

/// One part of a path, that is not a way out.
fn part(name: &str) -> Result<&str, VolumeError> {
    check_relative(name)?;
    if name.contains('/') {
        return Err(VolumeError::Unsafe { path: name.to_owned(), why: "must be one name".to_owned() });
    }
    Ok(name)
}

pub(super) fn io<'a>(
    path: &'a Path,
    operation: &'static str,
) -> impl Fn(std::io::Error) -> VolumeError + use<'a> {
    move |source| VolumeError::Io { path: path.display().to_string(), operation, source }
}

/// Gives a file or directory to a group. Its permissions are to be set after it: this may take the set-group bit away.
#[cfg(unix)]
pub(super) fn give(path: &Path, group: u32) -> Result<(), VolumeError> {
    let given = std::os::unix::fs::lchown(path, None, Some(group));
    given.map_err(io(path, "give it to the pod's fsGroup, which needs root or a member of it"))
}

#[cfg(not(unix))]
pub(super) fn give(path: &Path, _: u32) -> Result<(), VolumeError> {
    Err(io(path, "give it to a group")(std::io::Error::from(ErrorKind::Unsupported)))
}

/// Whether what is made in a directory belongs to the group, as it does itself.
#[cfg(unix)]
pub(super) fn belongs_to(dir: &Path, group: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(dir).is_ok_and(|found| found.gid() == group && found.mode() & SET_GROUP != 0)
}

#[cfg(not(unix))]
pub(super) fn belongs_to(_: &Path, _: u32) -> bool {
    false
}

#[cfg(unix)]
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io(path, "set its permissions"))
}

#[cfg(not(unix))]
pub(super) fn set_mode(_: &Path, _: u32) -> Result<(), VolumeError> {
    Ok(())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VolumeFiles for HostVolumes {
    async fn directory(&self, pod: &Uid, volume: &str, group: Option<u32>) -> Result<PathBuf, VolumeError> {
        Self::ensure_passage(self.pods_dir()).await?;
        Self::shared_dir(self.volume_dir(pod, volume)?, group).await
    }

    async fn publish(
        &self,
        pod: &Uid,
        volume: &str,
        files: &FileSet,
        group: Option<u32>,
    ) -> Result<PathBuf, VolumeError> {
        Self::ensure_passage(self.pods_dir()).await?;
        let files = files.clone();
        Self::blocking(self.volume_dir(pod, volume)?, move |path| {
            publish::publish(path, &files, group)?;
            Ok(path.to_owned())
        })
        .await
    }

    async fn host_path(&self, path: &Path, type_: HostPathType) -> Result<PathBuf, VolumeError> {
        Self::blocking(path.to_owned(), move |path| {
            if !path.is_absolute() || path.components().any(|c| c == std::path::Component::ParentDir) {
                let why = "a host path must be absolute and without `..`".to_owned();
                return Err(VolumeError::Unsafe { path: path.display().to_string(), why });
            }
            match type_ {
                // Without a type too: all runtimes under Kubernetes make what they are to mount.
                HostPathType::DirectoryOrCreate | HostPathType::Unset if !path.exists() => {
                    fs::create_dir_all(path).map_err(io(path, "create it"))?;
                }
                HostPathType::FileOrCreate => {
                    let created = fs::OpenOptions::new().write(true).create_new(true).open(path);
                    if let Err(error) = created
                        && error.kind() != ErrorKind::AlreadyExists
                    {
                        return Err(io(path, "create it")(error));
                    }
                }
                _ => {}
            }
            check_type(path, type_)?;
            Ok(path.to_owned())
        })
        .await
    }

    async fn persistent(&self, volume: &str, group: Option<u32>) -> Result<PathBuf, VolumeError> {
        Self::ensure_passage(self.persistent_dir()).await?;
        Self::shared_dir(self.persistent_dir().join(part(volume)?), group).await
    }

    async fn remove_persistent(&self, volume: &str) -> Result<(), VolumeError> {
        Self::remove_dir(self.persistent_dir().join(part(volume)?)).await
    }

    async fn sub_path(&self, volume: &Path, path: &str) -> Result<PathBuf, VolumeError> {
        check_relative(path)?;
        let path = path.to_owned();
        Self::blocking(volume.to_owned(), move |volume| sub_path(volume, &path)).await
    }

    async fn remove(&self, pod: &Uid) -> Result<(), VolumeError> {
        Self::remove_dir(self.pod_dir(pod)?).await
    }

    async fn pods(&self) -> Result<Vec<Uid>, VolumeError> {
        Self::blocking(self.pods_dir(), |path| {
            let entries = match fs::read_dir(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(io(path, "list it"))?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let name = entry.map_err(io(path, "list it"))?.file_name();
                names.push(Uid::from(name.to_string_lossy().as_ref()));
            }
            names.sort();
            Ok(names)
        })
        .await
    }
}

/// Resolves every link and then looks whether the result is still inside. A container that swaps a part of the
/// path for a link between this check and the mount is not kept out; runtimes that isolate must check again.
fn sub_path(volume: &Path, path: &str) -> Result<PathBuf, VolumeError> {
    let root = volume.canonicalize().map_err(io(volume, "resolve it"))?;
    let outside = |at: &Path| VolumeError::Unsafe {
        path: path.to_owned(),
        why: format!("leads out of its volume, to {}", at.display()),
    };
    let mut at = root.clone();
    for part in path.split('/') {
        let next = at.join(part);
        at = match next.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound && next.symlink_metadata().is_err() => {
                fs::create_dir(&next).map_err(io(&next, "create it"))?;
                set_mode(&next, SHARED_MODE)?;
                next
            }
            Err(error) => return Err(io(&next, "resolve it")(error)),
        };
        if !at.starts_with(&root) {
            return Err(outside(&at));
        }
    }
    Ok(at)
}

#[cfg(unix)]
fn check_type(path: &Path, type_: HostPathType) -> Result<(), VolumeError> {
    use std::os::unix::fs::FileTypeExt;
    let found = fs::metadata(path).map(|m| m.file_type());
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(test);
    let (holds, expected) = match type_ {
        HostPathType::Unset => (true, ""),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => {
            (is(fs::FileType::is_dir), "a directory")
        }
        HostPathType::File | HostPathType::FileOrCreate => (is(fs::FileType::is_file), "a file"),
        HostPathType::Socket => (is(FileTypeExt::is_socket), "a Unix socket"),
        HostPathType::CharDevice => (is(FileTypeExt::is_char_device), "a character device"),
        HostPathType::BlockDevice => (is(FileTypeExt::is_block_device), "a block device"),
    };
    if holds { Ok(()) } else { Err(VolumeError::NotThere { path: path.display().to_string(), expected }) }
}

#[cfg(not(unix))]
fn check_type(path: &Path, type_: HostPathType) -> Result<(), VolumeError> {
    let (holds, expected) = match type_ {
        HostPathType::Unset => (true, ""),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => (path.is_dir(), "a directory"),
        HostPathType::File | HostPathType::FileOrCreate => (path.is_file(), "a file"),
        _ => (false, "something that this system has"),
    };
    if holds { Ok(()) } else { Err(VolumeError::NotThere { path: path.display().to_string(), expected }) }
}
