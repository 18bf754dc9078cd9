//! Persistent volumes, and which nodes pods with claims can go to.

mod free;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::slots::scatter;
use super::{NodeView, View};
use crate::model::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use crate::scheduler::Change;
use free::Free;

/// A claim, as far as it is known.
#[derive(Debug, Default)]
struct Claim {
    /// `None`: it is not there, and pods use it all the same.
    known: Option<Stamped<PersistentVolumeClaim>>,
    /// How many pods on nodes use it.
    users: u32,
}

/// Something with the number of its last change.
#[derive(Debug)]
struct Stamped<T> {
    object: Arc<T>,
    stamp: u64,
}

/// What is known of persistent volumes.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// Whether anybody tells the view of them: else they are taken no account of.
    followed: bool,
    /// By namespace and name.
    claims: BTreeMap<String, BTreeMap<String, Claim>>,
    volumes: BTreeMap<String, Stamped<PersistentVolume>>,
    classes: BTreeMap<String, Arc<StorageClass>>,
    /// Volumes without a claim, or kept for one that has not taken them yet.
    free: Free,
    /// Counts changes.
    stamp: u64,
}

/// How a pod gets to what it claims.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// A volume that is there becomes the claim's.
    Take(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>),
    /// A directory of the node becomes the claim's.
    Provision(Arc<PersistentVolumeClaim>, Arc<StorageClass>),
}

type Refusal = Cow<'static, str>;

