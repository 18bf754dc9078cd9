//! What a runtime says of what it runs.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::ImageSpec;
use crate::model::{Timestamp, Uid};

/// Names a sandbox inside its runtime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxId(pub Arc<str>);

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one run of a container inside its runtime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub Arc<str>);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a runtime is, and what its host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeInfo {
    /// The runtime's name, such as `process`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The host's CPUs, in thousandths of a core.
    pub cpu_milli: u64,
    /// The host's memory in bytes.
    pub memory: u64,
    /// The host's operating system, as `linux`.
    pub os: String,
    /// The host's architecture, as `amd64`.
    pub architecture: String,
    /// The host's kernel.
    pub kernel: String,
    /// Free space for what containers write, in bytes; 0 where it is not known.
    pub storage: u64,
    /// How many starts at once its host gains by: what is more waits its turn, so that none takes too long. 0: no bound.
    pub starts: usize,
    /// What it takes no notice of where a spec asks for it. The node agent tells people, for each container that does.
    pub ignores: BTreeSet<Feature>,
}

/// Something that a container may ask for and not every runtime can do. Displays as the manifest's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// A root file system that can't be written to.
    ReadOnlyRoot,
    /// Mounts that can't be written to.
    ReadOnlyMounts,
    /// All that the host's root may.
    Privileged,
    /// Single powers of root, given or taken.
    Capabilities,
    /// That no program in it gains more than its parent has.
    NoNewPrivileges,
    /// That it makes certain system calls only.
    Seccomp,
    /// A bound on CPU time.
    CpuLimit,
    /// A bound on memory.
    MemoryLimit,
    /// A bound on CPU time and memory of all containers of a pod together.
    PodLimits,
    /// Volumes in memory. The node agent makes them directories of its disk then.
    MemoryVolumes,
    /// Volumes that belong to a group, which the containers are in.
    FsGroup,
    /// Further groups of a container's user.
    SupplementalGroups,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnlyRoot => "securityContext.readOnlyRootFilesystem",
            Self::ReadOnlyMounts => "volumeMounts.readOnly",
            Self::Privileged => "securityContext.privileged",
            Self::Capabilities => "securityContext.capabilities",
            Self::NoNewPrivileges => "securityContext.allowPrivilegeEscalation",
            Self::Seccomp => "securityContext.seccompProfile",
            Self::CpuLimit => "resources.limits.cpu",
            Self::MemoryLimit => "resources.limits.memory",
            Self::PodLimits => "resources.limits of the pod",
            Self::MemoryVolumes => "emptyDir.medium",
            Self::FsGroup => "securityContext.fsGroup",
            Self::SupplementalGroups => "securityContext.supplementalGroups",
        })
    }
}

/// An image that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageInfo {
    /// Identifies its content.
    pub id: String,
    /// Its names.
    pub names: Vec<ImageSpec>,
    /// Its size in bytes.
    pub size: u64,
    /// The user that its program runs as where the container says nothing else; `None` where that is not known.
    pub user: Option<u32>,
}

impl ImageInfo {
    /// An image of one name.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<ImageSpec>, size: u64) -> Self {
        Self { id: id.into(), names: vec![name.into()], size, user: None }
    }
}

/// Whether a sandbox can hold running containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SandboxState {
    /// It holds its address.
    Ready,
    /// It was stopped, or lost (its host restarted, somebody removed it).
    NotReady,
}

/// A sandbox and its containers, as they are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SandboxStatus {
    /// The sandbox.
    pub id: SandboxId,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's name.
    pub pod_name: Arc<str>,
    /// The pod's identity.
    pub pod_uid: Uid,
    /// Which sandbox of the pod this is.
    pub attempt: u32,
    /// Whether it stands.
    pub state: SandboxState,
    /// The pod's address, where the sandbox is ready.
    pub ip: Option<IpAddr>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its containers, all attempts that were not removed, ordered by name and attempt.
    pub containers: Vec<ContainerStatus>,
}

impl SandboxStatus {
    /// A ready sandbox without containers.
    #[must_use]
    pub fn new(id: SandboxId, namespace: Arc<str>, pod_name: Arc<str>, pod_uid: Uid, attempt: u32) -> Self {
        Self {
            id,
            namespace,
            pod_name,
            pod_uid,
            attempt,
            state: SandboxState::Ready,
            ip: None,
            created_at: Timestamp::EPOCH,
            containers: Vec::new(),
        }
    }
}

/// Where one run of a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Its process runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Its process has ended.
    Exited {
        /// The exit code; 128 + signal where a signal ended it.
        exit_code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Whether it was killed for using too much memory.
        oom_killed: bool,
        /// When it had started, where known.
        started_at: Option<Timestamp>,
        /// When it ended.
        finished_at: Timestamp,
        /// What it left to say (its termination message), at most 4 KiB.
        message: String,
    },
    /// The runtime can't tell: its host restarted, say. Treated as ended with an unknown code.
    Unknown,
}

impl ContainerState {
    /// Whether its process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether its process has ended, as far as is known.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Unknown)
    }
}

/// One run of a container, as it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ContainerStatus {
    /// The container.
    pub id: ContainerId,
    /// Its name in the pod.
    pub name: Arc<str>,
    /// Which run this is.
    pub attempt: u32,
    /// The image it was made from.
    pub image: ImageSpec,
    /// Identifies the image's content.
    pub image_id: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: Timestamp,
}

impl ContainerStatus {
    /// A container that was created and not started.
    #[must_use]
    pub fn new(id: ContainerId, name: Arc<str>, attempt: u32, image: ImageSpec) -> Self {
        Self {
            id,
            name,
            attempt,
            image_id: image.name.clone(),
            image,
            state: ContainerState::Created,
            created_at: Timestamp::EPOCH,
        }
    }
}

/// What a container used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerStats {
    /// The container.
    pub id: ContainerId,
    /// Its name in the pod.
    pub name: Arc<str>,
    /// Its pod.
    pub pod_uid: Uid,
    /// CPU time since its start, in nanoseconds. Grows only.
    pub cpu_nanos: u64,
    /// Memory it holds now, in bytes, without what the host can take back.
    pub memory: u64,
    /// Processes in it.
    pub pids: u64,
    /// When this was read.
    pub at: Timestamp,
}

impl ContainerStats {
    /// Nothing used yet.
    #[must_use]
    pub fn new(id: ContainerId, name: Arc<str>, pod_uid: Uid, at: Timestamp) -> Self {
        Self { id, name, pod_uid, cpu_nanos: 0, memory: 0, pids: 0, at }
    }
}

/// Something happened; [`Runtime::sandbox`](super::Runtime::sandbox) says how things are now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeEvent {
    /// A container or the sandbox of this pod changed: started, exited, was removed.
    PodChanged {
        /// The pod.
        pod_uid: Uid,
        /// Its sandbox.
        sandbox: SandboxId,
    },
    /// A container of this pod was started, or has ended, where the runtime says no more than that: who has caused it, and
    /// reads how things are afterwards, need not read them again.
    ContainerChanged {
        /// The pod.
        pod_uid: Uid,
        /// Its sandbox.
        sandbox: SandboxId,
        /// The container's name.
        container: Arc<str>,
        /// Whether it was started.
        runs: bool,
    },
    /// Events may have been lost: list and compare.
    Lost,
}
