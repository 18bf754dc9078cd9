//! Volumes: storage that is there.

use serde::{Deserialize, Serialize};

use super::{AccessMode, ReclaimPolicy, VolumeMode, storage, validate_modes, validate_storage};
use super::{LOCAL_PROVISIONER, PersistentVolumeClaim, STORAGE};
use crate::model::HOSTNAME;
use crate::model::absent::is_default;
use crate::model::object::Rules;
use crate::model::{
    Extra, FieldErrors, HostPathVolume, Labels, NodeSelector, NodeSelectorOperator, NodeSelectorRequirement,
    NodeSelectorTerm, ObjectMeta, ObjectReference, Quantity, ResourceList, TypeMeta,
};
use crate::object;

/// Storage that outlives pods, and what can reach it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolume {
    /// `v1`, `PersistentVolume`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Its name, and labels for claims to choose by.
    pub metadata: ObjectMeta,
    /// What is desired.
    pub spec: PersistentVolumeSpec,
    /// What is observed.
    #[serde(skip_serializing_if = "is_default")]
    pub status: PersistentVolumeStatus,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(PersistentVolume, "", "v1", "persistentvolumes", namespaced: false, desired: [spec, extra], status: status);

/// What a [`PersistentVolume`] is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeSpec {
    /// How much it holds, as `storage` in bytes.
    pub capacity: ResourceList,
    /// How it may be mounted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<AccessMode>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<ObjectReference>,
    /// What becomes of it when its claim is gone; `Retain` unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_reclaim_policy: Option<ReclaimPolicy>,
    /// Its class; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub storage_class_name: String,
    /// What containers see.
    #[serde(skip_serializing_if = "is_default")]
    pub volume_mode: VolumeMode,
    /// Which nodes can reach it; all where this is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<VolumeNodeAffinity>,
    /// A path of the node that the pod is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolume>,
    /// A directory of certain nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalVolume>,
    /// What a driver knows of: [`LOCAL_PROVISIONER`] is the one that nodes serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi: Option<CsiVolume>,
    /// Fields not acted on: sources that aren't modelled are here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which nodes can reach a [`PersistentVolume`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeNodeAffinity {
    /// The nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<NodeSelector>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A directory of certain nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalVolume {
    /// Its absolute path. It must be there.
    pub path: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A volume that a driver knows of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiVolume {
    /// The driver.
    pub driver: String,
    /// What the driver calls it.
    pub volume_handle: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What is observed of a [`PersistentVolume`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolumeStatus {
    /// Where it is in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<VolumePhase>,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Why, in one CamelCase word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Where a [`PersistentVolume`] is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VolumePhase {
    /// Not looked at yet.
    Pending,
    /// Nobody's.
    Available,
    /// A claim's.
    Bound,
    /// Its claim is gone, and it waits for somebody to decide about what is in it.
    Released,
    /// Its claim is gone, and it could not be deleted.
    Failed,
}

impl PersistentVolume {
    /// Holds a volume while a claim has it: Kubernetes' own.
    pub const FINALIZER: &'static str = "kubernetes.io/pv-protection";
    /// Holds a directory of a node until what is in it is gone.
    pub const LOCAL_FINALIZER: &'static str = "orchestra.dev/local-volume";
    /// The annotation of directories of nodes: the node's name.
    pub const NODE: &'static str = "orchestra.dev/node";

    /// A volume of so much storage that is a directory of the node `host`.
    #[must_use]
    pub fn local(
        name: impl Into<String>,
        size: Quantity,
        host: impl Into<String>,
        path: impl Into<String>,
    ) -> Self {
        let mut volume = Self::of_size(name, size).on_host(HOSTNAME, host);
        volume.spec.local = Some(LocalVolume { path: path.into(), ..LocalVolume::default() });
        volume
    }

    /// A volume of so much storage that is a path of whichever node a pod is on.
    #[must_use]
    pub fn host_path(name: impl Into<String>, size: Quantity, path: impl Into<String>) -> Self {
        let mut volume = Self::of_size(name, size);
        volume.spec.host_path = Some(HostPathVolume { path: path.into(), ..HostPathVolume::default() });
        volume
    }

    fn of_size(name: impl Into<String>, size: Quantity) -> Self {
        let spec = PersistentVolumeSpec {
            capacity: ResourceList::from([(STORAGE.to_owned(), size)]),
            access_modes: vec![AccessMode::ReadWriteOnce],
            ..PersistentVolumeSpec::default()
        };
        Self { metadata: ObjectMeta::named(name), spec, ..Self::default() }
    }

    /// A new directory of the node `name` for `claim`, whose it is.
    pub(crate) fn provision(
        claim: &PersistentVolumeClaim,
        policy: Option<ReclaimPolicy>,
        name: &str,
        labels: &Labels,
    ) -> Self {
        let volume = format!("pvc-{}", claim.metadata.uid);
        let size = claim.spec.resources.requests.get(STORAGE).copied().unwrap_or(Quantity::ZERO);
        let mut made = Self::of_size(&volume, size);
        made = match labels.value(HOSTNAME) {
            Some(host) => made.on_host(HOSTNAME, host),
            None => made.within(NodeSelectorTerm {
                match_fields: vec![one_of("metadata.name", name)],
                ..NodeSelectorTerm::default()
            }),
        };
        let csi =
            CsiVolume { driver: LOCAL_PROVISIONER.to_owned(), volume_handle: volume, ..CsiVolume::default() };
        let spec = &mut made.spec;
        spec.csi = Some(csi);
        spec.access_modes.clone_from(&claim.spec.access_modes);
        spec.volume_mode = claim.spec.volume_mode;
        claim.class_name().clone_into(&mut spec.storage_class_name);
        spec.persistent_volume_reclaim_policy = Some(policy.unwrap_or(ReclaimPolicy::Delete));
        spec.claim_ref = Some(ObjectReference::to(claim));
        let meta = &mut made.metadata;
        meta.finalizers = vec![Self::FINALIZER.to_owned(), Self::LOCAL_FINALIZER.to_owned()];
        meta.annotations.insert(Self::NODE.to_owned(), name.to_owned());
        meta.annotations.insert("pv.kubernetes.io/provisioned-by".to_owned(), LOCAL_PROVISIONER.to_owned());
        made
    }

    fn on_host(self, label: &str, host: impl Into<String>) -> Self {
        self.within(NodeSelectorTerm {
            match_expressions: vec![one_of(label, host)],
            ..NodeSelectorTerm::default()
        })
    }

    fn within(mut self, term: NodeSelectorTerm) -> Self {
        let nodes = NodeSelector { node_selector_terms: vec![term], ..NodeSelector::default() };
        self.spec.node_affinity =
            Some(VolumeNodeAffinity { required: Some(nodes), ..VolumeNodeAffinity::default() });
        self
    }

    /// Puts it into a class.
    #[must_use]
    pub fn class(mut self, name: impl Into<String>) -> Self {
        self.spec.storage_class_name = name.into();
        self
    }

    /// Sets what becomes of it when its claim is gone.
    #[must_use]
    pub fn reclaim(mut self, policy: ReclaimPolicy) -> Self {
        self.spec.persistent_volume_reclaim_policy = Some(policy);
        self
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn size(&self) -> i64 {
        storage(&self.spec.capacity)
    }

    /// Whether the node called `name` with `labels` can reach it.
    #[must_use]
    pub fn reaches(&self, name: &str, labels: &Labels) -> bool {
        let required = self.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|nodes| nodes.matches(name, labels))
    }

    /// The host that alone can reach it, as its node's label names it, where there is just one.
    pub(crate) fn host(&self) -> Option<&str> {
        let nodes = self.spec.node_affinity.as_ref()?.required.as_ref()?;
        let [term] = nodes.node_selector_terms.as_slice() else { return None };
        let requirement = term.match_expressions.iter().find(|r| r.key == HOSTNAME)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (NodeSelectorOperator::In, [host]) => Some(host),
            _ => None,
        }
    }

    /// The name of the host of a node with `labels`.
    pub(crate) fn host_of(labels: &Labels) -> Option<&str> {
        labels.value(HOSTNAME)
    }

    /// Whether it is, or is kept for, the claim.
    #[must_use]
    pub fn is_of(&self, claim: &PersistentVolumeClaim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|of| {
            of.namespace == claim.metadata.namespace
                && of.name == claim.metadata.name
                && (of.uid.is_empty() || of.uid == claim.metadata.uid)
        })
    }

    /// Whether the claim could have it: it is nobody else's, and large enough, and all that.
    #[must_use]
    pub fn suits(&self, claim: &PersistentVolumeClaim) -> bool {
        let (spec, wanted) = (&self.spec, &claim.spec);
        !self.metadata.is_deleting()
            && (spec.claim_ref.is_none() || self.is_of(claim))
            && spec.storage_class_name == claim.class_name()
            && spec.volume_mode == wanted.volume_mode
            && self.size() >= claim.size()
            && wanted.access_modes.iter().all(|mode| spec.access_modes.contains(mode))
            && wanted.selector.as_ref().is_none_or(|selector| selector.matches(&self.metadata.labels))
    }

    /// The node whose directory it is, where it is one of [`LOCAL_PROVISIONER`].
    #[must_use]
    pub fn local_node(&self) -> Option<&str> {
        let csi = self.spec.csi.as_ref().filter(|csi| csi.driver == LOCAL_PROVISIONER);
        csi.and_then(|_| self.metadata.annotations.value(Self::NODE))
    }
}

