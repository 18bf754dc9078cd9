//! Emptying namespaces that are deleted.

mod remaining;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::AbortHandle;

use self::remaining::{Remaining, report};
use crate::client::{Client, ClientError, DeleteOptions};
use crate::engine::{Cache, Caches, Controller, Next, Queue, ReconcileError, Reconciler, Tasks};
use crate::model::{AnyObject, Namespace, ObjectKey, Revision};
use crate::rng::Rng;
use crate::store::{Scope, StoreError};

/// How long changes of what is left in a namespace are gathered before it is looked at again: its pods end one by one,
/// and a look costs as much as there is left.
const GATHER: Duration = Duration::from_millis(100);

/// Deletes what is in a namespace that was deleted, and lets it go when it is empty. Conditions of its status say what
/// holds it until then.
#[derive(Debug)]
pub struct NamespaceController {
    namespaces: Arc<Cache<Namespace>>,
    queue: Arc<Queue<ObjectKey>>,
    tasks: Tasks,
    /// What waits for a change in each namespace that is not empty yet.
    waiting: Mutex<BTreeMap<ObjectKey, AbortHandle>>,
}

impl NamespaceController {
    /// Starts the controller in `tasks`.
    pub fn start(client: &Client, caches: &Caches, rng: &Rng, tasks: &Tasks) {
        // It writes their status itself.
        let controller = Controller::new("namespace", client, caches, rng).on_desired::<Namespace>();
        let reconciler = Self {
            namespaces: caches.of(),
            queue: controller.queue(),
            tasks: tasks.clone(),
            waiting: Mutex::default(),
        };
        controller.start(reconciler, tasks);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, AbortHandle>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `key` come again after the next change in its namespace since `revision`. Nothing runs until then.
    async fn wake_on_change(
        &self,
        key: &ObjectKey,
        client: &Client,
        revision: Revision,
    ) -> Result<(), ClientError> {
        let mut watch = match client.store().watch(&contents(key), revision).await {
            Err(StoreError::Compacted { .. }) => {
                self.queue.add(key.clone());
                return Ok(());
            }
            watch => watch?,
        };
        let (queue, woken) = (Arc::clone(&self.queue), key.clone());
        let task = self.tasks.spawn("namespace-watch", async move {
            // Where the watch failed the next look finds out why; where the store was closed there is none.
            if watch.next().await.is_some() {
                queue.add_after(woken, GATHER);
            }
        });
        self.waiting().insert(key.clone(), task.abort_handle());
        Ok(())
    }
}

#[async_trait]
impl Reconciler for NamespaceController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        if let Some(waiting) = self.waiting().remove(key) {
            waiting.abort();
        }
        let held = |n: &Arc<Namespace>| n.metadata.is_deleting() && n.is_held();
        let Some(namespace) = self.namespaces.get(key).filter(held) else { return Ok(Next::OnChange) };
        // Nothing is created here any more: what the list shows is all there will be.
        let mut listing = client.store().list(&contents(key)).await?;
        let (some, failure) = delete_all(client, &listing.objects).await;
        if some {
            listing = client.store().list(&contents(key)).await?;
        }
        let remaining = Remaining::of(&listing.objects, failure.as_ref());
        if !remaining.is_empty() {
            report(client, &namespace, &remaining).await?;
            self.wake_on_change(key, client, listing.revision).await?;
            return failure.map_or(Ok(Next::OnChange), Err);
        }
        if !namespace.status.conditions.is_empty() {
            // Somebody else may hold it yet.
            report(client, &namespace, &remaining).await?;
        }
        match client.modify::<Namespace>(&key.name, Namespace::let_go).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Next::OnChange),
        }
    }
}

/// All that is in the namespace at `key`.
fn contents(key: &ObjectKey) -> Scope {
    Scope { kind: None, namespace: Some(Arc::clone(&key.name)) }
}

/// Deletes those that are not being deleted yet: whether there was one, and the last failure. One that can't be
/// deleted does not keep the others.
async fn delete_all(client: &Client, objects: &[AnyObject]) -> (bool, Option<ClientError>) {
    let (mut some, mut failure) = (false, None);
    for object in objects.iter().filter(|object| !object.meta().is_deleting()) {
        some = true;
        let options = DeleteOptions::default().uid(object.meta().uid.clone());
        match client.delete_any(ObjectKey::of(&**object), &options).await {
            Err(error) if !error.is_not_found() => failure = Some(error),
            _ => {}
        }
    }
    (some, failure)
}
