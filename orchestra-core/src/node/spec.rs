//! From a pod to what a runtime is asked to run. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::env::expand;
use crate::model::{
    Container, ImagePullPolicy, Labels, Pod, Quantity, ResourceList, SeccompProfile, SeccompProfileType,
};
use crate::runtime::{
    ContainerLimits, ContainerSpec, MemoryVolume, Mount, PortMapping, SandboxSpec, Seccomp,
};

/// How pods of a node resolve names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) domain: String,
}

/// The sandbox of `pod`.
pub(crate) fn sandbox_spec(pod: &Pod, attempt: u32, dns: &Dns) -> SandboxSpec {
    let meta = &pod.metadata;
    let mut spec = SandboxSpec::new(meta.namespace.as_str(), meta.name.as_str(), meta.uid.clone());
    spec.attempt = attempt;
    spec.hostname = if pod.spec.hostname.is_empty() { meta.name.clone() } else { pod.spec.hostname.clone() };
    spec.labels = meta.labels.clone();
    spec.host_network = pod.spec.host_network;
    spec.limits = limits(&pod.spec.resources.limits, &pod.spec.resources.requests);
    if spec.limits != ContainerLimits::default() {
        // Its share of the CPU is that of all its containers, where it has none of its own.
        spec.limits.cpu_request_milli = limits(&ResourceList::new(), &pod.spec.requests()).cpu_request_milli;
    }
    spec.memory_volumes = memory_volumes(pod);
    let containers = pod.spec.init_containers.iter().filter(|c| c.is_sidecar()).chain(&pod.spec.containers);
    let ports = containers.flat_map(|c| &c.ports).filter(|p| p.host_port != 0);
    spec.ports = ports
        .map(|p| PortMapping {
            container_port: p.container_port,
            host_port: p.host_port,
            host_ip: p.host_ip,
            protocol: p.protocol,
        })
        .collect();
    let clusters_own = match pod.spec.dns_policy.as_str() {
        "Default" | "None" => false,
        "ClusterFirstWithHostNet" => true,
        _ => !pod.spec.host_network,
    };
    if clusters_own && !dns.servers.is_empty() {
        spec.dns_servers.clone_from(&dns.servers);
        let domain = &dns.domain;
        spec.dns_search =
            vec![format!("{}.svc.{domain}", meta.namespace), format!("svc.{domain}"), domain.clone()];
    }
    spec
}

/// The volumes in memory that a container mounts. None is larger than what the pod may use in all.
fn memory_volumes(pod: &Pod) -> Vec<MemoryVolume> {
    let containers = || pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let mounted = |name: &str| containers().any(|c| c.volume_mounts.iter().any(|mount| mount.name == name));
    let whole = |quantity: &Quantity| u64::try_from(quantity.value()).ok().filter(|n| *n > 0);
    let of_containers = || {
        let mut limits = containers().map(|c| c.resources.limits.get("memory").and_then(whole));
        limits.try_fold(0, |sum: u64, limit| Some(sum.saturating_add(limit?)))
    };
    let most = pod.spec.resources.limits.get("memory").and_then(whole).or_else(of_containers);
    let volumes = pod.spec.volumes.iter().filter(|volume| mounted(&volume.name));
    let in_memory = volumes.filter_map(|volume| {
        let dir = volume.empty_dir.as_ref().filter(|dir| dir.is_in_memory())?;
        let size = dir.size_limit.as_ref().and_then(whole);
        let size = size.into_iter().chain(most).min();
        Some(MemoryVolume { name: volume.name.clone(), size, group: pod.spec.security_context.fs_group })
    });
    in_memory.collect()
}

/// One run of `container`, with its environment and mounts resolved.
pub(crate) fn container_spec(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    env: Vec<(String, String)>,
    mounts: Vec<Mount>,
) -> ContainerSpec {
    let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let expanded = |words: &[String]| words.iter().map(|w| expand(w, value)).collect::<Vec<_>>();
    let mut spec = ContainerSpec::new(container.name.as_str(), container.image.as_str());
    spec.attempt = attempt;
    spec.command = expanded(&container.command);
    spec.args = expanded(&container.args);
    spec.working_dir = (!container.working_dir.is_empty()).then(|| PathBuf::from(&container.working_dir));
    spec.limits = limits(&container.resources.limits, &container.resources.requests);
    spec.labels = Labels::new();
    (spec.tty, spec.stdin) = (container.tty, container.stdin);
    let (own, pods) = (container.security_context.as_ref(), &pod.spec.security_context);
    let user = own.and_then(|s| s.run_as_user).or(pods.run_as_user);
    let group = own.and_then(|s| s.run_as_group).or(pods.run_as_group);
    spec.run_as = user.map(|user| (user, group));
    spec.supplemental_groups = pods.supplemental_groups.iter().copied().chain(pods.fs_group).collect();
    spec.read_only_root = own.is_some_and(|s| s.read_only_root_filesystem == Some(true));
    spec.privileged = own.is_some_and(|s| s.privileged == Some(true));
    spec.capabilities = own.and_then(|s| s.capabilities.clone()).unwrap_or_default();
    spec.no_new_privileges = own.is_some_and(|s| s.allow_privilege_escalation == Some(false));
    let profile = own.and_then(|s| s.seccomp_profile.as_ref()).or(pods.seccomp_profile.as_ref());
    spec.seccomp = profile.and_then(seccomp);
    spec.env = env;
    spec.mounts = mounts;
    spec
}

