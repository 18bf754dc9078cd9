//! Directories and files that a pod's containers share or are given.

use serde::{Deserialize, Serialize};

use super::env::{ObjectFieldSelector, ResourceFieldSelector};
use super::projected::ProjectedVolume;
use crate::model::absent::is_default;
use crate::model::{Extra, Quantity};

/// The permissions of a file that Kubernetes gives where nothing is said: 0644.
pub(crate) const DEFAULT_FILE_MODE: u32 = 0o644;

/// A volume of a pod: exactly one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// The name that mounts refer to: a DNS label.
    pub name: String,
    /// A fresh directory that lives as long as the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirVolume>,
    /// A path of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolume>,
    /// The keys of a ConfigMap as files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
    /// The keys of a Secret as files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolume>,
    /// Fields of the pod as files.
    #[serde(rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    pub downward_api: Option<DownwardApiVolume>,
    /// Several of the sources above in one directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projected: Option<ProjectedVolume>,
    /// Storage that outlives the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolume>,
    /// Fields not acted on: sources that aren't modelled are here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A fresh directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDirVolume {
    /// Empty for the node's disk, `Memory` for a file system in memory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub medium: String,
    /// How much may be in it. Of the node's disk it is not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl EmptyDirVolume {
    /// Whether it is a file system in memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.medium == "Memory"
    }
}

/// A path of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPathVolume {
    /// The absolute path.
    pub path: String,
    /// What must be there.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub type_: HostPathType,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What must be at a path of the node before it is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPathType {
    /// No check.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// A directory; made where nothing is.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file; made where nothing is.
    FileOrCreate,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// The keys of a ConfigMap as files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapVolume {
    /// The ConfigMap.
    pub name: String,
    /// Which keys, and as which files; empty for all, each as a file of its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
    /// Whether the pod starts where the ConfigMap is missing, instead of waiting for it.
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
    /// The permissions of the files, at most 0777; unless said otherwise 0644.
    #[serde(deserialize_with = "super::mode::read")]
    pub default_mode: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for ConfigMapVolume {
    fn default() -> Self {
        Self {
            name: String::new(),
            items: Vec::new(),
            optional: false,
            default_mode: DEFAULT_FILE_MODE,
            extra: Extra::default(),
        }
    }
}

/// The keys of a Secret as files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolume {
    /// The Secret.
    pub secret_name: String,
    /// Which keys, and as which files; empty for all, each as a file of its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
    /// Whether the pod starts where the Secret is missing, instead of waiting for it.
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
    /// The permissions of the files, at most 0777; unless said otherwise 0644.
    #[serde(deserialize_with = "super::mode::read")]
    pub default_mode: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for SecretVolume {
    fn default() -> Self {
        Self {
            secret_name: String::new(),
            items: Vec::new(),
            optional: false,
            default_mode: DEFAULT_FILE_MODE,
            extra: Extra::default(),
        }
    }
}

/// A key, and the file it becomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// The file's path, relative to the volume.
    pub path: String,
    /// The file's permissions, instead of the volume's.
    #[serde(default, deserialize_with = "super::mode::read_some", skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Storage that outlives the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeClaimVolume {
    /// The claim, in the pod's namespace.
    pub claim_name: String,
    /// Whether no container can write to it.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Fields of the pod as files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiVolume {
    /// The files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<DownwardApiFile>,
    /// The permissions of the files, at most 0777; unless said otherwise 0644.
    #[serde(deserialize_with = "super::mode::read")]
    pub default_mode: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for DownwardApiVolume {
    fn default() -> Self {
        Self { items: Vec::new(), default_mode: DEFAULT_FILE_MODE, extra: Extra::default() }
    }
}

/// A field of the pod, or a resource of a container, as a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiFile {
    /// The file's path, relative to the volume.
    pub path: String,
    /// The field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<ObjectFieldSelector>,
    /// The resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_field_ref: Option<ResourceFieldSelector>,
    /// The file's permissions, instead of the volume's.
    #[serde(default, deserialize_with = "super::mode::read_some", skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
