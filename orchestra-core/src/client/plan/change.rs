//! Creations, updates, statuses and bindings.

use std::sync::Arc;

use serde_json::Value;

use super::delete::is_over;
use super::{Outcome, Plan, unique};
use crate::client::{ClientError, apply};
use crate::model::{
    AnyObject, AnyObjectExt, Condition, GPU_DEVICES, Namespace, Node, Object, ObjectKey, Pod, Revision, Uid,
};
use crate::store::Precondition;

/// How many random characters follow a `generateName`: Kubernetes' five.
const SUFFIX_LEN: usize = 5;

impl Plan<'_> {
    pub(super) async fn create(&mut self, object: &AnyObject) -> Result<(), ClientError> {
        let mut object = object.clone_object();
        let o = unique(&mut object);
        // A node is registered with what it has; all else has not been observed yet.
        if (o as &dyn std::any::Any).downcast_ref::<Node>().is_none() {
            o.clear_status();
        }
        if let Some(namespace) = (o as &mut dyn std::any::Any).downcast_mut::<Namespace>() {
            namespace.hold();
        }
        let namespaced = o.info().namespaced;
        let meta = o.meta_mut();
        if !namespaced {
            meta.namespace.clear();
        } else if meta.namespace.is_empty() {
            meta.namespace = self.client.namespace.to_string();
        }
        if meta.name.is_empty() && !meta.generate_name.is_empty() {
            meta.name = format!("{}{}", meta.generate_name, self.client.inner.rng.suffix(SUFFIX_LEN));
        }
        meta.uid = self.client.inner.rng.uid();
        meta.creation_timestamp = Some(self.client.inner.clock.now());
        meta.deletion_timestamp = None;
        meta.deletion_grace_period_seconds = None;
        meta.resource_version = Revision::ZERO;
        meta.generation = 1;
        let key = ObjectKey::of(&*object);
        self.admit(&key, &mut object, None).await?;
        if namespaced {
            self.require_namespace(&key).await?;
        }
        self.creates.insert(key.clone());
        self.commit.preconditions.push(Precondition::Absent(key.clone()));
        self.write(&key, object);
        Ok(())
    }

    async fn live(&mut self, key: &ObjectKey, asked: &dyn Object) -> Result<AnyObject, ClientError> {
        let live = self.read(key).await?.ok_or_else(|| ClientError::NotFound(key.clone()))?;
        let (wanted, found) = (asked.meta(), live.meta());
        if !wanted.uid.is_empty() && wanted.uid != found.uid {
            let why = "it was deleted, and there is another of the same name; read it again".to_owned();
            return Err(ClientError::Conflict { key: key.clone(), why });
        }
        if wanted.resource_version != Revision::ZERO && wanted.resource_version != found.resource_version {
            let (wanted, found) = (wanted.resource_version, found.resource_version);
            let why = format!("it changed since revision {wanted} and is now at {found}; read it again");
            return Err(ClientError::Conflict { key: key.clone(), why });
        }
        Ok(live)
    }

    fn key_of(&self, object: &dyn Object) -> ObjectKey {
        let mut key = ObjectKey::of(object);
        if !object.info().namespaced {
            key.namespace = "".into();
        } else if key.namespace.is_empty() {
            key.namespace = Arc::clone(&self.client.namespace);
        }
        key
    }

    pub(super) async fn update(&mut self, object: &AnyObject) -> Result<(), ClientError> {
        let key = self.key_of(&**object);
        let live = self.live(&key, &**object).await?;
        let guess = object.meta().resource_version == Revision::ZERO;
        self.replace(&key, object, &live, guess).await
    }

    async fn replace(
        &mut self,
        key: &ObjectKey,
        object: &AnyObject,
        live: &AnyObject,
        guess: bool,
    ) -> Result<(), ClientError> {
        let mut object = object.clone_object();
        let o = unique(&mut object);
        o.copy_status(&**live);
        o.keep_allocated(&**live);
        let (meta, was) = (o.meta_mut(), live.meta());
        meta.namespace.clone_from(&was.namespace);
        meta.uid = was.uid.clone();
        meta.resource_version = was.resource_version;
        meta.generation = was.generation;
        meta.creation_timestamp = was.creation_timestamp;
        meta.deletion_timestamp = was.deletion_timestamp;
        meta.deletion_grace_period_seconds = was.deletion_grace_period_seconds;
        self.admit(key, &mut object, Some(&**live)).await?;
        let same = object.same_desired(&**live);
        if same && object.meta() == was {
            self.results.push(Outcome::Same(Arc::clone(live)));
            return Ok(());
        }
        if !same {
            unique(&mut object).meta_mut().generation += 1;
        }
        self.condition(key, &**live, guess);
        if is_over(&*object) {
            self.remove(key);
        } else {
            self.write(key, object);
        }
        Ok(())
    }

    pub(super) async fn status(&mut self, object: &AnyObject) -> Result<(), ClientError> {
        let key = self.key_of(&**object);
        let live = self.live(&key, &**object).await?;
        if object.same_status(&*live) {
            self.results.push(Outcome::Same(live));
            return Ok(());
        }
        let mut new = live.clone_object();
        unique(&mut new).copy_status(&**object);
        self.condition(&key, &*live, object.meta().resource_version == Revision::ZERO);
        self.write(&key, new);
        Ok(())
    }

    pub(super) async fn bind(
        &mut self,
        key: &ObjectKey,
        uid: &Uid,
        node: &Arc<str>,
        devices: Option<&str>,
    ) -> Result<(), ClientError> {
        let live = self.read(key).await?.ok_or_else(|| ClientError::NotFound(key.clone()))?;
        let conflict = |why: String| ClientError::Conflict { key: key.clone(), why };
        let Some(pod) = live.as_resource::<Pod>().filter(|pod| pod.metadata.uid == *uid) else {
            return Err(conflict("it is another pod of the same name".to_owned()));
        };
        if let Some(other) = &pod.node_name {
            return Err(conflict(format!("it is bound to node {other} already")));
        }
        if pod.metadata.is_deleting() {
            return Err(conflict("it is being deleted".to_owned()));
        }
        let mut bound = pod.clone();
        bound.node_name = Some(Arc::clone(node));
        if let Some(devices) = devices {
            bound.metadata.annotations.insert(GPU_DEVICES.to_owned(), devices.to_owned());
        }
        bound.set_condition(Condition::new("PodScheduled", true, self.client.inner.clock.now()));
        self.condition(key, &*live, true);
        self.write(key, Arc::new(bound));
        Ok(())
    }

    pub(super) async fn apply(&mut self, manifest: &Value, object: &AnyObject) -> Result<(), ClientError> {
        let key = self.key_of(&**object);
        let Some(live) = self.read(&key).await? else {
            let created = apply::with_last_applied(object, manifest);
            return self.create(&created).await;
        };
        let merged = apply::merge(&self.client.inner.scheme, manifest, &*live)?;
        self.replace(&key, &merged, &live, true).await
    }
}
