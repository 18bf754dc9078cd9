//! What every object has in common, as a typed trait and as a dynamic one.

use std::any::Any;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{FieldErrors, ObjectMeta, Unstructured};

/// Names a kind: its API group, version, kind and plural, and whether its objects live in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KindInfo {
    /// The API group; empty for Kubernetes' core group.
    pub group: Cow<'static, str>,
    /// The version in that group, such as `v1`.
    pub version: Cow<'static, str>,
    /// The kind, such as `Deployment`.
    pub kind: Cow<'static, str>,
    /// The plural that paths use, such as `deployments`.
    pub plural: Cow<'static, str>,
    /// Whether objects of this kind live in a namespace.
    pub namespaced: bool,
}

impl KindInfo {
    /// A kind known at compile time.
    #[must_use]
    pub const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            namespaced,
        }
    }

    /// The manifest's `apiVersion`: `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The kind without its version: what identifies an object whichever version it was written in.
    #[must_use]
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }
}

/// An API group and a kind in it. Displays as `Deployment.apps`, or `Pod` for the core group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GroupKind {
    /// The API group; empty for Kubernetes' core group.
    pub group: Cow<'static, str>,
    /// The kind, such as `Deployment`.
    pub kind: Cow<'static, str>,
}

impl Ord for GroupKind {
    /// By group, then kind. Mostly both sides are the same constant, which is seen without reading it: maps of all
    /// objects are ordered by this.
    fn cmp(&self, other: &Self) -> Ordering {
        let compare = |a: &str, b: &str| if std::ptr::eq(a, b) { Ordering::Equal } else { a.cmp(b) };
        compare(&self.group, &other.group).then_with(|| compare(&self.kind, &other.kind))
    }
}

impl PartialOrd for GroupKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl GroupKind {
    /// The group and kind of the typed object `T`.
    #[must_use]
    pub fn of<T: Resource>() -> Self {
        T::INFO.group_kind()
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}.{}", self.kind, self.group)
        }
    }
}

