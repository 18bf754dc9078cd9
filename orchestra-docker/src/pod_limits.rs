//! What a whole pod may use at most: the sandbox has these limits, and its containers' control groups are below its own.

use bollard::models::SystemInfo;
use orchestra_core::runtime::RuntimeError;

use crate::core::{Core, Found};
use crate::error;

/// Where the engine puts containers itself, and where sandboxes with limits say that they are.
pub(crate) const PARENT: &str = "/docker";

/// Checks that the engine can do it. In version 2 of control groups no group with processes can have limited groups below it, and
/// systemd takes only slices for parents.
pub(crate) async fn check(core: &Core, subject: &str) -> Result<(), RuntimeError> {
    if core.is_podman {
        let why = "Podman has no limits for a whole pod: set them on the pod's containers".to_owned();
        return Err(RuntimeError::Unsupported { subject: subject.to_owned(), why });
    }
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
    let host = sandbox.details.host_config.as_ref()?;
    let limited = host.cgroup_parent.as_deref() == Some(PARENT);
    limited.then(|| format!("{PARENT}/{}", sandbox.docker_id))
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
