//! Caches that show the changes of some objects late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use orchestra_core::engine::Caches;
use orchestra_core::model::{
    AnyObject, GroupKind, LOCAL_PROVISIONER, ObjectKey, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PodSpec, Revision, Volume, VolumeMount,
};
use orchestra_core::store::{Commit, Committed, Listing, Scope, Store, StoreError, Watch};

use crate::rig::{Rig, container};

/// By how much it is behind.
const DELAY: Duration = Duration::from_secs(10);

/// A store that tells of persistent volumes later than of all else.
#[derive(Debug)]
struct Behind(Arc<dyn Store>);

#[async_trait]
impl Store for Behind {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        self.0.list(scope).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.0.commit(commit).await
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        let watch = self.0.watch(scope, after).await?;
        if scope.kind != Some(GroupKind::of::<PersistentVolume>()) {
            return Ok(watch);
        }
        Ok(Watch::new(watch.then(|event| async {
            tokio::time::sleep(DELAY).await;
            event
        })))
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        self.0.revision(scope).await
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.0.compact(through).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_found_that_its_cache_shows_unbound() {
    let mut rig = Rig::without_agent().await;
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": LOCAL_PROVISIONER, "volumeHandle": "dir"}}});
    let volume: PersistentVolume = serde_json::from_value(manifest).unwrap();
    let mut volume = (*rig.client.create(volume).await.unwrap()).clone();
    rig.caches = Caches::new(Arc::new(Behind(Arc::clone(rig.client.store()))), rig.tasks.clone());
    rig.start_agent().await;
    let claim = PersistentVolumeClaim::new("claim", "1Gi".parse().unwrap());
    let mut claim = (*rig.client.create(claim).await.unwrap()).clone();
    let mount = VolumeMount { name: "data".into(), mount_path: "/data".into(), ..VolumeMount::default() };
    let spec = PodSpec::new(container("web").volume_mount(mount)).volume(Volume::persistent("data", "claim"));
    rig.create("web", spec).await;
    rig.wait("web", "told what it waits for", |pod| {
        let first = pod.status.container_statuses.first().and_then(|c| c.state.waiting());
        first.is_some_and(|waiting| waiting.message.contains("has no volume yet"))
    })
    .await;
    // Both at once, as claims are bound.
    volume.spec.claim_ref = Some(ObjectReference::to(&claim));
    claim.spec.volume_name = "v".into();
    rig.client.transaction().update(volume).update(claim).commit().await.unwrap();
    rig.ready("web").await;
}