impl Storage {
    fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// Changes what is known of a claim; a claim of which nothing is known any more is forgotten.
    fn change_claim<R>(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Claim) -> R) -> R {
        let claims = self.claims.entry(namespace.to_owned()).or_default();
        let claim = claims.entry(name.to_owned()).or_default();
        let result = change(claim);
        if claim.known.is_none() && claim.users == 0 {
            claims.remove(name);
            if claims.is_empty() {
                self.claims.remove(namespace);
            }
        }
        result
    }

    fn set_claim(
        &mut self,
        namespace: &str,
        name: &str,
        claim: Option<&Arc<PersistentVolumeClaim>>,
    ) -> Change {
        let old = self.known(namespace, name).map(|old| &old.object);
        let same = match (old, claim) {
            (Some(old), Some(new)) => says_the_same(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if same {
            return Change::NONE;
        }
        let stamp = self.next_stamp();
        let known = claim.map(|claim| Stamped { object: Arc::clone(claim), stamp });
        self.change_claim(namespace, name, |claim| claim.known = known);
        Change::VOLUMES
    }

    fn set_volume(&mut self, name: &str, volume: Option<&Arc<PersistentVolume>>) -> Change {
        if let (Some(Stamped { object: old, .. }), Some(new)) = (self.volumes.get_mut(name), volume)
            && old.spec == new.spec
            && old.metadata.labels == new.metadata.labels
            && old.metadata.is_deleting() == new.metadata.is_deleting()
        {
            *old = Arc::clone(new);
            return Change::NONE;
        }
        let stamp = self.next_stamp();
        if let Some(old) = self.volumes.remove(name) {
            self.free.remove(&old.object);
        }
        let Some(volume) = volume else { return Change::NONE };
        self.free.add(volume);
        self.volumes.insert(name.to_owned(), Stamped { object: Arc::clone(volume), stamp });
        Change::VOLUMES
    }

    fn known(&self, namespace: &str, name: &str) -> Option<&Stamped<PersistentVolumeClaim>> {
        self.claims.get(namespace)?.get(name)?.known.as_ref()
    }

    fn users(&self, namespace: &str, name: &str) -> u32 {
        self.claims.get(namespace).and_then(|claims| claims.get(name)).map_or(0, |claim| claim.users)
    }

    /// The volume that a claim has.
    fn volume_of(&self, claim: &PersistentVolumeClaim) -> Option<&Stamped<PersistentVolume>> {
        let volume = self.volumes.get(claim.spec.volume_name.as_str())?;
        let of = volume.object.spec.claim_ref.as_ref()?;
        (of.uid == claim.metadata.uid).then_some(volume)
    }

    /// A number that changes with whatever decides where a pod with these claims can go.
    pub(crate) fn version(&self, namespace: &str, claims: &[String]) -> u64 {
        if !self.followed {
            return 0;
        }
        claims.iter().fold(0, |all, name| {
            let claim = self.known(namespace, name);
            let volume = claim.and_then(|claim| self.volume_of(&claim.object));
            // What a claim without a volume could have changes with any volume.
            let stamp = claim.zip(volume).map_or(self.stamp, |(claim, volume)| claim.stamp.max(volume.stamp));
            let users = u64::from(self.users(namespace, name));
            scatter(all ^ scatter(stamp + 1) ^ users)
        })
    }

    /// How a pod of `namespace` with these claims gets its volumes on `node`. `counted`: it is on a node already.
    ///
    /// # Errors
    /// Why it can't.
    pub(crate) fn choose(
        &self,
        namespace: &str,
        claims: &[String],
        node: &NodeView<'_>,
        counted: bool,
    ) -> Result<Vec<Choice>, Refusal> {
        if !self.followed {
            return Ok(Vec::new());
        }
        let (mut open, mut choices) = (Vec::new(), Vec::new());
        for name in claims {
            let Some(Stamped { object: claim, .. }) = self.known(namespace, name) else {
                return Err(format!("lack the persistentvolumeclaim {name}: it does not exist").into());
            };
            if claim.metadata.is_deleting() {
                return Err(format!("lack the persistentvolumeclaim {name}: it is being deleted").into());
            }
            if claim.is_for_one_pod() && self.users(namespace, name) > u32::from(counted) {
                return Err(format!(
                    "can't use persistentvolumeclaim {name}: another pod has it, and it is ReadWriteOncePod"
                )
                .into());
            }
            if claim.spec.volume_name.is_empty() {
                open.push(claim);
                continue;
            }
            let Some(volume) = self.volume_of(claim) else {
                return Err(format!(
                    "wait for persistentvolumeclaim {name}: its volume {} is not bound to it",
                    claim.spec.volume_name
                )
                .into());
            };
            if !volume.object.reaches(node.name(), node.labels()) {
                return Err(format!("can't reach the volume of persistentvolumeclaim {name}").into());
            }
        }
        // The smallest first, so that it does not take what a larger one needs.
        open.sort_by(|a, b| (a.size(), &a.metadata.name).cmp(&(b.size(), &b.metadata.name)));
        let mut taken = BTreeSet::new();
        for claim in open {
            choices.push(self.choose_for(claim, node, &mut taken)?);
        }
        Ok(choices)
    }

    /// A volume for a claim that waits for its first pod.
    fn choose_for<'s>(
        &'s self,
        claim: &Arc<PersistentVolumeClaim>,
        node: &NodeView<'_>,
        taken: &mut BTreeSet<&'s str>,
    ) -> Result<Choice, Refusal> {
        let name = &claim.metadata.name;
        let class = self.classes.get(claim.class_name());
        if !class.is_some_and(|class| class.waits()) {
            return Err(format!("wait for persistentvolumeclaim {name}: it has no volume yet").into());
        }
        let host = PersistentVolume::host_of(node.labels());
        let fits =
            |volume: &PersistentVolume| volume.suits(claim) && volume.reaches(node.name(), node.labels());
        // One that is kept for it comes first, as where no pod is waited for: what is in it may be why it was kept.
        let kept = self.free.kept_for(claim).filter_map(|volume| self.volumes.get(volume));
        if let Some(kept) = kept.map(|found| &found.object).find(|volume| volume.suits(claim)) {
            if !kept.reaches(node.name(), node.labels()) {
                return Err(
                    format!("can't reach the volume that is kept for persistentvolumeclaim {name}").into()
                );
            }
            return Ok(Choice::Take(Arc::clone(claim), Arc::clone(kept)));
        }
        let free = self.free.of(claim.class_name(), host).filter(|volume| !taken.contains(*volume));
        let free = free.filter_map(|volume| self.volumes.get_key_value(volume));
        if let Some((volume, found)) = free.into_iter().find(|(_, found)| fits(&found.object)) {
            taken.insert(volume);
            return Ok(Choice::Take(Arc::clone(claim), Arc::clone(&found.object)));
        }
        match class {
            Some(class) if class.is_local() && claim.spec.selector.is_none() => {
                if class.allows(node.labels()) {
                    Ok(Choice::Provision(Arc::clone(claim), Arc::clone(class)))
                } else {
                    Err(format!("are not among those of storage class {}, which persistentvolumeclaim {name} asks for", class.metadata.name).into())
                }
            }
            _ => Err(format!("have no free volume for persistentvolumeclaim {name}").into()),
        }
    }
}

