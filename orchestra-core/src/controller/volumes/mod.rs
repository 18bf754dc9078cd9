//! Persistent volumes and the claims on them: who has which, and what becomes of them.

mod claims;
mod persistent;

use std::sync::Arc;

use crate::client::{Client, ClientError};
use crate::engine::{Caches, Controller, Recorder, Tasks};
use crate::model::{ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use crate::rng::Rng;
use claims::Claims;
use persistent::Volumes;

/// The class that every cluster starts with: directories of nodes, as minikube has them by this name.
const STANDARD: &str = "standard";

/// Binds claims to volumes, holds both while they are in use, and deletes volumes whose claims are gone.
///
/// Claims whose class waits for the first pod are bound by the scheduling loop, in the commit that binds the pod.
#[derive(Debug)]
pub struct VolumeController;

impl VolumeController {
    /// Starts the controller in `tasks`.
    pub fn start(client: &Client, caches: &Caches, recorder: Recorder, rng: &Rng, tasks: &Tasks) {
        let volumes = caches.of::<PersistentVolume>();
        let claims = caches.of::<PersistentVolumeClaim>();
        let users = caches.of::<Pod>().index(used);
        let all = Arc::clone(&claims);
        let waiting = move |wants: &dyn Fn(&PersistentVolumeClaim) -> bool,
                            add: &mut dyn FnMut(ObjectKey)| {
            for claim in all.list() {
                if claim.spec.volume_name.is_empty() && wants(&claim) {
                    add(ObjectKey::of(&*claim));
                }
            }
        };
        let by_class = waiting.clone();
        Controller::new("claims", client, caches, rng)
            .on::<PersistentVolumeClaim>()
            .maps::<PersistentVolume>(move |change, add| {
                for volume in [change.old, change.new].into_iter().flatten() {
                    of_claim(volume, add);
                }
                if let Some(volume) = change.new.filter(|volume| volume.spec.claim_ref.is_none()) {
                    waiting(&|claim| volume.suits(claim), add);
                }
            })
            .maps::<StorageClass>(move |_, add| by_class(&|_| true, add))
            .maps::<Pod>(|change, add| {
                let gone = change.new.is_none_or(|pod| pod.is_terminal());
                if let Some(pod) = change.old.filter(|_| gone) {
                    used(pod).into_iter().for_each(add);
                }
            })
            .start(
                Claims {
                    claims: Arc::clone(&claims),
                    volumes: Arc::clone(&volumes),
                    classes: caches.of(),
                    users,
                    recorder: recorder.clone(),
                },
                tasks,
            );
        Controller::new("volumes", client, caches, rng)
            .on::<PersistentVolume>()
            .maps::<PersistentVolumeClaim>(|change, add| {
                for claim in [change.old, change.new].into_iter().flatten() {
                    if !claim.spec.volume_name.is_empty() {
                        add(ObjectKey::new::<PersistentVolume>("", claim.spec.volume_name.as_str()));
                    }
                }
            })
            .start(Volumes { volumes, claims, nodes: caches.of(), recorder }, tasks);
    }
}

/// Creates the class that every cluster starts with, where there is none of its name: it is the cluster's default.
pub(super) async fn bootstrap(client: &Client) -> Result<(), ClientError> {
    match client.create(StorageClass::local(STANDARD).default_class()).await {
        Err(ClientError::AlreadyExists(_)) => Ok(()),
        result => result.map(drop),
    }
}

/// The claim that a volume is of.
fn of_claim(volume: &PersistentVolume, add: &mut dyn FnMut(ObjectKey)) {
    if let Some(of) = &volume.spec.claim_ref {
        add(ObjectKey::new::<PersistentVolumeClaim>(of.namespace.as_str(), of.name.as_str()));
    }
}

/// The claims that a pod holds: one that is on a node and has not ended.
fn used(pod: &Pod) -> Vec<ObjectKey> {
    if pod.node_name.is_none() || pod.is_terminal() {
        return Vec::new();
    }
    let namespace = pod.metadata.namespace.as_str();
    pod.spec.claims().map(|name| ObjectKey::new::<PersistentVolumeClaim>(namespace, name)).collect()
}

#[cfg(test)]
mod tests;
