//! Privileges of pods and containers.

use serde::{Deserialize, Serialize};

use crate::model::{Extra, FieldErrors};

/// Privileges of a container. What isn't set is as the pod, the image or the runtime has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    /// The user id it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    /// The group id it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
    /// Whether it is refused where it would run as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// Whether it can't write to its image's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root_filesystem: Option<bool>,
    /// Whether it may all that root of the node may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Whether a program in it may gain more than its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_privilege_escalation: Option<bool>,
    /// Single powers of root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Which system calls its programs may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<SeccompProfile>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Powers of root to give and to take, such as `NET_ADMIN`; `ALL` for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// Given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which system calls a container's programs may make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompProfile {
    /// Where they are written down; it is required.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<SeccompProfileType>,
    /// With `Localhost` alone: the file, below the runtime's directory of profiles.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub localhost_profile: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where it is written down which system calls are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SeccompProfileType {
    /// In a file of the node.
    Localhost,
    /// In the runtime.
    RuntimeDefault,
    /// Nowhere: all are allowed.
    Unconfined,
}

impl SeccompProfile {
    pub(super) fn validate(&self, errors: &mut FieldErrors) {
        errors.at("type", |errors| {
            errors.require(self.type_.is_some(), "must be Localhost, RuntimeDefault or Unconfined");
        });
        let path = &self.localhost_profile;
        errors.at("localhostProfile", |errors| {
            if self.type_ == Some(SeccompProfileType::Localhost) {
                let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
                errors.require(!path.is_empty() && inside, "must be a path below the directory of profiles");
            } else {
                errors.require(path.is_empty(), "is for the type Localhost only");
            }
        });
    }
}

/// Privileges of all containers of a pod. What a container sets itself goes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    /// The user id they run as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    /// The group id they run as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
    /// Whether they are refused where they would run as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// The group that volumes belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group: Option<u32>,
    /// Which system calls their programs may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<SeccompProfile>,
    /// Further groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supplemental_groups: Vec<u32>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