fn one_of(key: &str, value: impl Into<String>) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: NodeSelectorOperator::In,
        values: vec![value.into()],
        extra: Extra::default(),
    }
}

impl Rules for PersistentVolume {
    fn validate(&self, errors: &mut FieldErrors) {
        let spec = &self.spec;
        errors.at("spec", |errors| {
            errors.at("capacity", |errors| validate_storage(&spec.capacity, errors));
            validate_modes(&spec.access_modes, errors);
            let recycles = spec.persistent_volume_reclaim_policy == Some(ReclaimPolicy::Recycle);
            let policy = |errors: &mut FieldErrors| errors.require(!recycles, "must be Retain or Delete");
            errors.at("persistentVolumeReclaimPolicy", policy);
            let modelled = [spec.host_path.is_some(), spec.local.is_some(), spec.csi.is_some()];
            let sources = modelled.into_iter().filter(|is| *is).count();
            let one = sources == 1 || (sources == 0 && !spec.extra.0.is_empty());
            errors.require(one, "must have exactly one source, such as hostPath or local");
            if let Some(local) = &spec.local {
                errors.at("local", |errors| validate_path(&local.path, errors));
                let placed = spec.node_affinity.as_ref().is_some_and(|affinity| affinity.required.is_some());
                errors.at("nodeAffinity", |errors| {
                    errors.require(placed, "is required with local: say which node has the directory");
                });
            }
            if let Some(host_path) = &spec.host_path {
                errors.at("hostPath", |errors| validate_path(&host_path.path, errors));
            }
            if let Some(csi) = &spec.csi {
                errors.at("csi", |errors| {
                    errors.at("driver", |errors| errors.require(!csi.driver.is_empty(), "is required"));
                    errors.at("volumeHandle", |e| e.require(!csi.volume_handle.is_empty(), "is required"));
                });
            }
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let (new, old) = (&self.spec, &old.spec);
        errors.at("spec", |errors| {
            let same = new.host_path == old.host_path && new.local == old.local && new.csi == old.csi;
            errors.require(same, "has another source now, which can't be changed: make a new volume");
            let reach = old.node_affinity.is_none() || new.node_affinity == old.node_affinity;
            errors.at("nodeAffinity", |errors| errors.require(reach, "can't be changed: make a new volume"));
        });
    }
}

fn validate_path(path: &str, errors: &mut FieldErrors) {
    errors.at("path", |errors| {
        errors.require(path.starts_with('/'), "must be absolute");
        errors.require(path.split('/').all(|part| part != ".."), "must not contain `..`");
    });
}
