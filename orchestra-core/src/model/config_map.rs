//! Configuration for pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::{Rules, object};
use super::{ByteString, Extra, FieldErrors, Labels, ObjectMeta, TypeMeta};

/// Configuration that pods take as environment or as files.
///
/// ```
/// # use orchestra_core::model::ConfigMap;
/// let map = ConfigMap::new("settings").entry("colour", "blue");
/// assert_eq!(map.data.value("colour"), Some("blue"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// `v1`, `ConfigMap`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// The entries that are text.
    #[serde(skip_serializing_if = "is_default")]
    pub data: Labels,
    /// The entries that are not. No key may be in both.
    #[serde(skip_serializing_if = "is_default")]
    pub binary_data: BTreeMap<String, ByteString>,
    /// Whether the entries may not change any more. Can't be taken back.
    #[serde(skip_serializing_if = "is_default")]
    pub immutable: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(ConfigMap, "", "v1", "configmaps", namespaced: true, desired: [data, binary_data, immutable]);

impl ConfigMap {
    /// An empty one.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.data.insert(key.into(), value.into());
        self
    }
}

impl Rules for ConfigMap {
    fn validate(&self, _errors: &mut FieldErrors) {}
}
