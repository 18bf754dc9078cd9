//! Classes of volumes: who makes them, and when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LOCAL_PROVISIONER, ReclaimPolicy};
use crate::model::absent::is_default;
use crate::model::object::Rules;
use crate::model::{Extra, FieldErrors, Labels, ObjectMeta, TypeMeta};
use crate::object;

/// A kind of storage that claims ask for by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    /// `storage.k8s.io/v1`, `StorageClass`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// The name that claims ask for. The annotation `storageclass.kubernetes.io/is-default-class: "true"` makes it the
    /// class of claims that ask for none.
    pub metadata: ObjectMeta,
    /// Who makes its volumes: [`LOCAL_PROVISIONER`], or whoever in the cluster feels called by the name; Kubernetes'
    /// `kubernetes.io/no-provisioner` for volumes that are made by hand.
    pub provisioner: String,
    /// What the provisioner is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// What becomes of its volumes when their claims are gone; `Delete` unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,
    /// When a claim gets its volume.
    #[serde(skip_serializing_if = "is_default")]
    pub volume_binding_mode: VolumeBindingMode,
    /// On which nodes volumes are made: those that one of the terms matches; all where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_topologies: Vec<TopologySelectorTerm>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(StorageClass, "storage.k8s.io", "v1", "storageclasses", namespaced: false,
        desired: [provisioner, parameters, reclaim_policy, volume_binding_mode, allowed_topologies, extra]);

/// When a claim gets its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VolumeBindingMode {
    /// At once, wherever its pods will then have to go.
    #[default]
    Immediate,
    /// With the first pod that uses it, on a node that suits the pod.
    WaitForFirstConsumer,
}

/// Nodes that have all of these labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySelectorTerm {
    /// All of them must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_label_expressions: Vec<TopologySelectorLabelRequirement>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A label with one of some values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySelectorLabelRequirement {
    /// The label's key.
    pub key: String,
    /// The values that it may have.
    pub values: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl StorageClass {
    /// The annotation of the class of claims that ask for none.
    pub const DEFAULT: &'static str = "storageclass.kubernetes.io/is-default-class";

    /// A class whose volumes `provisioner` makes.
    #[must_use]
    pub fn new(name: impl Into<String>, provisioner: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), provisioner: provisioner.into(), ..Self::default() }
    }

    /// A class whose volumes are directories of the nodes that pods are placed on.
    #[must_use]
    pub fn local(name: impl Into<String>) -> Self {
        Self::new(name, LOCAL_PROVISIONER).wait_for_first_consumer()
    }

    /// Has claims wait for their first pod.
    #[must_use]
    pub fn wait_for_first_consumer(mut self) -> Self {
        self.volume_binding_mode = VolumeBindingMode::WaitForFirstConsumer;
        self
    }

    /// Makes it the class of claims that ask for none.
    #[must_use]
    pub fn default_class(mut self) -> Self {
        self.metadata.annotations.insert(Self::DEFAULT.to_owned(), "true".to_owned());
        self
    }

    /// Whether it is the class of claims that ask for none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.metadata.annotations.value(Self::DEFAULT) == Some("true")
    }

    /// Whether its claims wait for their first pod: where it says so, and where volumes are directories of a node, which
    /// can't be chosen before.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.volume_binding_mode == VolumeBindingMode::WaitForFirstConsumer || self.is_local()
    }

    /// Whether its volumes are directories of nodes.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.provisioner == LOCAL_PROVISIONER
    }

    /// Whether volumes may be made on nodes with these labels.
    #[must_use]
    pub fn allows(&self, labels: &Labels) -> bool {
        let holds = |r: &TopologySelectorLabelRequirement| {
            labels.value(&r.key).is_some_and(|value| r.values.iter().any(|v| v == value))
        };
        self.allowed_topologies.is_empty()
            || self.allowed_topologies.iter().any(|term| term.match_label_expressions.iter().all(holds))
    }
}

impl Rules for StorageClass {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("provisioner", |errors| errors.require(!self.provisioner.is_empty(), "is required"));
        let recycles = self.reclaim_policy == Some(ReclaimPolicy::Recycle);
        errors.at("reclaimPolicy", |errors| errors.require(!recycles, "must be Delete or Retain"));
        errors.each("allowedTopologies", &self.allowed_topologies, |errors, term| {
            errors.each("matchLabelExpressions", &term.match_label_expressions, |errors, label| {
                errors.at("key", |errors| errors.require(!label.key.is_empty(), "is required"));
                errors.at("values", |errors| errors.require(!label.values.is_empty(), "is required"));
            });
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let message = "can't be changed: make a new class";
        let mut check = |field, same: bool| errors.at(field, |errors| errors.require(same, message));
        check("provisioner", self.provisioner == old.provisioner);
        check("parameters", self.parameters == old.parameters);
        check("reclaimPolicy", self.reclaim_policy == old.reclaim_policy);
        check("volumeBindingMode", self.volume_binding_mode == old.volume_binding_mode);
    }
}
