//! Clearing away the directories of persistent volumes that nobody claims any more.

use std::sync::Arc;

use super::agent::Shared;
use super::backoff::CALL_BACKOFF;
use super::error::chain;
use crate::model::{PersistentVolume, Uid};

impl Shared {
    /// Removes the directory of a volume that is being deleted, and lets the volume go. Tries until that is done.
    pub(super) fn reclaim(self: &Arc<Self>, volume: &PersistentVolume) {
        let (Some(csi), name) = (&volume.spec.csi, volume.metadata.name.clone()) else { return };
        let (shared, handle, uid) =
            (Arc::clone(self), csi.volume_handle.clone(), volume.metadata.uid.clone());
        self.tasks.spawn("reclaim", async move {
            for failures in 1.. {
                match shared.try_reclaim(&name, &uid, &handle).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(node = %shared.node, volume = %name, error, "can't remove a volume's directory");
                    }
                }
                tokio::time::sleep(CALL_BACKOFF.after(failures)).await;
            }
        });
    }

    async fn try_reclaim(&self, name: &str, uid: &Uid, handle: &str) -> Result<(), String> {
        self.volumes.remove_persistent(handle).await.map_err(|error| chain(&error))?;
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
