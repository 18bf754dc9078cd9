//! Clearing away the directories of persistent volumes that nobody claims any more.

use std::sync::Arc;

use super::agent::Shared;
use super::backoff::CALL_BACKOFF;
use super::error::chain;
use crate::model::{PersistentVolume, ReclaimPolicy, Uid};

impl Shared {
    /// Removes the directory of a volume that is being deleted, unless what is in it is to be retained, and lets the volume
    /// go. Tries until that is done.
    pub(super) fn reclaim(self: &Arc<Self>, volume: &PersistentVolume) {
        let (Some(csi), name) = (&volume.spec.csi, volume.metadata.name.clone()) else { return };
        let deletes = volume.spec.persistent_volume_reclaim_policy == Some(ReclaimPolicy::Delete);
        let handle = deletes.then(|| csi.volume_handle.clone());
        let (shared, uid) = (Arc::clone(self), volume.metadata.uid.clone());
        self.tasks.spawn("reclaim", async move {
            for failures in 1.. {
                match shared.try_reclaim(&name, &uid, handle.as_deref()).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(node = %shared.node, volume = %name, error, "can't remove a volume's directory");
                    }
                }
                tokio::time::sleep(CALL_BACKOFF.after(failures)).await;
            }
        });
    }

    async fn try_reclaim(&self, name: &str, uid: &Uid, handle: Option<&str>) -> Result<(), String> {
        match handle {
            Some(handle) => {
                self.volumes.remove_persistent(handle).await.map_err(|error| chain(&error))?;
            }
            None => {
                tracing::info!(node = %self.node, volume = name, "a volume is gone, and what is in it is retained");
            }
        }
        let let_go = self.client.modify::<PersistentVolume>(name, |volume| {
            if volume.metadata.uid == *uid {
                volume.metadata.finalizers.retain(|name| name != PersistentVolume::LOCAL_FINALIZER);
            }
        });
        match let_go.await {
            Err(error) if !error.is_not_found() => Err(chain(&error)),
            _ => Ok(()),
        }
    }
}
