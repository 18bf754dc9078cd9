//! Storage that outlives pods: volumes, claims on them, and classes of them.

mod claim;
mod class;
mod persistent;

use serde::{Deserialize, Serialize};

pub use claim::{
    ClaimPhase, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
    VolumeResources,
};
pub use class::{StorageClass, TopologySelectorLabelRequirement, TopologySelectorTerm, VolumeBindingMode};
pub use persistent::{
    CsiVolume, LocalVolume, PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus,
    VolumeNodeAffinity, VolumePhase,
};

use super::{FieldErrors, Quantity, ResourceList};

/// The resource that volumes have and claims ask for, in bytes.
const STORAGE: &str = "storage";

/// The provisioner that Orchestra has itself: a directory of the node that the first pod is placed on. It is the driver
/// of such volumes too.
pub const LOCAL_PROVISIONER: &str = "orchestra.dev/local";

/// How a volume may be mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessMode {
    /// By one node, to read and write.
    #[default]
    ReadWriteOnce,
    /// By many nodes, to read.
    ReadOnlyMany,
    /// By many nodes, to read and write.
    ReadWriteMany,
    /// By one pod in the whole cluster.
    ReadWriteOncePod,
}

/// What containers see of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VolumeMode {
    /// A directory.
    #[default]
    Filesystem,
    /// A device. No node serves it yet.
    Block,
}

/// What becomes of a volume when its claim is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReclaimPolicy {
    /// It stays, with what is in it, until somebody deletes it.
    Retain,
    /// It is deleted, with what is in it.
    Delete,
    /// Kubernetes' old way to empty a volume: refused.
    Recycle,
}

fn validate_modes(modes: &[AccessMode], errors: &mut FieldErrors) {
    errors.at("accessModes", |errors| {
        errors.require(!modes.is_empty(), "is required, such as [ReadWriteOnce]");
        let alone = !modes.contains(&AccessMode::ReadWriteOncePod) || modes.len() == 1;
        errors.require(alone, "ReadWriteOncePod can't be with others");
    });
}

/// Checks an amount of storage at the current path.
fn validate_storage(amounts: &ResourceList, errors: &mut FieldErrors) {
    errors.at(STORAGE, |errors| {
        let some = amounts.get(STORAGE).is_some_and(|q| !q.is_zero() && !q.is_negative());
        errors.require(some, "is required, and more than 0");
    });
}

/// How many bytes of storage are in a list.
fn storage(amounts: &ResourceList) -> i64 {
    amounts.get(STORAGE).map_or(0, |quantity: &Quantity| quantity.value())
}

#[cfg(test)]
mod tests;
