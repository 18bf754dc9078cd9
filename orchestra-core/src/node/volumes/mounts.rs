//! From a container's mounts to paths of the host.

use std::path::{Path, PathBuf};

use super::served::{self, not_served};
use super::{VolumeError, VolumeFiles, check_relative, file_set, is_written};
use crate::model::{Container, HostPathType, LOCAL_PROVISIONER, Pod, Uid, Volume, VolumeMode};
use crate::node::env::{ConfigError, Sources, expand};
use crate::node::error::chain;
use crate::runtime::{Feature, Mount, MountSource, RuntimeInfo};

/// Why a container has no mounts.
#[derive(Debug)]
pub(crate) enum MountError {
    /// Something is missing that may come.
    Config(ConfigError),
    /// The file system failed, or what it has is not what was asked for.
    Files(VolumeError),
}

impl MountError {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Config(error) => error.to_string(),
            Self::Files(error) => chain(error),
        }
    }
}

impl From<VolumeError> for MountError {
    fn from(error: VolumeError) -> Self {
        Self::Files(error)
    }
}

/// What the volumes of a pod are made with.
pub(crate) struct Means<'a> {
    files: &'a dyn VolumeFiles,
    /// Whether the runtime has volumes in memory: else they are on the disk.
    in_memory: bool,
    /// The group that they belong to, where the runtime puts containers in it.
    group: Option<u32>,
}

impl<'a> Means<'a> {
    pub(crate) fn of(files: &'a dyn VolumeFiles, pod: &Pod, info: Option<&RuntimeInfo>) -> Self {
        let ignores = |feature| info.is_some_and(|info| info.ignores.contains(&feature));
        let group = pod.spec.security_context.fs_group;
        Self {
            files,
            in_memory: !ignores(Feature::MemoryVolumes),
            group: group.filter(|_| !ignores(Feature::FsGroup)),
        }
    }
}

/// Prepares the volumes that `container` mounts.
pub(crate) async fn mounts(
    means: &Means<'_>,
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    env: &[(String, String)],
) -> Result<Vec<Mount>, MountError> {
    let mut mounts = Vec::with_capacity(container.volume_mounts.len());
    for wanted in &container.volume_mounts {
        let Some(volume) = pod.spec.volumes.iter().find(|v| v.name == wanted.name) else {
            let error = format!(
                "container {} mounts a volume {} that the pod does not have",
                container.name, wanted.name
            );
            return Err(MountError::Config(ConfigError(error)));
        };
        let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let sub_path = if wanted.sub_path_expr.is_empty() {
            wanted.sub_path.clone()
        } else {
            expand(&wanted.sub_path_expr, value)
        };
        if !sub_path.is_empty() {
            check_relative(&sub_path)?;
        }
        let source = if means.in_memory && volume.empty_dir.as_ref().is_some_and(|dir| dir.is_in_memory()) {
            if !sub_path.is_empty() {
                let why = "subPath, which a volume in memory has not: mount all of it";
                let error = format!("container {} mounts {} with {why}", container.name, volume.name);
                return Err(MountError::Config(ConfigError(error)));
            }
            MountSource::Memory { volume: volume.name.clone() }
        } else {
            let mut path = prepare(means, pod, volume, sources).await?;
            if !sub_path.is_empty() {
                path = means.files.sub_path(&path, &sub_path).await?;
            }
            MountSource::Host(path)
        };
        let mut mount = Mount::new(&wanted.mount_path, source);
        // What the agent writes nobody else does: Kubernetes mounts it read-only too.
        let claim = volume.persistent_volume_claim.as_ref();
        mount.read_only =
            wanted.read_only || is_written(volume) || claim.is_some_and(|claim| claim.read_only);
        mounts.push(mount);
    }
    Ok(mounts)
}

async fn prepare(
    means: &Means<'_>,
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
) -> Result<PathBuf, MountError> {
    let (uid, Means { files, group, .. }): (&Uid, _) = (&pod.metadata.uid, means);
    if is_written(volume) {
        let set = file_set(pod, volume, sources).map_err(MountError::Config)?;
        return Ok(files.publish(uid, &volume.name, &set, *group).await?);
    }
    if let Some(source) = &volume.host_path {
        return Ok(files.host_path(Path::new(&source.path), source.type_).await?);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return persistent(means, volume, &claim.claim_name, sources).await;
    }
    if volume.empty_dir.is_some() {
        return Ok(files.directory(uid, &volume.name, *group).await?);
    }
    Err(MountError::Config(not_served(volume)))
}

/// The directory that is behind a claim.
async fn persistent(
    Means { files, group, .. }: &Means<'_>,
    volume: &Volume,
    claim: &str,
    sources: &Sources,
) -> Result<PathBuf, MountError> {
    let config = |why: String| MountError::Config(ConfigError(format!("volume {}: {why}", volume.name)));
    let found = served::claimed(volume, claim, sources).map_err(MountError::Config)?;
    let (name, spec) = (&found.metadata.name, &found.spec);
    if let Some(node) = &sources.node
        && !found.reaches(&node.metadata.name, &node.metadata.labels)
    {
        return Err(config(format!("node {} can't reach persistent volume {name}", node.metadata.name)));
    }
    if spec.volume_mode == VolumeMode::Block {
        return Err(config(format!(
            "persistent volume {name} is a block device, which no node serves; use volumeMode Filesystem"
        )));
    }
    if let Some(host_path) = &spec.host_path {
        return Ok(files.host_path(Path::new(&host_path.path), host_path.type_).await?);
    }
    if let Some(local) = &spec.local {
        return Ok(files.host_path(Path::new(&local.path), HostPathType::Directory).await?);
    }
    match &spec.csi {
        Some(csi) if csi.driver == LOCAL_PROVISIONER => {
            Ok(files.persistent(&csi.volume_handle, *group).await?)
        }
        Some(csi) => Err(config(format!(
            "persistent volume {name} is of the driver {}, which this node does not have",
            csi.driver
        ))),
        None => {
            let source = spec.extra.0.keys().next().map_or("none", String::as_str);
            Err(config(format!(
                "persistent volume {name} has a source that this node does not serve, `{source}`; use hostPath or local"
            )))
        }
    }
}

/// Writes the volumes anew whose files come from objects. A volume whose object is gone stays as it is.
pub(crate) async fn refresh(
    Means { files, group, .. }: &Means<'_>,
    pod: &Pod,
    sources: &Sources,
) -> Result<(), VolumeError> {
    for volume in pod.spec.volumes.iter().filter(|v| is_written(v)) {
        let mounted = |c: &Container| c.volume_mounts.iter().any(|m| m.name == volume.name);
        if !pod.spec.init_containers.iter().chain(&pod.spec.containers).any(mounted) {
            continue;
        }
        if let Ok(set) = file_set(pod, volume, sources) {
            files.publish(&pod.metadata.uid, &volume.name, &set, *group).await?;
        }
    }
    Ok(())
}
