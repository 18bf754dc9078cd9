//! Finding what a pod names.

use std::sync::Arc;

use super::agent::Shared;
use super::env::{Sources, references};
use crate::client::ClientError;
use crate::model::{
    AnyObjectExt, ConfigMap, GroupKind, ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod, Resource,
};

impl Shared {
    /// What a pod names: from the caches, and what is not there from the store, which
    /// may be ahead of them.
    pub(super) async fn sources(&self, pod: &Pod) -> Result<Sources, ClientError> {
        let mut sources = Sources { node: self.nodes.get(&self.node_key()), ..Sources::default() };
        for key in references(pod) {
            let name = key.name.to_string();
            if key.kind == GroupKind::of::<PersistentVolumeClaim>() {
                sources.claimed.insert(name, self.claimed(&key).await?);
            } else if key.kind == GroupKind::of::<ConfigMap>() {
                let cached = self.config_maps.get(&key);
                if let Some(map) = self.or_stored(cached, &key).await? {
                    sources.config_maps.insert(name, map);
                }
            } else {
                let cached = self.secrets.get(&key);
                if let Some(secret) = self.or_stored(cached, &key).await? {
                    sources.secrets.insert(name, secret);
                }
            }
        }
        Ok(sources)
    }

    /// The volume that a claim has, or why it has none.
    async fn claimed(&self, key: &ObjectKey) -> Result<Result<Arc<PersistentVolume>, String>, ClientError> {
        let name = &key.name;
        let Some(claim) = self.or_stored(self.claims.get(key), key).await? else {
            return Ok(Err(format!("persistentvolumeclaim {name} does not exist")));
        };
        let volume = ObjectKey::new::<PersistentVolume>("", claim.spec.volume_name.as_str());
        // Both were bound at once, but the cache of volumes may show it after that of claims, of which alone pods are told.
        let cached = self.persistent.get(&volume).filter(|cached| cached.is_of(&claim));
        let found = match claim.spec.volume_name.as_str() {
            "" => None,
            _ => self.or_stored(cached, &volume).await?,
        };
        let bound = found.filter(|found| found.is_of(&claim));
        Ok(bound.ok_or_else(|| format!("persistentvolumeclaim {name} has no volume yet")))
    }

    async fn or_stored<T: Resource>(
        &self,
        cached: Option<Arc<T>>,
        key: &ObjectKey,
    ) -> Result<Option<Arc<T>>, ClientError> {
        match cached {
            Some(object) => Ok(Some(object)),
            None => Ok(self.client.get_any(key).await?.and_then(AnyObjectExt::downcast)),
        }
    }
}
