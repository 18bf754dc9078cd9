//! Several sources in one volume.

use serde::{Deserialize, Serialize};

use super::volume::{DEFAULT_FILE_MODE, DownwardApiFile, KeyToPath};
use crate::model::Extra;
use crate::model::absent::is_default;

/// Several sources in one directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectedVolume {
    /// The sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<VolumeProjection>,
    /// The permissions of the files, at most 0777; unless said otherwise 0644.
    #[serde(deserialize_with = "super::mode::read")]
    pub default_mode: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for ProjectedVolume {
    fn default() -> Self {
        Self { sources: Vec::new(), default_mode: DEFAULT_FILE_MODE, extra: Extra::default() }
    }
}

/// One source of a projected volume: exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeProjection {
    /// Keys of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeysProjection>,
    /// Keys of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeysProjection>,
    /// Fields of the pod.
    #[serde(rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    pub downward_api: Option<DownwardApiProjection>,
    /// Fields not acted on: sources that aren't modelled are here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Keys of a ConfigMap or Secret as files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeysProjection {
    /// The ConfigMap or Secret.
    pub name: String,
    /// Which keys, and as which files; empty for all, each as a file of its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
    /// Whether the pod starts where it is missing, instead of waiting for it.
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Fields of the pod as files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApiProjection {
    /// The files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<DownwardApiFile>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}
