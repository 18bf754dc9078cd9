//! What is kept on disk about sandboxes and containers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use orchestra_core::model::{Protocol, Timestamp};
use orchestra_core::runtime::ContainerLimits;
use serde::{Deserialize, Serialize};

/// One line of the journal. Names are short: they are on disk once for each pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "camelCase")]
pub(crate) enum Record {
    /// The runtime was opened: whose state this is, and in which run of the host's kernel.
    Opened { instance: String, boot: String },
    /// A sandbox was created.
    Sandbox(Arc<SandboxRecord>),
    /// A sandbox was stopped; its address rests from then on.
    SandboxStopped { id: Arc<str>, at: Timestamp },
    /// A sandbox is gone, with all its containers.
    SandboxRemoved { id: Arc<str> },
    /// A container was created.
    Container(Arc<ContainerRecord>),
    /// A container's process was started.
    Started(Started),
    /// A container's process has ended.
    Ended { id: Arc<str>, end: End },
    /// A container is gone.
    ContainerRemoved { id: Arc<str> },
    /// An address must not be used before this time.
    Resting { ip: Ipv4Addr, until: Timestamp },
}

/// A sandbox as it was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) pod: Arc<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) hostname: String,
    /// The pod's address; 127.0.0.1 where it lives in the host's network.
    pub(crate) ip: Ipv4Addr,
    pub(crate) host_network: bool,
    pub(crate) ports: Vec<PortRecord>,
    pub(crate) limits: Limits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_servers: Vec<SocketAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_search: Vec<String>,
    pub(crate) at: Timestamp,
}

/// A port of the pod that is opened on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortRecord {
    pub(crate) container: u16,
    pub(crate) host: u16,
    pub(crate) ip: Option<std::net::IpAddr>,
    pub(crate) protocol: Protocol,
}

/// A container as it was asked for, with everything resolved that its start needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: Arc<str>,
    pub(crate) sandbox: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) attempt: u32,
    /// Which of the slots is its own.
    pub(crate) slot: u32,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) at: Timestamp,
    pub(crate) launch: Launch,
}

/// How a container's process is started.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The program, as a path.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    pub(crate) stdin: bool,
    pub(crate) user: Option<(u32, Option<u32>)>,
    /// Further groups that it is in: none where this process may not give any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<u32>,
    pub(crate) stop_signal: i32,
    pub(crate) limits: Limits,
}

/// Leaves out arguments and environment: they may hold secrets.
impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// [`ContainerLimits`] in a form for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) cpu_milli: Option<u64>,
    pub(crate) cpu_request_milli: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) pids: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited, so that no cgroup is needed.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&ContainerLimits> for Limits {
    fn from(limits: &ContainerLimits) -> Self {
        Self {
            cpu_milli: limits.cpu_milli,
            cpu_request_milli: limits.cpu_request_milli,
            memory: limits.memory,
            pids: limits.pids,
        }
    }
}

/// The process of a container: pid and start identify it within one run of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) id: Arc<str>,
    pub(crate) pid: i32,
    pub(crate) ticks: u64,
    pub(crate) at: Timestamp,
}

/// How a container's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "camelCase")]
pub(crate) enum End {
    /// It was seen to end.
    Exited {
        code: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        #[serde(default)]
        oom: bool,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// It ended while nobody looked: how is not known.
    Unknown,
}