/// Whether it is the same, or a change that wakes nobody. That what was decided about a claim has been stored does: pods
/// that lost against it are tried again then.
fn says_the_same(a: &PersistentVolumeClaim, b: &PersistentVolumeClaim) -> bool {
    a.metadata.uid == b.metadata.uid
        && a.spec == b.spec
        && a.metadata.is_deleting() == b.metadata.is_deleting()
        && a.metadata.resource_version == b.metadata.resource_version
}

impl View {
    /// Has the view take account of persistent volumes: pods whose claims it was not told of then wait. Without this it
    /// places them as if they had none.
    pub fn follow_volumes(&mut self) {
        self.storage.followed = true;
    }

    /// A claim on a persistent volume came or changed.
    pub fn claim_changed(&mut self, claim: &Arc<PersistentVolumeClaim>) -> Change {
        self.storage.set_claim(&claim.metadata.namespace, &claim.metadata.name, Some(claim))
    }

    /// A claim on a persistent volume is gone.
    pub fn claim_removed(&mut self, namespace: &str, name: &str) -> Change {
        self.storage.set_claim(namespace, name, None)
    }

    /// A persistent volume came or changed.
    pub fn volume_changed(&mut self, volume: &Arc<PersistentVolume>) -> Change {
        self.storage.set_volume(&volume.metadata.name, Some(volume))
    }

    /// A persistent volume is gone.
    pub fn volume_removed(&mut self, name: &str) -> Change {
        self.storage.set_volume(name, None)
    }

    /// A class of persistent volumes came or changed.
    pub fn storage_class_changed(&mut self, class: &Arc<StorageClass>) -> Change {
        self.storage.next_stamp();
        self.storage.classes.insert(class.metadata.name.clone(), Arc::clone(class));
        Change::VOLUMES
    }

    /// A class of persistent volumes is gone.
    pub fn storage_class_removed(&mut self, name: &str) -> Change {
        self.storage.next_stamp();
        self.storage.classes.remove(name);
        Change::NONE
    }

    /// How a pod gets its volumes on the node that it was given to.
    ///
    /// # Errors
    /// Why it can't.
    pub(crate) fn choose_volumes(&self, pod: &Pod, node: &str) -> Result<Vec<Choice>, Refusal> {
        let Some(node) = self.node_named(node) else { return Err("are gone".into()) };
        let claims: BTreeSet<String> = pod.spec.claims().map(str::to_owned).collect();
        let claims: Vec<String> = claims.into_iter().collect();
        self.storage.choose(&pod.metadata.namespace, &claims, &node, true)
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// A pod that uses claims came to a node, or left one.
    pub(super) fn count_users(&mut self, namespace: &str, claims: &[String], more: bool) {
        for name in claims {
            self.storage.change_claim(namespace, name, |claim| {
                claim.users = if more { claim.users + 1 } else { claim.users.saturating_sub(1) };
            });
        }
    }
}

#[cfg(test)]
mod tests;
