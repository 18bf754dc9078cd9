//! Volumes: whose they are, and what becomes of them when their claims are gone.

use std::sync::Arc;

use async_trait::async_trait;

use super::claims::is_taken_by;
use crate::client::{Client, ClientError, DeleteOptions};
use crate::engine::{Cache, Next, ReconcileError, Reconciler, Recorder};
use crate::model::{
    EventType, Node, ObjectKey, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeStatus, ReclaimPolicy, VolumePhase,
};

/// Follows each volume through its life.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) volumes: Arc<Cache<PersistentVolume>>,
    pub(super) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(super) nodes: Arc<Cache<Node>>,
    pub(super) recorder: Recorder,
}

#[async_trait]
impl Reconciler for Volumes {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Next::OnChange) };
        if !volume.metadata.is_deleting() && !volume.metadata.is_held_by(PersistentVolume::FINALIZER) {
            let mut held = (*volume).clone();
            held.metadata.finalizers.push(PersistentVolume::FINALIZER.to_owned());
            client.update(held).await?;
            return Ok(Next::OnChange);
        }
        let (phase, message) = match &volume.spec.claim_ref {
            Some(of) if !of.uid.is_empty() => {
                if self.has_claim(&volume, of, client).await? {
                    report(&volume, VolumePhase::Bound, "", client).await?;
                    return Ok(Next::OnChange);
                }
                match volume.spec.persistent_volume_reclaim_policy {
                    Some(ReclaimPolicy::Delete) if volume.local_node().is_some() => (None, ""),
                    Some(ReclaimPolicy::Delete) => (
                        Some(VolumePhase::Failed),
                        "its claim is gone, and nobody here can delete what it is made of: delete that, then the volume",
                    ),
                    _ => (Some(VolumePhase::Released), ""),
                }
            }
            _ => (Some(VolumePhase::Available), ""),
        };
        if volume.metadata.is_deleting() {
            return self.let_go(&volume, client).await;
        }
        match phase {
            Some(phase) => {
                let news = volume.status.phase != Some(phase);
                report(&volume, phase, message, client).await?;
                if news && phase == VolumePhase::Failed {
                    let clock = &**client.clock();
                    self.recorder.event(clock, &*volume, EventType::Warning, "VolumeFailedDelete", message);
                }
            }
            None => {
                let options = DeleteOptions::default().uid(volume.metadata.uid.clone());
                match client.delete::<PersistentVolume>(&volume.metadata.name, &options).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(Next::OnChange)
    }
}

impl Volumes {
    /// Whether the claim is there. Only the store may say that it is not.
    async fn has_claim(
        &self,
        volume: &PersistentVolume,
        of: &ObjectReference,
        client: &Client,
    ) -> Result<bool, ClientError> {
        let key = ObjectKey::new::<PersistentVolumeClaim>(of.namespace.as_str(), of.name.as_str());
        if self.claims.get(&key).is_some_and(|claim| is_taken_by(volume, &claim)) {
            return Ok(true);
        }
        let client = client.namespace(of.namespace.as_str());
        let stored = client.find::<PersistentVolumeClaim>(&of.name).await?;
        Ok(stored.is_some_and(|claim| is_taken_by(volume, &claim)))
    }

    /// Lets a volume go that is being deleted and that no claim has. A directory of a node is held by its node until it is
    /// empty, or until there is no such node any more.
    async fn let_go(&self, volume: &PersistentVolume, client: &Client) -> Result<Next, ReconcileError> {
        let mut free = volume.clone();
        let lost = match volume.local_node() {
            Some(node) => {
                self.nodes.get(&ObjectKey::new::<Node>("", node)).is_none()
                    && client.find::<Node>(node).await?.is_none()
            }
            None => true,
        };
        free.metadata.finalizers.retain(|name| {
            name != PersistentVolume::FINALIZER && !(lost && name == PersistentVolume::LOCAL_FINALIZER)
        });
        if free.metadata.finalizers != volume.metadata.finalizers {
            client.update(free).await?;
        }
        Ok(Next::OnChange)
    }
}

async fn report(
    volume: &PersistentVolume,
    phase: VolumePhase,
    message: &str,
    client: &Client,
) -> Result<(), ClientError> {
    let status =
        PersistentVolumeStatus { phase: Some(phase), message: message.to_owned(), ..volume.status.clone() };
    if status != volume.status {
        client.update_status(PersistentVolume { status, ..volume.clone() }).await?;
    }
    Ok(())
}