impl fmt::Debug for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where an object lives: kind, namespace (empty for cluster-scoped kinds) and name.
///
/// Ordered by kind, then namespace, then name. A clone copies no text.
/// Displays as `Pod shop/cart-1`, or `Node worker-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The object's group and kind.
    pub kind: GroupKind,
    /// The object's namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of the `T` called `name` in `namespace` (empty for cluster-scoped kinds).
    #[must_use]
    pub fn new<T: Resource>(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind: GroupKind::of::<T>(), namespace: namespace.into(), name: name.into() }
    }

    /// The key of `object`.
    #[must_use]
    pub fn of(object: &dyn Object) -> Self {
        let meta = object.meta();
        Self {
            kind: object.info().group_kind(),
            namespace: meta.namespace.as_str().into(),
            name: meta.name.as_str().into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Any object, whatever its kind: what stores, watches and the garbage collector handle.
///
/// Implemented by every modelled kind (through [`object!`](super::object!)) and by
/// [`Unstructured`](super::Unstructured) for all others. Code that knows the kind uses [`Resource`] and gets
/// from here to there with [`downcast`](AnyObjectExt::downcast).
pub trait Object: Any + fmt::Debug + Send + Sync {
    /// Which kind this is.
    fn info(&self) -> &KindInfo;
    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The object's metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// A deep copy behind a fresh `Arc`.
    fn clone_object(&self) -> AnyObject;
    /// The manifest as JSON, `apiVersion` and `kind` included.
    fn to_value(&self) -> Value;
    /// Appends the manifest as JSON text, the same as [`to_value`](Self::to_value).
    fn write_json(&self, out: &mut Vec<u8>);
    /// Takes over from `old`, the object as it is stored, what was allocated to it and the manifest leaves out, before
    /// the defaults are filled in. Does nothing where `old` is of another kind.
    fn keep_allocated(&mut self, old: &dyn Object);
    /// Fills in what the manifest left out.
    fn set_defaults(&mut self);
    /// Checks everything beyond the types: names, references, ranges. Metadata is checked by the caller.
    fn validate(&self, errors: &mut FieldErrors);
    /// Checks what may not change between `old` and this. Does nothing where `old` is of another kind.
    fn validate_update(&self, old: &dyn Object, errors: &mut FieldErrors);
    /// Says which modelled fields ask for what nothing does. See [`Rules`].
    fn without_effect(&self, fields: &mut FieldErrors);
    /// Whether all but metadata and status equals `other`: if not, the generation grows.
    fn same_desired(&self, other: &dyn Object) -> bool;
    /// Whether the kind has a status apart from what is desired.
    fn has_status(&self) -> bool;
    /// Whether the status equals that of `other`. True for kinds without one; false for another kind.
    fn same_status(&self, other: &dyn Object) -> bool;
    /// Replaces the status by that of `other`, an object of the same kind; nothing where there is none.
    fn copy_status(&mut self, other: &dyn Object);
    /// Empties the status: nothing has been observed yet.
    fn clear_status(&mut self);
}

/// An immutable object, shared by store, caches and watchers.
pub type AnyObject = Arc<dyn Object>;

/// From an object of any kind to one of a known kind.
pub trait AnyObjectExt {
    /// The object as a `T`, where it is one.
    fn downcast<T: Resource>(self) -> Option<Arc<T>>;
    /// A view of the object as a `T`, where it is one.
    fn as_resource<T: Resource>(&self) -> Option<&T>;
    /// A view of the object where it is of a kind that isn't modelled.
    fn as_unstructured(&self) -> Option<&Unstructured>;
}

impl AnyObjectExt for AnyObject {
    fn downcast<T: Resource>(self) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = self;
        any.downcast::<T>().ok()
    }

    fn as_resource<T: Resource>(&self) -> Option<&T> {
        let any: &dyn Any = &**self;
        any.downcast_ref::<T>()
    }

    fn as_unstructured(&self) -> Option<&Unstructured> {
        let any: &dyn Any = &**self;
        any.downcast_ref::<Unstructured>()
    }
}

/// A modelled kind: a struct whose serde form is the Kubernetes manifest of that kind. [`object!`](super::object!) makes
/// one of a struct, also of an application's own.
pub trait Resource: Object + Clone + PartialEq + Default + Serialize + DeserializeOwned {
    /// Which kind this is.
    const INFO: KindInfo;
}

/// What a modelled kind adds to its fields: defaults and checks. [`object!`](super::object!) builds [`Object`] on it; a
/// kind without any has an empty implementation.
///
/// # Contract
/// Pure, and the defaults are idempotent: the same object gives the same one, or the same errors. They are asked at
/// each write of what is desired, before anything is stored; where an error is recorded, nothing is.
pub trait Rules: Sized {
    /// Fills in what the manifest left out.
    fn set_defaults(&mut self) {}
    /// Takes over from `old` what was allocated to it and this leaves out.
    fn keep_allocated(&mut self, _old: &Self) {}
    /// Checks everything beyond the types and the metadata.
    fn validate(&self, _errors: &mut FieldErrors) {}
    /// Checks what may not change between `old` and this.
    fn validate_update(&self, _old: &Self, _errors: &mut FieldErrors) {}
    /// Says which modelled fields ask for what nothing does, for the warnings that come with a manifest.
    fn without_effect(&self, _fields: &mut FieldErrors) {}
}

/// Makes a kind of a struct: implements [`Object`] and [`Resource`] for it, on its [`Rules`].
///
/// The struct derives `Clone`, `Debug`, `Default`, `PartialEq` and serde's two traits; its serde form is the manifest,
/// so the keys of its maps are text. It has the fields `type_meta: TypeMeta<Self>` (flattened, first) and
/// `metadata: ObjectMeta`. The macro is given
/// - the type, whose name is the kind's, its API group, version and plural, and whether its objects live in a namespace;
/// - `desired`: the fields that say what shall be, all of them, `extra` too: a change of one makes the generation grow,
///   and a change of a field that is named nowhere is none;
/// - `status`, if there is one: the field that says what is. It is written apart, by `update_status` and its like.
///
/// A field `extra: Extra` (flattened, last) keeps what a manifest has beyond the others, and warns of it; without one
/// it is dropped.
///
/// # Example
/// A kind of an application's own; `ClusterBuilder::kind` of the crate `orchestra` shows one in a cluster, with rules.
///
/// ```
/// use orchestra_core::model::{Extra, ObjectMeta, Rules, Scheme, TypeMeta, object};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
/// #[serde(rename_all = "camelCase", default)]
/// struct Plan {
///     #[serde(flatten)]
///     type_meta: TypeMeta<Self>,
///     metadata: ObjectMeta,
///     price: u32,
///     #[serde(flatten)]
///     extra: Extra,
/// }
///
/// object!(Plan, "example.com", "v1", "plans", namespaced: false, desired: [price, extra]);
/// impl Rules for Plan {}
///
/// let mut scheme = Scheme::kubernetes();
/// scheme.register::<Plan>();
/// assert_eq!(scheme.find("plans").map(|info| info.api_version()), Some("example.com/v1".to_owned()));
/// ```
#[macro_export]
macro_rules! object {
    ($type:ident, $group:literal, $version:literal, $plural:literal, namespaced: $namespaced:literal,
     desired: [$($desired:ident),* $(,)?] $(, status: $status:ident)? $(,)?) => {
        impl $crate::model::Resource for $type {
            const INFO: $crate::model::KindInfo =
                $crate::model::KindInfo::new($group, $version, stringify!($type), $plural, $namespaced);
        }

        impl $crate::model::Object for $type {
            fn info(&self) -> &$crate::model::KindInfo {
                const INFO: &$crate::model::KindInfo = &<$type as $crate::model::Resource>::INFO;
                INFO
            }
            fn meta(&self) -> &$crate::model::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut $crate::model::ObjectMeta {
                &mut self.metadata
            }
            fn clone_object(&self) -> $crate::model::AnyObject {
                std::sync::Arc::new(self.clone())
            }
            fn to_value(&self) -> $crate::model::json::Value {
                $crate::model::json::value_of(self)
            }
            fn write_json(&self, out: &mut Vec<u8>) {
                $crate::model::json::write(self, out);
            }
            fn set_defaults(&mut self) {
                $crate::model::Rules::set_defaults(self);
            }
            fn keep_allocated(&mut self, old: &dyn $crate::model::Object) {
                if let Some(old) = (old as &dyn std::any::Any).downcast_ref::<$type>() {
                    $crate::model::Rules::keep_allocated(self, old);
                }
            }
            fn validate(&self, errors: &mut $crate::model::FieldErrors) {
                $crate::model::Rules::validate(self, errors);
            }
            fn validate_update(
                &self,
                old: &dyn $crate::model::Object,
                errors: &mut $crate::model::FieldErrors,
            ) {
                if let Some(old) = (old as &dyn std::any::Any).downcast_ref::<$type>() {
                    $crate::model::Rules::validate_update(self, old, errors);
                }
            }
            fn without_effect(&self, fields: &mut $crate::model::FieldErrors) {
                $crate::model::Rules::without_effect(self, fields);
            }
            fn same_desired(&self, other: &dyn $crate::model::Object) -> bool {
                (other as &dyn std::any::Any)
                    .downcast_ref::<$type>()
                    .is_some_and(|_other| true $(&& self.$desired == _other.$desired)*)
            }
            fn has_status(&self) -> bool {
                false $(|| { let _ = &self.$status; true })?
            }
            fn same_status(&self, other: &dyn $crate::model::Object) -> bool {
                (other as &dyn std::any::Any)
                    .downcast_ref::<$type>()
                    .is_some_and(|_other| true $(&& self.$status == _other.$status)?)
            }
            fn clear_status(&mut self) {
                $(self.$status = Default::default();)?
            }
            fn copy_status(&mut self, _other: &dyn $crate::model::Object) {
                $(if let Some(other) = (_other as &dyn std::any::Any).downcast_ref::<$type>() {
                    self.$status = other.$status.clone();
                })?
            }
        }
    };
}
