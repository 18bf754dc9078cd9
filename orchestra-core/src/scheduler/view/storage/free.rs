//! Volumes that claims can take: the smallest first, by where they can be reached.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::PersistentVolume;

/// Volumes by size in bytes, then by name.
type BySize = BTreeSet<(i64, String)>;

/// Volumes that no claim has.
#[derive(Debug, Default)]
pub(super) struct Free(BTreeMap<String, Class>);

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
        if is_free(volume) {
            let class = self.0.entry(volume.spec.storage_class_name.clone()).or_default();
            class.at(volume.host()).insert(key(volume));
        }
    }

    /// Takes a volume out.
    pub(super) fn remove(&mut self, volume: &PersistentVolume) {
        let name = &volume.spec.storage_class_name;
        let Some(class) = self.0.get_mut(name).filter(|_| is_free(volume)) else { return };
        class.at(volume.host()).remove(&key(volume));
        class.by_host.retain(|_, volumes| !volumes.is_empty());
        if class.by_host.is_empty() && class.others.is_empty() {
            self.0.remove(name);
        }
    }

    /// The names of those of a class that a host may reach, the smallest first of either kind.
    pub(super) fn of(&self, class: &str, host: Option<&str>) -> impl Iterator<Item = &str> {
        let class = self.0.get(class);
        let here = class.zip(host).and_then(|(class, host)| class.by_host.get(host));
        let others = class.map(|class| &class.others);
        here.into_iter().chain(others).flatten().map(|(_, name)| name.as_str())
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

fn is_free(volume: &PersistentVolume) -> bool {
    volume.spec.claim_ref.as_ref().is_none_or(|of| of.uid.is_empty())
}

fn key(volume: &PersistentVolume) -> (i64, String) {
    (volume.size(), volume.metadata.name.clone())
}
