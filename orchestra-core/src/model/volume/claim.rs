//! Claims: what pods of a namespace want of storage.

use serde::{Deserialize, Serialize};

use super::{AccessMode, VolumeMode, storage, validate_modes, validate_storage};
use crate::model::absent::is_default;
use crate::model::object::Rules;
use crate::model::{
    Condition, Extra, FieldErrors, LabelSelector, ObjectMeta, Quantity, ResourceList, TypeMeta,
};
use crate::object;

/// Asks for a volume that outlives the pods that use it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeClaim {
    /// `v1`, `PersistentVolumeClaim`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// The name that pods of the namespace use it by.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: PersistentVolumeClaimSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: PersistentVolumeClaimStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(PersistentVolumeClaim, "", "v1", "persistentvolumeclaims", namespaced: true, desired: [spec, extra], status: status);

/// What is desired by a [`PersistentVolumeClaim`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeClaimSpec {
    /// How the volume must be mountable: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<AccessMode>,
    /// Which volumes come into question, by their labels; none is made where this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// How large the volume must be at least.
    pub resources: VolumeResources,
    /// The volume. Empty until one was found, unless it is asked for by name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_name: String,
    /// The class; that of the cluster where there is none, empty for volumes without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// What containers see.
    #[serde(skip_serializing_if = "is_default")]
    pub volume_mode: VolumeMode,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How large a volume must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeResources {
    /// At least, as `storage` in bytes.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub requests: ResourceList,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is observed of a [`PersistentVolumeClaim`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeClaimStatus {
    /// Whether it has its volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClaimPhase>,
    /// How the volume may be mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<AccessMode>,
    /// How large the volume is.
    #[serde(skip_serializing_if = "ResourceList::is_empty")]
    pub capacity: ResourceList,
    /// What else is to be said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether a claim has its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClaimPhase {
    /// Not yet.
    Pending,
    /// It has.
    Bound,
    /// It had: the volume is gone.
    Lost,
}

impl PersistentVolumeClaim {
    /// Holds a claim while pods use it: Kubernetes' own.
    pub const FINALIZER: &'static str = "kubernetes.io/pvc-protection";

    /// A claim on so much storage, for one node at a time.
    #[must_use]
    pub fn new(name: impl Into<String>, size: Quantity) -> Self {
        let resources = VolumeResources {
            requests: ResourceList::from([(super::STORAGE.to_owned(), size)]),
            ..VolumeResources::default()
        };
        let spec = PersistentVolumeClaimSpec {
            access_modes: vec![AccessMode::ReadWriteOnce],
            resources,
            ..PersistentVolumeClaimSpec::default()
        };
        Self { metadata: ObjectMeta::named(name), spec, ..Self::default() }
    }

    /// Asks for a class; empty for volumes without one.
    #[must_use]
    pub fn class(mut self, name: impl Into<String>) -> Self {
        self.spec.storage_class_name = Some(name.into());
        self
    }

    /// Sets how the volume must be mountable.
    #[must_use]
    pub fn access_mode(mut self, mode: AccessMode) -> Self {
        self.spec.access_modes = vec![mode];
        self
    }

    /// The name of the class; empty for volumes without one.
    #[must_use]
    pub fn class_name(&self) -> &str {
        self.spec.storage_class_name.as_deref().unwrap_or_default()
    }

    /// How many bytes it asks for.
    #[must_use]
    pub fn size(&self) -> i64 {
        storage(&self.spec.resources.requests)
    }

    /// Whether only one pod of the cluster may use it.
    #[must_use]
    pub fn is_for_one_pod(&self) -> bool {
        self.spec.access_modes.contains(&AccessMode::ReadWriteOncePod)
    }
}

impl Rules for PersistentVolumeClaim {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            validate_modes(&self.spec.access_modes, errors);
            errors.at("resources", |errors| {
                errors.at("requests", |errors| validate_storage(&self.spec.resources.requests, errors));
            });
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            let mut check = |field, same: bool, message: &str| {
                errors.at(field, |errors| errors.require(same, message));
            };
            let fixed = "can't be changed: make a new claim";
            check("accessModes", self.spec.access_modes == old.spec.access_modes, fixed);
            check("selector", self.spec.selector == old.spec.selector, fixed);
            check("volumeMode", self.spec.volume_mode == old.spec.volume_mode, fixed);
            check(
                "resources",
                self.size() == old.size(),
                "volumes can't be made larger or smaller: make a new claim",
            );
            let named = old.spec.volume_name.is_empty() || self.spec.volume_name == old.spec.volume_name;
            check("volumeName", named, "is set already: make a new claim");
            let (new, class) = (&self.spec.storage_class_name, &old.spec.storage_class_name);
            check("storageClassName", class.is_none() || new == class, fixed);
        });
    }

    fn keep_allocated(&mut self, old: &Self) {
        if self.spec.volume_name.is_empty() {
            self.spec.volume_name.clone_from(&old.spec.volume_name);
        }
        if self.spec.storage_class_name.is_none() {
            self.spec.storage_class_name.clone_from(&old.spec.storage_class_name);
        }
    }
}
