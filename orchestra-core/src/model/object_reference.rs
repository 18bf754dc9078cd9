//! Pointing at an object from another.

use serde::{Deserialize, Serialize};

use super::{Extra, Object, Uid};

/// Points at an object, or at a field in one. What is empty is not said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// The object's `apiVersion`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The object's kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's identity.
    #[serde(skip_serializing_if = "Uid::is_empty")]
    pub uid: Uid,
    /// The revision of the object that is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// The field in the object: `spec.containers{web}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ObjectReference {
    /// A reference to `object`, whichever its revision.
    #[must_use]
    pub fn to(object: &dyn Object) -> Self {
        let (info, meta) = (object.info(), object.meta());
        Self {
            api_version: info.api_version(),
            kind: info.kind.to_string(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ..Self::default()
        }
    }
}
