//! From what is asked for to what the engine is told. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountTmpfsOptions, MountType,
    PortBinding,
};
use orchestra_core::model::Protocol;
use orchestra_core::runtime::{
    ContainerLimits, ContainerSpec, MountSource, RuntimeError, SandboxSpec, Seccomp,
};

use crate::volumes;

/// Where a container leaves its termination message: Kubernetes' default.
pub(crate) const MESSAGE_PATH: &str = "/dev/termination-log";

/// A host name has at most so many bytes; what is longer is cut off, as Kubernetes does.
const HOSTNAME_LIMIT: usize = 63;

/// The only port that `/etc/resolv.conf` knows.
const DNS_PORT: u16 = 53;

/// The period of the CPU quota in microseconds: the kernel's default.
const CPU_PERIOD: i64 = 100_000;

/// The least quota the kernel takes, in microseconds: a hundredth of a core.
const MIN_CPU_QUOTA: i64 = 1000;

/// The least shares the kernel takes, and what a container has that asks for no CPU, as under Kubernetes.
const MIN_SHARES: i64 = 2;

/// The most shares the kernel takes.
const MAX_SHARES: i64 = 262_144;

/// What a sandbox's container is made from.
pub(crate) fn sandbox(
    spec: &SandboxSpec,
    image: &str,
    network: &str,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let ports = spec.ports.iter().map(|port| {
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        let binding = PortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            host_port: Some(port.host_port.to_string()),
        };
        (format!("{}/{protocol}", port.container_port), binding)
    });
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for (port, binding) in ports {
        bindings.entry(port).or_default().get_or_insert_default().push(binding);
    }
    let mut exposed: Vec<_> = bindings.keys().cloned().collect();
    exposed.sort();
    let hostname: String =
        if spec.hostname.is_empty() { spec.pod_name.to_string() } else { spec.hostname.clone() };
    let hostname = hostname.chars().take(HOSTNAME_LIMIT).collect::<String>();
    let dns = dns_servers(spec);
    let mut host = HostConfig {
        network_mode: Some(if spec.host_network { "host".to_owned() } else { network.to_owned() }),
        port_bindings: (!spec.host_network).then_some(bindings),
        // The engine's name servers know nothing below the cluster's domain.
        dns_search: Some(if dns.is_empty() { Vec::new() } else { spec.dns_search.clone() }),
        dns: Some(dns),
        extra_hosts: Some(spec.host_aliases.iter().map(|(ip, name)| format!("{name}:{ip}")).collect()),
        ipc_mode: Some("shareable".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    };
    if spec.limits != ContainerLimits::default() {
        limit(&mut host, &spec.limits);
    }
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/pause".to_owned()]),
        hostname: (!spec.host_network).then_some(hostname),
        exposed_ports: (!spec.host_network).then_some(exposed),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// What a container needs to know of its sandbox.
pub(crate) struct Sandbox<'a> {
    pub(crate) docker_id: &'a str,
    pub(crate) pod_name: &'a str,
    pub(crate) ip: Option<IpAddr>,
    /// The parent of its containers' control groups, where that is not the engine's own.
    pub(crate) cgroup_parent: Option<String>,
    /// The engine's names of its volumes in memory, by their names in the pod.
    pub(crate) volumes: BTreeMap<String, String>,
}

