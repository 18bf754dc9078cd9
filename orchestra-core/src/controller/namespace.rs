//! Emptying namespaces that are deleted.

use std::sync::Arc;

use async_trait::async_trait;

use crate::client::{Client, ClientError, DeleteOptions};
use crate::engine::{Cache, Caches, Controller, Next, ReconcileError, Reconciler, Tasks};
use crate::model::{Namespace, ObjectKey};
use crate::rng::Rng;
use crate::store::{Scope, StoreError};

/// How many namespaces are emptied at once; one that waits for its pods holds a worker.
const WORKERS: usize = 16;

/// Deletes what is in a namespace that was deleted, and lets it go when it is empty.
#[derive(Debug)]
pub struct NamespaceController {
    namespaces: Arc<Cache<Namespace>>,
}

impl NamespaceController {
    /// Starts the controller in `tasks`.
    pub fn start(client: &Client, caches: &Caches, rng: &Rng, tasks: &Tasks) {
        let reconciler = Self { namespaces: caches.of() };
        Controller::new("namespace", client, caches, rng)
            .on::<Namespace>()
            .workers(WORKERS)
            .start(reconciler, tasks);
    }
}

#[async_trait]
impl Reconciler for NamespaceController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(namespace) = self.namespaces.get(key).filter(|n| n.metadata.is_deleting()) else {
            return Ok(Next::OnChange);
        };
        // Nothing is created here any more: what the list shows is all there will be.
        let scope = Scope { kind: None, namespace: Some(Arc::clone(&key.name)) };
        loop {
            let listing = client.store().list(&scope).await?;
            if listing.objects.is_empty() {
                break;
            }
            for object in &listing.objects {
                if object.meta().is_deleting() {
                    continue;
                }
                let options = DeleteOptions::default().uid(object.meta().uid.clone());
                match client.delete_any(ObjectKey::of(&**object), &options).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            wait_for_change(client, &scope, listing.revision).await?;
        }
        let mut empty = (*namespace).clone();
        empty.spec.finalizers.retain(|f| f != Namespace::FINALIZER);
        match client.update(empty).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Next::OnChange),
        }
    }
}

async fn wait_for_change(
    client: &Client,
    scope: &Scope,
    after: crate::model::Revision,
) -> Result<(), ClientError> {
    let mut watch = match client.store().watch(scope, after).await {
        Err(StoreError::Compacted { .. }) => return Ok(()),
        watch => watch?,
    };
    match watch.next().await {
        Some(Err(error)) if !matches!(error, StoreError::Compacted { .. }) => Err(error.into()),
        _ => Ok(()),
    }
}
