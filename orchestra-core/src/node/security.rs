//! What a container's security context promises, and what its runtime can do of it. Pure.

use super::env::ConfigError;
use crate::model::{Container, EmptyDirVolume, Pod, Volume};
use crate::runtime::{ContainerSpec, Feature, RuntimeInfo, Seccomp};

/// What a container asks for and its runtime takes no notice of, as the manifest's fields.
pub(crate) fn ignored(
    pod: &Pod,
    container: &Container,
    spec: &ContainerSpec,
    info: &RuntimeInfo,
) -> Vec<String> {
    let context = &pod.spec.security_context;
    let in_memory = |volume: &&Volume| volume.empty_dir.as_ref().is_some_and(EmptyDirVolume::is_in_memory);
    let mounts = |volume: &Volume| container.volume_mounts.iter().any(|mount| mount.name == volume.name);
    let asked = |feature: &&Feature| match feature {
        Feature::ReadOnlyRoot => spec.read_only_root,
        // Volumes that the agent writes are mounted so without being asked for.
        Feature::ReadOnlyMounts => container.volume_mounts.iter().any(|mount| mount.read_only),
        Feature::Privileged => spec.privileged,
        Feature::Capabilities => !spec.capabilities.add.is_empty() || !spec.capabilities.drop.is_empty(),
        Feature::NoNewPrivileges => spec.no_new_privileges,
        Feature::Seccomp => spec.seccomp.as_ref().is_some_and(|asked| *asked != Seccomp::Unconfined),
        Feature::CpuLimit => spec.limits.cpu_milli.is_some(),
        Feature::MemoryLimit => spec.limits.memory.is_some(),
        Feature::PodLimits => !pod.spec.resources.limits.is_empty(),
        Feature::MemoryVolumes => pod.spec.volumes.iter().filter(in_memory).any(mounts),
        Feature::FsGroup => context.fs_group.is_some() && !container.volume_mounts.is_empty(),
        Feature::SupplementalGroups => !context.supplemental_groups.is_empty(),
    };
    info.ignores.iter().filter(asked).map(ToString::to_string).collect()
}

/// Checks that a container which must not run as root does not. `of_image`: the image's own user.
pub(crate) fn check_user(
    pod: &Pod,
    container: &Container,
    spec: &ContainerSpec,
    of_image: Option<u32>,
) -> Result<(), ConfigError> {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_non_root);
    if own.or(pod.spec.security_context.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let why = match spec.run_as.map(|(user, _)| user).or(of_image) {
        Some(0) => "it would run as root",
        Some(_) => return Ok(()),
        None => "it is not known as whom its image runs",
    };
    let name = &container.name;
    Err(ConfigError(format!("container {name} has runAsNonRoot, but {why}: set securityContext.runAsUser")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PodSpec, SecurityContext};

    #[test]
    fn says_what_is_asked_for_and_ignored() {
        let container: Container = serde_json::from_str(
            r#"{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]}"#,
        )
        .unwrap();
        let mut spec = ContainerSpec::new("c", "web");
        spec.limits.memory = Some(1);
        let mut info = RuntimeInfo::default();
        let pod = Pod::new("p").spec(PodSpec::new(container.clone()));
        assert!(ignored(&pod, &container, &spec, &info).is_empty());
        info.ignores = [Feature::ReadOnlyMounts, Feature::MemoryLimit, Feature::Privileged].into();
        assert_eq!(
            ignored(&pod, &container, &spec, &info),
            ["volumeMounts.readOnly", "resources.limits.memory"]
        );
    }

    #[test]
    fn nobody_runs_as_root_who_must_not() {
        let mut container = Container::new("c", "web");
        let mut spec = ContainerSpec::new("c", "web");
        let check = |container: &Container, spec: &ContainerSpec, of_image| {
            let pod = Pod::new("p").spec(PodSpec::new(container.clone()));
            check_user(&pod, container, spec, of_image).map_err(|error| error.to_string())
        };
        assert_eq!(check(&container, &spec, Some(0)), Ok(()));
        container.security_context =
            Some(SecurityContext { run_as_non_root: Some(true), ..SecurityContext::default() });
        assert!(check(&container, &spec, Some(0)).unwrap_err().contains("would run as root"));
        assert!(check(&container, &spec, None).unwrap_err().contains("not known"));
        assert_eq!(check(&container, &spec, Some(7)), Ok(()));
        spec.run_as = Some((0, None));
        assert!(check(&container, &spec, Some(7)).is_err());
    }
}
