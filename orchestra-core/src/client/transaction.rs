//! Changes of several objects that happen together.

use std::sync::Arc;

use serde_json::Value;

use super::plan::{Op, Plan};
use super::{CONFLICT_TRIES, Client, ClientError, DeleteOptions};
use crate::model::{AnyObject, AnyObjectExt, GPU_DEVICES, ObjectKey, Pod, Resource, Revision, Uid};
use crate::store::{Precondition, StoreError};

/// A change of several objects that happens whole or not at all.
///
/// ```no_run
/// # use orchestra_core::client::{Client, ClientError};
/// # use orchestra_core::model::{ConfigMap, Deployment};
/// # async fn example(client: Client) -> Result<(), ClientError> {
/// let settings = ConfigMap::new("settings").entry("colour", "blue");
/// let web = Deployment::new("web").image("shop/web:1");
/// client.transaction().create(settings).create(web).commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is committed"]
pub struct Transaction<'c> {
    client: &'c Client,
    ops: Vec<Op>,
    preconditions: Vec<Precondition>,
}

impl<'c> Transaction<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client, ops: Vec::new(), preconditions: Vec::new() }
    }

    fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// Stores a new object.
    pub fn create<T: Resource>(self, object: T) -> Self {
        self.create_any(Arc::new(object))
    }

    /// Stores a new object of whatever kind.
    pub fn create_any(self, object: AnyObject) -> Self {
        self.op(Op::Create(object))
    }

    /// Replaces what is desired and the metadata of an object; its status stays.
    pub fn update<T: Resource>(self, object: T) -> Self {
        self.update_any(Arc::new(object))
    }

    /// Replaces what is desired and the metadata of an object of whatever kind.
    pub fn update_any(self, object: AnyObject) -> Self {
        self.op(Op::Update(object))
    }

    /// Replaces the status of an object; what is desired stays.
    pub fn update_status<T: Resource>(self, object: T) -> Self {
        self.op(Op::Status(Arc::new(object)))
    }

    /// Replaces the status of an object of whatever kind.
    pub fn update_status_any(self, object: AnyObject) -> Self {
        self.op(Op::Status(object))
    }

    /// Deletes the `T` called `name`.
    pub fn delete<T: Resource>(self, name: &str, options: DeleteOptions) -> Self {
        let key = self.client.key::<T>(name);
        self.delete_any(key, options)
    }

    /// Deletes the object at `key`.
    pub fn delete_any(self, key: ObjectKey, options: DeleteOptions) -> Self {
        self.op(Op::Delete(key, options))
    }

    /// Gives a pod that is on no node yet to `node`. Which GPUs `pod` is annotated to have is written along, see
    /// [`GPU_DEVICES`].
    pub fn bind(self, pod: &Pod, node: impl Into<Arc<str>>) -> Self {
        let devices = pod.metadata.annotations.value(GPU_DEVICES).map(Arc::from);
        self.op(Op::Bind(ObjectKey::of(pod), pod.metadata.uid.clone(), node.into(), devices))
    }

    pub(super) fn apply(self, manifest: Value, object: AnyObject) -> Self {
        self.op(Op::Apply(manifest, object))
    }

    /// Only if the object at `key` has not changed since `revision`.
    pub fn require_revision(mut self, key: ObjectKey, revision: Revision) -> Self {
        self.preconditions.push(Precondition::Revision(key, revision));
        self
    }

    /// Only if the object at `key` has this identity.
    pub fn require_uid(mut self, key: ObjectKey, uid: Uid) -> Self {
        self.preconditions.push(Precondition::Uid(key, uid));
        self
    }

    /// Carries it out. Returns, for each change in order, the object as it now is; for a deletion that is
    /// done, as it last was.
    ///
    /// What was computed from an object that changed meanwhile is computed again, unless the caller named
    /// the revision it must have.
    ///
    /// # Errors
    /// As the single changes of [`Client`] have them.
    pub async fn commit(self) -> Result<Vec<AnyObject>, ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut plan = Plan::new(self.client);
            for op in &self.ops {
                plan.add(op).await?;
            }
            let mut commit = std::mem::take(&mut plan.commit);
            commit.preconditions.extend(self.preconditions.iter().cloned());
            commit.epoch = self.client.epoch;
            if commit.writes.is_empty() {
                return Ok(plan.results(None));
            }
            let kinds: Vec<_> = commit.writes.iter().map(|w| w.key().kind).collect();
            match self.client.inner.store.commit(commit).await {
                Ok(committed) => {
                    if let Some(writes) = &self.client.writes {
                        writes.committed(kinds.into_iter(), committed.revision);
                    }
                    return Ok(plan.results(Some(committed)));
                }
                Err(StoreError::Conflict { key, .. }) if plan.guessed(&key) && tries < CONFLICT_TRIES => {}
                Err(error) => {
                    if let (true, Some(writes)) = (error.outcome_unknown(), &self.client.writes) {
                        writes.unknown();
                    }
                    return Err(plan.explain(error));
                }
            }
        }
    }

    pub(super) async fn commit_one<T: Resource>(self) -> Result<Arc<T>, ClientError> {
        let key = self.client.key::<T>("");
        let object = self.commit().await?.pop();
        object.and_then(AnyObjectExt::downcast).ok_or(ClientError::NotFound(key))
    }
}
