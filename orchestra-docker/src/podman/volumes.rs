//! Volumes in memory: Podman (4.3) does not make those that a container is to mount as they are described there.

use bollard::models::{Mount, VolumeCreateRequest};
use orchestra_core::runtime::RuntimeError;

use crate::core::Core;
use crate::error;

/// Makes the volumes that are not there yet.
pub(crate) async fn make_volumes(core: &Core, mounts: &[Mount]) -> Result<(), RuntimeError> {
    for mount in mounts {
        let made = core.docker.create_volume(request(mount)).await;
        let name = mount.source.as_deref().unwrap_or_default();
        made.map_err(|error| error::effect(name, "make the volume", error))?;
    }
    Ok(())
}

fn request(mount: &Mount) -> VolumeCreateRequest {
    let described = mount.volume_options.clone().unwrap_or_default();
    let driver = described.driver_config.unwrap_or_default();
    let mut options = driver.options.unwrap_or_default();
    if let Some(of_mount) = options.get_mut("o") {
        *of_mount = of_mount.split(',').map(in_blocks).collect::<Vec<_>>().join(",");
    }
    VolumeCreateRequest {
        name: mount.source.clone(),
        driver: driver.name,
        driver_opts: Some(options),
        labels: described.labels,
        ..VolumeCreateRequest::default()
    }
}

/// The size of a file system in blocks of its own: Podman takes `size` for a quota on its disk.
fn in_blocks(option: &str) -> String {
    let bytes = option.strip_prefix("size=").and_then(|bytes| bytes.parse::<u64>().ok());
    // A block is a page, and the engine's pages are as large as those here: it has the same architecture.
    let blocks = bytes.map(|bytes| bytes.div_ceil(rustix::param::page_size() as u64).max(1));
    blocks.map_or_else(|| option.to_owned(), |blocks| format!("nr_blocks={blocks}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use orchestra_core::model::Uid;
    use orchestra_core::runtime::{MemoryVolume, SandboxSpec};

    use super::*;
    use crate::volumes;

    #[test]
    fn a_volume_is_made_as_a_mount_describes_it_with_its_size_in_pages() {
        let mut spec = SandboxSpec::new("shop", "web-1", Uid::from("a"));
        let size = 2 * rustix::param::page_size() as u64 - 1;
        spec.memory_volumes = vec![MemoryVolume { name: "v".to_owned(), size: Some(size), group: Some(7) }];
        let request = request(&volumes::held("c", &spec)[0]);
        assert_eq!(request.name.as_deref(), Some("orchestra.c.a.v"));
        assert!(request.labels.is_some_and(|labels| labels.len() == 2));
        let expected = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "mode=2777,nr_blocks=2,gid=7")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(request.driver_opts, Some(HashMap::from(expected)));
    }
}
