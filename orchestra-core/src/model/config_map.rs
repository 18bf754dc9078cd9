//! Configuration for pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::meta_rules::record;
use super::names::check_data_key;
use super::object::Rules;
use super::{ByteString, Extra, FieldErrors, Labels, ObjectMeta, TypeMeta};
use crate::object;

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

object!(ConfigMap, "", "v1", "configmaps", namespaced: true, desired: [data, binary_data, immutable, extra]);

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

/// How large all entries of a ConfigMap or Secret may be together, in bytes: Kubernetes' limit.
const MAX_DATA_BYTES: usize = 1 << 20;

/// Checks the entries of a ConfigMap or Secret: the field, the key and the size of each.
pub(super) fn validate_entries<'a>(
    entries: impl Iterator<Item = (&'static str, &'a String, usize)>,
    errors: &mut FieldErrors,
) {
    let mut size = 0_usize;
    for (field, key, bytes) in entries {
        size = size.saturating_add(key.len()).saturating_add(bytes);
        errors.at(&format!("{field}[{key}]"), |errors| record(check_data_key(key), errors));
    }
    errors.require(size <= MAX_DATA_BYTES, "the entries must not take more than 1 MiB together");
}

/// The message about a change of what is immutable.
pub(super) const IMMUTABLE: &str = "can't be changed: the object is immutable; make a new one";

impl Rules for ConfigMap {
    fn validate(&self, errors: &mut FieldErrors) {
        let text = self.data.iter().map(|(k, v)| ("data", k, v.len()));
        let bytes = self.binary_data.iter().map(|(k, v)| ("binaryData", k, v.len()));
        validate_entries(text.chain(bytes), errors);
        for key in self.binary_data.keys().filter(|k| self.data.contains_key(*k)) {
            errors.at(&format!("binaryData[{key}]"), |errors| errors.push("is in data too"));
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        if old.immutable {
            errors.at("immutable", |errors| errors.require(self.immutable, "can't be taken back"));
            errors.at("data", |errors| errors.require(self.data == old.data, IMMUTABLE));
            errors.at("binaryData", |errors| errors.require(self.binary_data == old.binary_data, IMMUTABLE));
        }
    }
}
