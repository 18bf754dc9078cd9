//! Namespaces.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::meta_rules::record;
use super::names::check_label_key;
use super::object::Rules;
use super::{Condition, Extra, FieldErrors, ObjectMeta, TypeMeta};
use crate::object;

/// A room for names: objects in it are deleted with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// `v1`, `Namespace`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What is desired.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: NamespaceSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: NamespaceStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Namespace, "", "v1", "namespaces", namespaced: false, desired: [spec, extra], status: status);

/// What is desired of a [`Namespace`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSpec {
    /// Who must agree that nothing is left in the namespace before it disappears.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is observed of a [`Namespace`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceStatus {
    /// Whether objects may be created in it.
    #[serde(skip_serializing_if = "is_default")]
    pub phase: NamespacePhase,
    /// What holds it while it is being emptied: `NamespaceContentRemaining`, `NamespaceFinalizersRemaining`,
    /// `NamespaceDeletionContentFailure`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a [`Namespace`] is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NamespacePhase {
    /// In use.
    #[default]
    Active,
    /// Being emptied. Nothing can be created in it.
    Terminating,
}

impl Namespace {
    /// What holds a namespace until it is empty: Kubernetes' own.
    pub const FINALIZER: &'static str = "kubernetes";

    /// A namespace.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Has the namespace controller agree before it disappears, as every stored namespace has.
    pub(crate) fn hold(&mut self) {
        if !self.is_held() {
            self.spec.finalizers.push(Self::FINALIZER.to_owned());
        }
    }

    /// Whether the namespace controller has yet to agree.
    pub(crate) fn is_held(&self) -> bool {
        self.spec.finalizers.iter().any(|f| f == Self::FINALIZER)
    }

    /// Has the namespace controller agree.
    pub(crate) fn let_go(&mut self) {
        self.spec.finalizers.retain(|f| f != Self::FINALIZER);
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }
}

impl Rules for Namespace {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            errors.each("finalizers", &self.spec.finalizers, |errors, name| {
                record(check_label_key(name), errors)
            });
        });
    }
}
