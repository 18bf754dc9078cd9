//! Volumes for pods that were given to a node: claims that wait for their first pod get theirs with it.

use std::sync::Arc;

use crate::client::Transaction;
use crate::model::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use crate::scheduler::{Change, View, VolumeChoice};

/// A claim, the volume that becomes its own, and both as they were.
#[derive(Debug)]
pub(super) struct Binding {
    claim: Arc<PersistentVolumeClaim>,
    volume: Arc<PersistentVolume>,
    old_claim: Arc<PersistentVolumeClaim>,
    /// `None`: the volume is new.
    old_volume: Option<Arc<PersistentVolume>>,
}

impl Binding {
    fn new(choice: VolumeChoice, view: &View, node: &str) -> Option<Self> {
        let (old_claim, volume, old_volume) = match choice {
            VolumeChoice::Take(claim, old) => {
                let mut volume = (*old).clone();
                volume.spec.claim_ref = Some(ObjectReference::to(&*claim));
                (claim, volume, Some(old))
            }
            VolumeChoice::Provision(claim, class) => {
                let labels = view.node_named(node)?.labels();
                let volume = PersistentVolume::provision(&claim, class.reclaim_policy, node, labels);
                (claim, volume, None)
            }
        };
        let mut claim = (*old_claim).clone();
        volume.metadata.name.clone_into(&mut claim.spec.volume_name);
        Some(Self { claim: Arc::new(claim), volume: Arc::new(volume), old_claim, old_volume })
    }

    /// Has the view take it for done.
    fn assume(&self, view: &mut View) -> Change {
        view.volume_changed(&self.volume) | view.claim_changed(&self.claim)
    }

    /// Takes that back: the store refused it.
    fn forget(&self, view: &mut View) -> Change {
        let claim = view.claim_changed(&self.old_claim);
        claim
            | match &self.old_volume {
                Some(volume) => view.volume_changed(volume),
                None => view.volume_removed(&self.volume.metadata.name),
            }
    }

    /// Adds it to what is written. Whoever changed the claim or the volume meanwhile wins.
    pub(super) fn write<'c>(&self, transaction: Transaction<'c>) -> Transaction<'c> {
        let volume = (*self.volume).clone();
        let transaction = match &self.old_volume {
            Some(_) => transaction.update(volume),
            None => transaction.create(volume),
        };
        transaction.update((*self.claim).clone())
    }
}

/// Chooses the volumes of pods that are to be bound together, as they are placed in the view. The view then has them as
/// bound.
///
/// # Errors
/// Why one of them has no volume on its node after all: another pod of the batch took it. Nothing is assumed then.
pub(super) fn choose(view: &mut View, pods: &[(&Arc<Pod>, Arc<str>)]) -> Result<Vec<Binding>, String> {
    let mut bindings: Vec<Binding> = Vec::new();
    for (pod, node) in pods {
        if pod.spec.claims().next().is_none() {
            continue;
        }
        match view.choose_volumes(pod, node) {
            Ok(choices) => {
                for choice in choices {
                    bindings.extend(Binding::new(choice, view, node).inspect(|binding| {
                        binding.assume(view);
                    }));
                }
            }
            Err(why) => {
                forget(view, &bindings);
                return Err(format!("nodes like {node} {why}"));
            }
        }
    }
    Ok(bindings)
}

/// Takes bindings back in the view.
pub(super) fn forget(view: &mut View, bindings: &[Binding]) -> Change {
    bindings.iter().rev().fold(Change::NONE, |change, binding| change | binding.forget(view))
}
