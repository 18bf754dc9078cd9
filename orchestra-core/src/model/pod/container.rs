//! One container of a pod.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::action::Lifecycle;
use super::env::{EnvFromSource, EnvVar};
use super::probe::Probe;
use super::security::SecurityContext;
use super::spec::RestartPolicy;
use crate::model::absent::is_default;
use crate::model::{Extra, ResourceList};

/// One container of a pod: what runs, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// The name, unique in the pod: a DNS label.
    pub name: String,
    /// The image to run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// When to pull the image; unless said otherwise, always for the tag `latest`, else where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// The program and its first arguments, instead of the image's entry point. `$(NAME)` stands for a variable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The arguments, instead of the image's. `$(NAME)` stands for a variable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The directory it starts in; empty for the image's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Ports it listens on. A port that isn't listed is reachable too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// Whole ConfigMaps and Secrets as environment variables. `env` goes before them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// Environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// What it needs, and what it may use at most.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: ResourceRequirements,
    /// Volumes of the pod that it sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Whether it still works; restarted when it doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Whether it can serve; taken out of traffic while it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// Whether it has started; the other probes wait for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// What to do after its start and before its stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// On an init container, `Always` makes it a sidecar; not set on others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Privileges; before those of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// Where it may leave a last message, a path in the container; empty for `/dev/termination-log`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub termination_message_path: String,
    /// What becomes the message when it leaves none.
    #[serde(skip_serializing_if = "is_default")]
    pub termination_message_policy: TerminationMessagePolicy,
    /// Whether its standard input stays open.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: bool,
    /// Whether its standard input closes after the first client that attached.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin_once: bool,
    /// Whether it gets a terminal. Needs `stdin`.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Container {
    /// Whether this, an init container, goes on running beside the others.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }

    /// The port called `name`.
    #[must_use]
    pub fn port_named(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|p| p.name == name).map(|p| p.container_port)
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    /// Before each start.
    Always,
    /// Where it is missing.
    #[default]
    IfNotPresent,
    /// Not at all: the start fails where it is missing.
    Never,
}

/// What becomes a container's last message when it leaves none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TerminationMessagePolicy {
    /// Nothing.
    #[default]
    File,
    /// After a failure, the end of its log.
    FallbackToLogsOnError,
}

/// A port that a container listens on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// The name that probes and Services use; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port in the pod: 1 to 65535.
    pub container_port: u16,
    /// The port on the node that leads to it; zero for none.
    #[serde(skip_serializing_if = "is_default")]
    pub host_port: u16,
    /// The node's address for `host_port`; unless said otherwise, all of them.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// What a container needs, and what it may use at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRequirements {
    /// Set aside for it on its node. Unless said otherwise, its limit.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub requests: ResourceList,
    /// More than this it doesn't get.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub limits: ResourceList,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A volume of the pod as a directory or file of the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The volume's name in the pod.
    pub name: String,
    /// Where in the container.
    pub mount_path: String,
    /// What of the volume; empty for all of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_path: String,
    /// What of the volume, with `$(NAME)` for variables; not together with `sub_path`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_path_expr: String,
    /// Whether the container can't write there.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