/// What a container is made from. `message` is the host's file for its termination message, `seccomp` the content of the file with
/// the system calls it may make.
pub(crate) fn container(
    spec: &ContainerSpec,
    sandbox: &Sandbox<'_>,
    message: Option<&Path>,
    seccomp: Option<String>,
    labels: HashMap<String, String>,
) -> Result<ContainerCreateBody, RuntimeError> {
    let shared = Some(format!("container:{}", sandbox.docker_id));
    let mut mounts = Vec::with_capacity(spec.mounts.len() + 1);
    if let Some(message) = message {
        mounts.push(bind(spec, message, MESSAGE_PATH, false)?);
    }
    for mount in &spec.mounts {
        let target = text(spec, &mount.target)?;
        mounts.push(match &mount.source {
            MountSource::Host(source) => bind(spec, source, target, mount.read_only)?,
            MountSource::Memory { volume } => {
                let Some(name) = sandbox.volumes.get(volume) else {
                    let why = format!("its sandbox has no volume {volume} in memory");
                    let subject = format!("container {}", spec.name);
                    return Err(RuntimeError::Unsupported { subject, why });
                };
                volumes::mount(name.clone(), target, mount.read_only)
            }
            MountSource::Tmpfs { size } => tmpfs(target, *size, mount.read_only),
            other => {
                let why = format!("the Docker runtime can't mount {other:?} at {target}");
                return Err(RuntimeError::Unsupported { subject: format!("container {}", spec.name), why });
            }
        });
    }
    let mut host = HostConfig {
        network_mode: shared.clone(),
        ipc_mode: shared.clone(),
        pid_mode: shared,
        mounts: Some(mounts),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.read_only_root),
        cgroup_parent: sandbox.cgroup_parent.clone(),
        group_add: Some(spec.supplemental_groups.iter().map(u32::to_string).collect()),
        cap_add: Some(spec.capabilities.add.clone()),
        cap_drop: Some(spec.capabilities.drop.clone()),
        security_opt: Some(security_options(spec, seccomp)),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    limit(&mut host, &spec.limits);
    let working_dir = spec.working_dir.as_deref().map(|dir| text(spec, dir)).transpose()?;
    Ok(ContainerCreateBody {
        image: Some(spec.image.name.clone()),
        // The image's arguments belong to the image's program.
        entrypoint: (!spec.command.is_empty()).then(|| spec.command.clone()),
        cmd: (!spec.args.is_empty()).then(|| spec.args.clone()),
        env: Some(environment(spec, sandbox)),
        working_dir: working_dir.map(str::to_owned),
        user: spec
            .run_as
            .map(|(user, group)| group.map_or(format!("{user}"), |group| format!("{user}:{group}"))),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    })
}

/// `seccomp`: what the engine is told of the profile, where it is a file.
fn security_options(spec: &ContainerSpec, seccomp: Option<String>) -> Vec<String> {
    let mut options = Vec::new();
    options.extend(spec.no_new_privileges.then(|| "no-new-privileges".to_owned()));
    let profile = match &spec.seccomp {
        Some(Seccomp::Unconfined) => Some("unconfined".to_owned()),
        // The engine's own is what it takes anyway.
        _ => seccomp,
    };
    options.extend(profile.map(|profile| format!("seccomp={profile}")));
    options
}

/// At most 3 files of 32 MiB: what a program writes never fills the disk.
fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", "32m"), ("max-file", "3")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config) }
}

/// The last value of each variable, and the pod's name and address where the spec does not set them.
fn environment(spec: &ContainerSpec, sandbox: &Sandbox<'_>) -> Vec<String> {
    let mut values = BTreeMap::from([("POD_NAME", sandbox.pod_name.to_owned())]);
    values.extend(sandbox.ip.map(|ip| ("POD_IP", ip.to_string())));
    values.extend(spec.env.iter().map(|(name, value)| (name.as_str(), value.clone())));
    values.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn limit(host: &mut HostConfig, limits: &ContainerLimits) {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // As a number of CPUs the engine would refuse more than its host has, which limits no less on a host that gets more.
    host.cpu_period = limits.cpu_milli.map(|_| CPU_PERIOD);
    let quota = |milli: u64| whole(milli).saturating_mul(CPU_PERIOD / 1000).max(MIN_CPU_QUOTA);
    host.cpu_quota = limits.cpu_milli.map(quota);
    let shares = |milli: u64| whole(milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES);
    // Who asks for none comes after all who do: the engine's own default is as much as a whole core's.
    host.cpu_shares = Some(limits.cpu_request_milli.or(limits.cpu_milli).map_or(MIN_SHARES, shares));
    host.memory = limits.memory.map(whole);
    // As much as memory: no swap beside it.
    host.memory_swap = host.memory;
    host.pids_limit = limits.pids.map(whole);
}

fn bind(
    spec: &ContainerSpec,
    source: &Path,
    target: &str,
    read_only: bool,
) -> Result<DockerMount, RuntimeError> {
    Ok(DockerMount {
        typ: Some(MountType::BIND),
        source: Some(text(spec, source)?.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..DockerMount::default()
    })
}

fn tmpfs(target: &str, size: Option<u64>, read_only: bool) -> DockerMount {
    let size_bytes = size.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    DockerMount {
        typ: Some(MountType::TMPFS),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        tmpfs_options: Some(MountTmpfsOptions { size_bytes, ..MountTmpfsOptions::default() }),
        ..DockerMount::default()
    }
}

/// Docker's API takes paths as text.
fn text<'a>(spec: &ContainerSpec, path: &'a Path) -> Result<&'a str, RuntimeError> {
    path.to_str().ok_or_else(|| RuntimeError::Unsupported {
        subject: format!("container {}", spec.name),
        why: format!("the path {} is not UTF-8, which Docker needs", path.display()),
    })
}

