//! What a whole pod may use at most: the sandbox has these limits, and its containers' control groups are below its own.

use bollard::models::SystemInfo;
use orchestra_core::runtime::{ContainerLimits, RuntimeError, SandboxSpec};

use crate::core::{Core, Found};
use crate::error;

/// Where the engine puts containers itself, and where sandboxes with limits say that they are; and how the names of their groups begin
/// there, before the id. Podman does not tell of its own parent where it is written without the last slash.
const DOCKER: (&str, &str) = ("/docker", "/docker/");
const PODMAN: (&str, &str) = ("/libpod_parent/", "/libpod_parent/libpod-");

/// The parent of a sandbox's own group, where the pod has limits.
pub(crate) fn parent_of_sandbox(core: &Core, spec: &SandboxSpec) -> Option<String> {
    let (parent, _) = if core.is_podman { PODMAN } else { DOCKER };
    (spec.limits != ContainerLimits::default()).then(|| parent.to_owned())
}

/// Checks that the engine can do it. In version 2 of control groups no group with processes can have limited groups below it, and
/// systemd takes only slices for parents.
pub(crate) async fn check(core: &Core, subject: &str) -> Result<(), RuntimeError> {
    let ask = async || match core.docker.info().await {
        Ok(info) => Ok(can_not(&info)),
        Err(error) => Err(error::read("the engine", "ask what it is", error)),
    };
    match core.no_pod_limits.get_or_try_init(ask).await? {
        None => Ok(()),
        Some(why) => Err(RuntimeError::Unsupported { subject: subject.to_owned(), why: why.clone() }),
    }
}

/// Why there are no limits for pods on such an engine, if there are none.
fn can_not(info: &SystemInfo) -> Option<String> {
    let driver = info.cgroup_driver.map_or_else(|| "no".to_owned(), |driver| driver.to_string());
    let version = info.cgroup_version.map_or_else(|| "1".to_owned(), |version| version.to_string());
    let can = driver == "cgroupfs" && version == "1";
    (!can).then(|| {
        format!(
            "limits for a whole pod need control groups of version 1 under the driver cgroupfs, and the engine has \
             version {version} under {driver}: set them on the pod's containers"
        )
    })
}

/// The parent of the groups of a sandbox's containers, where that is not the engine's own.
pub(crate) fn parent(sandbox: &Found) -> Option<String> {
    let parent = sandbox.details.host_config.as_ref()?.cgroup_parent.as_deref()?;
    let (_, begin) = [DOCKER, PODMAN].into_iter().find(|(known, _)| *known == parent)?;
    Some(format!("{begin}{}", sandbox.docker_id))
}

#[cfg(test)]
mod tests {
    use bollard::models::{SystemInfoCgroupDriverEnum as Driver, SystemInfoCgroupVersionEnum as Version};

    use super::*;

    #[test]
    fn who_can_not_says_why() {
        let engine = |driver, version| SystemInfo {
            cgroup_driver: Some(driver),
            cgroup_version: Some(version),
            ..SystemInfo::default()
        };
        assert_eq!(can_not(&engine(Driver::CGROUPFS, Version::_1)), None);
        for (driver, version) in [(Driver::SYSTEMD, Version::_1), (Driver::CGROUPFS, Version::_2)] {
            let why = can_not(&engine(driver, version)).unwrap();
            assert!(why.contains(&format!("version {version} under {driver}")), "{why}");
        }
    }
}