fn seccomp(profile: &SeccompProfile) -> Option<Seccomp> {
    Some(match profile.type_? {
        SeccompProfileType::RuntimeDefault => Seccomp::RuntimeDefault,
        SeccompProfileType::Unconfined => Seccomp::Unconfined,
        SeccompProfileType::Localhost => Seccomp::Localhost(PathBuf::from(&profile.localhost_profile)),
    })
}

fn limits(limits: &ResourceList, requests: &ResourceList) -> ContainerLimits {
    let milli = |q: &Quantity| u64::try_from(q.milli()).ok().filter(|n| *n > 0);
    let whole = |q: &Quantity| u64::try_from(q.value()).ok().filter(|n| *n > 0);
    ContainerLimits {
        cpu_milli: limits.get("cpu").and_then(milli),
        cpu_request_milli: requests.get("cpu").and_then(milli),
        memory: limits.get("memory").and_then(whole),
        pids: None,
    }
}

/// When the image is pulled where the container does not say: always for a tag that moves.
pub(crate) fn pull_policy(container: &Container) -> ImagePullPolicy {
    let name = container.image.rsplit('/').next().unwrap_or_default();
    let moves = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    let default = if moves { ImagePullPolicy::Always } else { ImagePullPolicy::IfNotPresent };
    container.image_pull_policy.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PodSpec;

    #[test]
    fn pull_policies_follow_the_tag() {
        for (image, policy) in [
            ("web", ImagePullPolicy::Always),
            ("web:latest", ImagePullPolicy::Always),
            ("web:1", ImagePullPolicy::IfNotPresent),
            ("host:5000/a/web", ImagePullPolicy::Always),
            ("host:5000/a/web:2", ImagePullPolicy::IfNotPresent),
            ("web@sha256:ab", ImagePullPolicy::IfNotPresent),
        ] {
            assert_eq!(pull_policy(&Container::new("c", image)), policy, "{image}");
        }
        let never = Container::new("c", "web").pull(ImagePullPolicy::Never);
        assert_eq!(pull_policy(&never), ImagePullPolicy::Never);
    }

    #[test]
    fn commands_are_expanded_and_limits_counted() {
        let container = Container::new("c", "img")
            .command(["/bin/$(X)"])
            .args(["--port=$(PORT)"])
            .limit("cpu", "1500m")
            .limit("memory", "64Mi");
        let pod = Pod::new("p").namespace("shop").spec(PodSpec::new(container.clone()));
        let env = vec![("PORT".to_owned(), "80".to_owned())];
        let spec = container_spec(&pod, &container, 3, env, Vec::new());
        assert_eq!((spec.command[0].as_str(), spec.args[0].as_str()), ("/bin/$(X)", "--port=80"));
        assert_eq!(
            (spec.limits.cpu_milli, spec.limits.memory, spec.attempt),
            (Some(1500), Some(64 << 20), 3)
        );
        let dns = Dns { servers: vec!["10.0.0.2:53".parse().unwrap()], domain: "cluster.local".into() };
        assert_eq!(sandbox_spec(&pod, 0, &dns).dns_search[0], "shop.svc.cluster.local");
    }

    #[test]
    fn a_pod_with_limits_has_the_cpu_share_of_its_containers() {
        let container = Container::new("c", "img").request("cpu", "2");
        let mut spec = PodSpec::new(container);
        let limits = |spec: &PodSpec| {
            let pod = Pod::new("p").namespace("shop").spec(spec.clone());
            sandbox_spec(&pod, 0, &Dns::default()).limits
        };
        assert_eq!(limits(&spec), ContainerLimits::default(), "it needs no group of its own");
        spec.resources.limits.insert("memory".into(), "64Mi".parse().unwrap());
        assert_eq!((limits(&spec).cpu_request_milli, limits(&spec).cpu_milli), (Some(2000), None));
    }
}
