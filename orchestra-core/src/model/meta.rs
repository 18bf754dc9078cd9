//! Metadata: what every object carries beside its own fields.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::unmodelled::MarkedKey;
use super::{Labels, Resource, Timestamp};

/// A position in the store's one global sequence of commits. Zero is before the first.
///
/// Serialises as text, as Kubernetes' `resourceVersion` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first commit. In an object's metadata: not stored yet.
    pub const ZERO: Self = Self(0);

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let s = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        if s.is_empty() {
            return Ok(Self::ZERO);
        }
        s.parse()
            .map(Self)
            .map_err(|_e| de::Error::custom(format!("`{s}` is not a resourceVersion of this store")))
    }
}

/// An object's identity: unique over all objects that ever were, also of the same name. Empty before creation.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub std::sync::Arc<str>);

impl Uid {
    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no identity has been given yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<std::sync::Arc<str>>> From<S> for Uid {
    fn from(s: S) -> Self {
        Self(s.into())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Manifest fields that Orchestra does not act on: kept, given back unchanged, and reported as warnings.
///
/// Every struct of the model ends with one, flattened.
#[derive(Clone, Debug, Default, PartialEq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Extra(pub BTreeMap<String, Value>);

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The keys are marked so that the scheme can list them: see `unmodelled`.
        serializer.collect_map(self.0.iter().map(|(key, value)| (MarkedKey(key), value)))
    }
}

/// The `apiVersion` and `kind` of a manifest, fixed by the type. Takes no memory.
///
/// Reading a manifest of another kind or version is refused.
pub struct TypeMeta<T>(PhantomData<fn() -> T>);

impl<T> Clone for TypeMeta<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for TypeMeta<T> {}
impl<T> Default for TypeMeta<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<T> PartialEq for TypeMeta<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> fmt::Debug for TypeMeta<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeMeta")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMetaForm {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

impl<T: Resource> Serialize for TypeMeta<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TypeMetaForm { api_version: T::INFO.api_version(), kind: T::INFO.kind.to_string() }
            .serialize(serializer)
    }
}

impl<'de, T: Resource> Deserialize<'de> for TypeMeta<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = TypeMetaForm::deserialize(deserializer)?;
        let (version, kind) = (T::INFO.api_version(), &T::INFO.kind);
        if form.kind != *kind || form.api_version != version {
            return Err(de::Error::custom(format!(
                "expected apiVersion {version} and kind {kind}, found apiVersion `{}` and kind `{}`",
                form.api_version, form.kind
            )));
        }
        Ok(Self::default())
    }
}

/// Metadata of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// The name, unique among the objects of its kind in its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where `name` is empty, the store makes one of this prefix and five random characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// The namespace; empty for cluster-scoped kinds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's identity, given at creation.
    #[serde(skip_serializing_if = "Uid::is_empty")]
    pub uid: Uid,
    /// The revision of the last commit to the object. In an update: the revision it is based on.
    #[serde(skip_serializing_if = "Revision::is_zero")]
    pub resource_version: Revision,
    /// Grows with each change of what is desired; not with status or metadata.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// When the object was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// When the object is to be gone: set by the first delete, never taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// How long the object may take to end after it was deleted, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<u64>,
    /// What selectors choose by.
    #[serde(skip_serializing_if = "is_empty")]
    pub labels: Labels,
    /// Free text for people and tools.
    #[serde(skip_serializing_if = "is_empty")]
    pub annotations: Labels,
    /// Whose part this object is. When all owners are gone it is deleted too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Who must agree before a deleted object disappears.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_empty(labels: &Labels) -> bool {
    labels.is_empty()
}

impl ObjectMeta {
    /// Metadata with a name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The owner that manages this object, where there is one.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller)
    }

    /// Whether the object was deleted and is only waiting to disappear.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whether `finalizer` holds the object.
    pub(crate) fn is_held_by(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|name| name == finalizer)
    }
}

/// Points from a part to its owner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's `apiVersion`.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name, in the namespace of the part or cluster-scoped.
    pub name: String,
    /// The owner's identity: an object of the same name with another uid is not the owner.
    pub uid: Uid,
    /// Whether this owner manages the part. At most one does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub block_owner_deletion: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl OwnerReference {
    /// A reference to `owner` as the one that manages the part.
    #[must_use]
    pub fn controller_of<T: Resource>(owner: &T) -> Self {
        let meta = owner.meta();
        Self {
            api_version: T::INFO.api_version(),
            kind: T::INFO.kind.to_string(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            controller: true,
            block_owner_deletion: true,
            extra: Extra::default(),
        }
    }
}