/// The name servers that containers can be told of, which takes the usual port, and can reach: their loopback
/// network is not the host's.
fn dns_servers(spec: &SandboxSpec) -> Vec<String> {
    let usable =
        |server: &&SocketAddr| server.port() == DNS_PORT && (spec.host_network || !server.ip().is_loopback());
    spec.dns_servers.iter().filter(usable).map(|server| server.ip().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use orchestra_core::model::Uid;
    use orchestra_core::runtime::{Mount, PortMapping};

    use super::*;

    const SANDBOX: Sandbox<'_> = Sandbox {
        docker_id: "abc",
        pod_name: "web-1",
        ip: None,
        cgroup_parent: None,
        volumes: BTreeMap::new(),
    };

    #[test]
    fn containers_share_the_namespaces_of_their_sandbox() {
        let spec = ContainerSpec::new("main", "web:1");
        let host = container(&spec, &SANDBOX, None, None, HashMap::new()).unwrap().host_config.unwrap();
        for mode in [host.network_mode, host.ipc_mode, host.pid_mode] {
            assert_eq!(mode.as_deref(), Some("container:abc"));
        }
    }

    #[test]
    fn volumes_in_memory_are_those_of_the_sandbox() {
        let mut spec = ContainerSpec::new("main", "web:1");
        spec.mounts.push(Mount::new("/mnt", MountSource::Memory { volume: "fast".to_owned() }));
        let refused = container(&spec, &SANDBOX, None, None, HashMap::new());
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        let volumes = BTreeMap::from([("fast".to_owned(), "orchestra.c.uid.fast".to_owned())]);
        let sandbox = Sandbox { volumes, ..SANDBOX };
        let host = container(&spec, &sandbox, None, None, HashMap::new()).unwrap().host_config.unwrap();
        assert_eq!(host.mounts.unwrap()[0].source.as_deref(), Some("orchestra.c.uid.fast"));
    }

    #[test]
    fn powers_are_given_and_taken() {
        let mut spec = ContainerSpec::new("main", "web:1");
        spec.capabilities.add.push("NET_ADMIN".to_owned());
        spec.capabilities.drop.push("ALL".to_owned());
        spec.no_new_privileges = true;
        let host = container(&spec, &SANDBOX, None, None, HashMap::new()).unwrap().host_config.unwrap();
        assert_eq!(host.cap_add, Some(vec!["NET_ADMIN".to_owned()]));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        spec.seccomp = Some(Seccomp::Unconfined);
        let host = container(&spec, &SANDBOX, None, None, HashMap::new()).unwrap().host_config.unwrap();
        assert_eq!(host.security_opt.unwrap()[1], "seccomp=unconfined");
    }

    #[test]
    fn limits_are_in_the_engines_units() {
        let mut spec = ContainerSpec::new("main", "web:1");
        spec.limits = ContainerLimits {
            cpu_milli: Some(1500),
            cpu_request_milli: Some(1),
            memory: Some(64 << 20),
            pids: Some(u64::MAX),
        };
        let host = container(&spec, &SANDBOX, None, None, HashMap::new()).unwrap().host_config.unwrap();
        assert_eq!((host.cpu_period, host.cpu_quota), (Some(100_000), Some(150_000)));
        assert_eq!((host.nano_cpus, host.cpu_shares), (None, Some(MIN_SHARES)));
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(host.pids_limit, Some(i64::MAX));
    }

    #[test]
    fn who_asks_for_no_cpu_comes_last() {
        let shares = |cpu_milli, cpu_request_milli| {
            let mut host = HostConfig::default();
            limit(&mut host, &ContainerLimits { cpu_milli, cpu_request_milli, ..ContainerLimits::default() });
            host.cpu_shares
        };
        assert_eq!(shares(None, None), Some(2));
        assert_eq!(shares(Some(500), None), Some(512));
        assert_eq!(shares(Some(300_000), None), Some(262_144));
        assert_eq!(shares(Some(500), Some(250)), Some(256));
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let mut spec = ContainerSpec::new("main", "web:1");
        for (name, value) in [("A", "1"), ("POD_NAME", "own"), ("A", "2=3")] {
            spec.env.push((name.to_owned(), value.to_owned()));
        }
        let env = container(&spec, &SANDBOX, None, None, HashMap::new()).unwrap().env;
        assert_eq!(env, Some(vec!["A=2=3".to_owned(), "POD_NAME=own".to_owned()]));
    }

    #[test]
    fn paths_with_colons_are_paths() {
        let mut spec = ContainerSpec::new("main", "web:1");
        spec.mounts.push(Mount::new("/in:rw", MountSource::Host("/out:/etc:ro".into())));
        let host = container(&spec, &SANDBOX, None, None, HashMap::new()).unwrap().host_config.unwrap();
        let mount = &host.mounts.unwrap()[0];
        assert_eq!(
            (mount.source.as_deref(), mount.target.as_deref()),
            (Some("/out:/etc:ro"), Some("/in:rw"))
        );
    }

    #[test]
    fn name_servers_are_told_of_where_containers_reach_them() {
        let mut spec = SandboxSpec::new("shop", "web-1", Uid::from("uid"));
        let servers = ["127.0.0.1:53", "198.18.0.1:5353", "198.18.0.1:53"];
        spec.dns_servers = servers.map(|server| server.parse().unwrap()).to_vec();
        spec.dns_search = vec!["svc.cluster.local".to_owned()];
        let dns = |spec: &SandboxSpec| {
            let host = sandbox(spec, "pause", "bridge", HashMap::new()).host_config.unwrap();
            (host.dns.unwrap(), host.dns_search.unwrap().len())
        };
        assert_eq!(dns(&spec), (vec!["198.18.0.1".to_owned()], 1));
        spec.dns_servers.pop();
        assert_eq!(dns(&spec), (vec![], 0));
        spec.host_network = true;
        assert_eq!(dns(&spec), (vec!["127.0.0.1".to_owned()], 1));
    }

    #[test]
    fn a_port_may_be_opened_twice_and_for_each_protocol() {
        let mut spec = SandboxSpec::new("shop", "web-1", Uid::from("uid"));
        for host_port in [80, 81] {
            let protocol = Protocol::Tcp;
            spec.ports.push(PortMapping { container_port: 8080, host_port, host_ip: None, protocol });
        }
        for protocol in [Protocol::Udp, Protocol::Sctp] {
            spec.ports.push(PortMapping { container_port: 8080, host_port: 80, host_ip: None, protocol });
        }
        let body = sandbox(&spec, "pause", "bridge", HashMap::new());
        let bindings = body.host_config.unwrap().port_bindings.unwrap();
        assert!(bindings.contains_key("8080/sctp") && bindings.contains_key("8080/udp"));
        assert_eq!(bindings["8080/tcp"].as_ref().unwrap().len(), 2);
        assert_eq!(body.hostname.as_deref(), Some("web-1"));
    }
}
