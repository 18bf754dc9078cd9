//! Volumes in memory: file systems that the engine mounts as long as a container with one of them runs, which the sandbox does.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{
    ContainerInspectResponse, Mount, MountPoint, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig, Volume,
};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use futures_util::future::try_join_all;
use orchestra_core::runtime::{MemoryVolume, RuntimeError, SandboxSpec};

use crate::core::Core;
use crate::{error, labels};

/// The directory of a sandbox that its volumes are mounted below.
const HELD: &str = "/volumes";

/// The permissions of a directory that all users write to, as Kubernetes gives an emptyDir; where it has a group, what is made in
/// it belongs to that.
const SHARED_MODE: u32 = 0o777;
const SET_GROUP: u32 = 0o2000;

/// What a sandbox mounts, so that its volumes are made with it and stay as long as it runs.
pub(crate) fn held(cluster: &str, spec: &SandboxSpec) -> Vec<Mount> {
    let uid = spec.pod_uid.to_string();
    let mount = |volume: &MemoryVolume| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name(cluster, spec, volume)),
        target: Some(format!("{HELD}/{}", volume.name)),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(labels::of_volume(cluster, &uid)),
            driver_config: Some(MountVolumeOptionsDriverConfig {
                name: Some("local".to_owned()),
                options: Some(file_system(volume)),
            }),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    spec.memory_volumes.iter().map(mount).collect()
}

/// The name of a sandbox's volume on the engine.
pub(crate) fn name(cluster: &str, spec: &SandboxSpec, volume: &MemoryVolume) -> String {
    labels::volume_name(cluster, &spec.pod_uid.to_string(), &volume.name)
}

/// The options of the engine's own driver, which are those of `mount`.
fn file_system(volume: &MemoryVolume) -> HashMap<String, String> {
    let mode = SHARED_MODE | volume.group.map_or(0, |_| SET_GROUP);
    let mut options = vec![format!("mode={mode:o}")];
    options.extend(volume.size.map(|size| format!("size={size}")));
    options.extend(volume.group.map(|group| format!("gid={group}")));
    let options = [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", options.join(","))];
    options.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What a container mounts of its sandbox's volumes.
pub(crate) fn mount(name: String, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// The volumes that a sandbox holds, by their names on the engine.
pub(crate) fn of_sandbox(core: &Core, sandbox: &ContainerInspectResponse) -> BTreeSet<String> {
    ours(core, sandbox.mounts.iter().flatten())
}

/// Those of the cluster among what containers mount.
pub(crate) fn ours<'a>(core: &Core, mounts: impl Iterator<Item = &'a MountPoint>) -> BTreeSet<String> {
    let prefix = labels::cluster_prefix(&core.cluster);
    mounts.filter_map(|mount| mount.name.clone()).filter(|name| name.starts_with(&prefix)).collect()
}

/// Removes volumes. One that another sandbox of the pod holds stays with that.
pub(crate) async fn remove(core: &Core, names: BTreeSet<String>) -> Result<(), RuntimeError> {
    let gone = |name: String| async move {
        match core.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error::status(&error), Some(404 | 409)) => Ok(()),
            Err(error) => Err(error::effect(&name, "remove the volume", error)),
        }
    };
    try_join_all(names.into_iter().map(gone)).await.map(drop)
}

/// Removes volumes that nobody holds: their sandboxes were removed by somebody while nobody looked.
pub(crate) async fn remove_left(core: &Core) -> Result<(), RuntimeError> {
    let of_cluster = vec![format!("{}={}", labels::CLUSTER, core.cluster)];
    let filters = HashMap::from([("label".to_owned(), of_cluster)]);
    let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let listed = core.docker.list_volumes(Some(options)).await;
    let listed = listed.map_err(|error| error::read("the engine", "list volumes", error))?;
    // Podman lists others too.
    let ours = |volume: &Volume| volume.labels.get(labels::CLUSTER) == Some(&core.cluster);
    let names = listed.volumes.into_iter().flatten().filter(ours).map(|volume| volume.name).collect();
    remove(core, names).await
}

#[cfg(test)]
mod tests {
    use orchestra_core::model::Uid;

    use super::*;

    #[test]
    fn a_volume_is_as_large_as_it_says_and_belongs_to_its_group() {
        let mut spec = SandboxSpec::new("shop", "web-1", Uid::from("a.b"));
        let volume = |name: &str, size, group| MemoryVolume { name: name.to_owned(), size, group };
        spec.memory_volumes = vec![volume("a", Some(4096), Some(7)), volume("b", None, None)];
        let mounts = held("c", &spec);
        let options = |mount: &Mount| {
            let driver = mount.volume_options.as_ref().unwrap().driver_config.as_ref().unwrap();
            driver.options.as_ref().unwrap()["o"].clone()
        };
        assert_eq!(options(&mounts[0]), "mode=2777,size=4096,gid=7");
        assert_eq!(options(&mounts[1]), "mode=777");
        assert_eq!(mounts[1].source.as_deref(), Some("orchestra.c.a_2eb.b"));
    }
}
