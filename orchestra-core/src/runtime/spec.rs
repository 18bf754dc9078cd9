//! What a runtime is asked to run: everything resolved, nothing left to look up.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Capabilities, Labels, Protocol, Uid};

/// The sandbox of one pod. Its identity is (runtime's cluster, `pod_uid`, `attempt`).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// The pod's name.
    pub pod_name: Arc<str>,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's identity.
    pub pod_uid: Uid,
    /// Counts the sandboxes of one pod: a lost sandbox is replaced by the next attempt.
    pub attempt: u32,
    /// The pod's host name; the pod's name where empty.
    pub hostname: String,
    /// Labels to carry beside the runtime's own.
    pub labels: Labels,
    /// Ports to open on the host.
    pub ports: Vec<PortMapping>,
    /// Whether the pod lives in the host's network.
    pub host_network: bool,
    /// Name servers for the pod; the host's where empty. A runtime leaves out those that its pods can't be told of or
    /// can't reach.
    pub dns_servers: Vec<SocketAddr>,
    /// Search domains for the pod.
    pub dns_search: Vec<String>,
    /// `/etc/hosts` entries beside the pod's own.
    pub host_aliases: Vec<(IpAddr, String)>,
    /// How much memory and CPU the whole pod may use.
    pub limits: ContainerLimits,
    /// Directories in memory that its containers share. They are there as long as the sandbox is.
    pub memory_volumes: Vec<MemoryVolume>,
}

impl SandboxSpec {
    /// The sandbox of the pod `namespace/name` with the given identity, all else at its default.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, pod_uid: Uid) -> Self {
        Self { pod_name: name.into(), namespace: namespace.into(), pod_uid, ..Self::default() }
    }
}

/// A directory in memory, which all users may write to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryVolume {
    /// Its name in the pod.
    pub name: String,
    /// How many bytes it can hold; as many as the host gives where `None`.
    pub size: Option<u64>,
    /// The group that it and all that is made in it belong to; root's, and the group of who makes it, where `None`.
    pub group: Option<u32>,
}

/// A container port that is opened on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The port inside the pod.
    pub container_port: u16,
    /// The port on the host.
    pub host_port: u16,
    /// The host's address to open it on; all where `None`.
    pub host_ip: Option<IpAddr>,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// An image by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageSpec {
    /// The name as the manifest has it: `shop/web:1`, or what else the runtime understands.
    pub name: String,
}

impl<S: Into<String>> From<S> for ImageSpec {
    fn from(name: S) -> Self {
        Self { name: name.into() }
    }
}

impl fmt::Display for ImageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One run of a container. Its identity is (sandbox, `name`, `attempt`).
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ContainerSpec {
    /// The container's name in its pod.
    pub name: Arc<str>,
    /// Counts the runs of one container in its pod: the restart count.
    pub attempt: u32,
    /// The image.
    pub image: ImageSpec,
    /// Replaces the image's program; the image's where empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments; the image's where empty, unless `command` is given.
    pub args: Vec<String>,
    /// The environment, in order, everything resolved.
    pub env: Vec<(String, String)>,
    /// The working directory; the image's where `None`.
    pub working_dir: Option<PathBuf>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: ContainerLimits,
    /// Labels to carry beside the runtime's own.
    pub labels: Labels,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub stdin: bool,
    /// User and group to run as, where not the image's.
    pub run_as: Option<(u32, Option<u32>)>,
    /// Groups that its user is in, beside those of the image.
    pub supplemental_groups: Vec<u32>,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// Whether it may do what the host's root may.
    pub privileged: bool,
    /// Single powers of root, given and taken.
    pub capabilities: Capabilities,
    /// Whether no program in it may gain more than its parent has.
    pub no_new_privileges: bool,
    /// Which system calls its programs may make; what the runtime lets them where `None`.
    pub seccomp: Option<Seccomp>,
    /// Further settings a runtime may understand, by name.
    pub options: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// The first run of a container, all else at its default.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, image: impl Into<ImageSpec>) -> Self {
        Self { name: name.into(), image: image.into(), ..Self::default() }
    }
}

/// Leaves out the values of the environment: they may come from Secrets.
impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerSpec")
            .field("name", &self.name)
            .field("attempt", &self.attempt)
            .field("image", &self.image.name)
            .field("command", &self.command)
            .field("env", &self.env.iter().map(|(k, _)| k).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Which system calls a container's programs may make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seccomp {
    /// Those that the runtime allows.
    RuntimeDefault,
    /// All.
    Unconfined,
    /// Those of a file below the runtime's directory of profiles.
    Localhost(PathBuf),
}

/// A directory or file in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// Where it appears in the container: an absolute path.
    pub target: PathBuf,
    /// What appears there.
    pub source: MountSource,
    /// Whether it can't be written to.
    pub read_only: bool,
}

impl Mount {
    /// A writable mount of `source` at `target`.
    #[must_use]
    pub fn new(target: impl Into<PathBuf>, source: MountSource) -> Self {
        Self { target: target.into(), source, read_only: false }
    }
}

/// What is mounted. Volumes are prepared by the node agent, as directories on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountSource {
    /// A file or directory of the host.
    Host(PathBuf),
    /// One of the sandbox's directories in memory.
    Memory {
        /// Its name in the pod.
        volume: String,
    },
    /// Memory of this container's own, up to a number of bytes.
    Tmpfs {
        /// The limit in bytes; the host's default where `None`.
        size: Option<u64>,
    },
}

/// What a container or pod may use. `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerLimits {
    /// CPU time it can't exceed, in thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// Its share of the CPU under contention, in thousandths of a core; `cpu_milli` where `None`, and the least there is where that
    /// is, too.
    pub cpu_request_milli: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Number of processes.
    pub pids: Option<u64>,
}

/// How long `stop_container` waits by default before it kills: Kubernetes' 30 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);
