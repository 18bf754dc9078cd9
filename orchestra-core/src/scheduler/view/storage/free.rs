//! Volumes that claims can take: the smallest first, by where they can be reached.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{PersistentVolume, PersistentVolumeClaim};

/// Volumes by size in bytes, then by name.
type BySize = BTreeSet<(i64, String)>;

/// Volumes that no claim has.
#[derive(Debug, Default)]
pub(super) struct Free {
    classes: BTreeMap<String, Class>,
    /// Those that are kept for a claim which has not taken them yet, by its namespace and name.
    kept: BTreeMap<(String, String), BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Class {
    /// Of one host each.
    by_host: BTreeMap<String, BySize>,
    /// Of many hosts, or of others than the label of hosts tells.
    others: BySize,
}

impl Free {
    /// Takes a volume in, unless a claim has it.
    pub(super) fn add(&mut self, volume: &PersistentVolume) {
        match place(volume) {
            Place::Class(name) => {
                let class = self.classes.entry(name.to_owned()).or_default();
                class.at(volume.host()).insert(key(volume));
            }
            Place::Kept(claim) => {
                self.kept.entry(claim).or_default().insert(volume.metadata.name.clone());
            }
            Place::Nowhere => {}
        }
    }

    /// Takes a volume out.
    pub(super) fn remove(&mut self, volume: &PersistentVolume) {
        match place(volume) {
            Place::Class(name) => {
                let Some(class) = self.classes.get_mut(name) else { return };
                class.at(volume.host()).remove(&key(volume));
                class.by_host.retain(|_, volumes| !volumes.is_empty());
                if class.by_host.is_empty() && class.others.is_empty() {
                    self.classes.remove(name);
                }
            }
            Place::Kept(claim) => {
                if let Some(volumes) = self.kept.get_mut(&claim) {
                    volumes.remove(&volume.metadata.name);
                    if volumes.is_empty() {
                        self.kept.remove(&claim);
                    }
                }
            }
            Place::Nowhere => {}
        }
    }

    /// The names of those of a class that a host may reach, the smallest first of either kind. None is kept for anybody.
    pub(super) fn of(&self, class: &str, host: Option<&str>) -> impl Iterator<Item = &str> {
        let class = self.classes.get(class);
        let here = class.zip(host).and_then(|(class, host)| class.by_host.get(host));
        let others = class.map(|class| &class.others);
        here.into_iter().chain(others).flatten().map(|(_, name)| name.as_str())
    }

    /// The names of those that are kept for a claim.
    pub(super) fn kept_for(&self, claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
        let meta = &claim.metadata;
        // Most clusters keep none: then there is no key to be made.
        let kept = (!self.kept.is_empty()).then(|| (meta.namespace.clone(), meta.name.clone()));
        kept.and_then(|key| self.kept.get(&key)).into_iter().flatten().map(String::as_str)
    }
}

/// Where a volume belongs.
enum Place<'v> {
    /// Among those of a class.
    Class(&'v str),
    /// It is kept for the claim of this namespace and name.
    Kept((String, String)),
    /// A claim has it.
    Nowhere,
}

fn place(volume: &PersistentVolume) -> Place<'_> {
    match &volume.spec.claim_ref {
        None => Place::Class(&volume.spec.storage_class_name),
        Some(of) if of.uid.is_empty() => Place::Kept((of.namespace.clone(), of.name.clone())),
        Some(_) => Place::Nowhere,
    }
}

impl Class {
    fn at(&mut self, host: Option<&str>) -> &mut BySize {
        match host {
            Some(host) => self.by_host.entry(host.to_owned()).or_default(),
            None => &mut self.others,
        }
    }
}

fn key(volume: &PersistentVolume) -> (i64, String) {
    (volume.size(), volume.metadata.name.clone())
}
