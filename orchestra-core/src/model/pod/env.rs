//! Environment variables of a container, and where their values come from.

use serde::{Deserialize, Serialize};

use crate::model::absent::is_default;
use crate::model::{Extra, Quantity};

/// One environment variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// Its value. `$(NAME)` stands for a variable defined before, `$$` for one `$`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where the value comes from instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where the value of a variable comes from: exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVarSource {
    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeySelector>,
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeySelector>,
    /// A field of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<ObjectFieldSelector>,
    /// A resource of a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_field_ref: Option<ResourceFieldSelector>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A key of a ConfigMap or Secret in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeySelector {
    /// The ConfigMap or Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
    /// Whether the pod starts without the variable where object or key is missing, instead of waiting for it.
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A field of the pod: `metadata.name`, `metadata.labels['app']`, `spec.nodeName`, `status.podIP`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectFieldSelector {
    /// The version the path is written in; empty for `v1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The path.
    pub field_path: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A resource of a container: `limits.cpu`, `requests.memory`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFieldSelector {
    /// The container; empty for the one with the variable. Needed in volumes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_name: String,
    /// `limits.` or `requests.` and the resource's name.
    pub resource: String,
    /// The unit to count in, rounded up; unless said otherwise, `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divisor: Option<Quantity>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// All keys of a ConfigMap or Secret as variables: exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFromSource {
    /// Put in front of each key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<EnvSourceRef>,
    /// The Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<EnvSourceRef>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A ConfigMap or Secret in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvSourceRef {
    /// Its name.
    pub name: String,
    /// Whether the pod starts where it is missing, instead of waiting for it.
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl EnvVar {
    /// A variable with a value.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), ..Self::default() }
    }

    /// A variable whose value is a field of the pod, such as `status.podIP`.
    #[must_use]
    pub fn field(name: impl Into<String>, path: impl Into<String>) -> Self {
        let field_ref = ObjectFieldSelector { field_path: path.into(), ..Default::default() };
        Self::from_source(name, EnvVarSource { field_ref: Some(field_ref), ..Default::default() })
    }

    /// A variable whose value is a key of a ConfigMap.
    #[must_use]
    pub fn config_map(
        name: impl Into<String>,
        config_map: impl Into<String>,
        key: impl Into<String>,
    ) -> Self {
        let key_ref = KeySelector { name: config_map.into(), key: key.into(), ..Default::default() };
        Self::from_source(name, EnvVarSource { config_map_key_ref: Some(key_ref), ..Default::default() })
    }

    /// A variable whose value is a key of a Secret.
    #[must_use]
    pub fn secret(name: impl Into<String>, secret: impl Into<String>, key: impl Into<String>) -> Self {
        let key_ref = KeySelector { name: secret.into(), key: key.into(), ..Default::default() };
        Self::from_source(name, EnvVarSource { secret_key_ref: Some(key_ref), ..Default::default() })
    }

    fn from_source(name: impl Into<String>, source: EnvVarSource) -> Self {
        Self { name: name.into(), value_from: Some(source), ..Self::default() }
    }
}
