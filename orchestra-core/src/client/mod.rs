//! Typed access to the objects of a cluster.
//!
//! [`Client`] is what applications, controllers and node agents read and write through: it fills in
//! defaults, validates, keeps generations and identities, and turns what the store says into errors that
//! name the object.

mod admission;
mod apply;
mod definition;
mod error;
mod merge;
mod options;
mod plan;
mod transaction;
mod watch;
mod writes;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

pub use admission::{Admission, Operation};
pub use error::ClientError;
pub use options::{Applied, ApplyOutcome, DeleteOptions, ListOptions, Patch, Propagation};
pub(crate) use plan::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER};
pub use transaction::Transaction;
pub use watch::{ObjectEvent, ObjectWatch};
pub use writes::Writes;

use crate::clock::SharedClock;
use crate::model::{
    AnyObject, AnyObjectExt, GroupKind, KindInfo, Object, ObjectKey, Resource, Revision, Scheme,
};
use crate::rng::Rng;
use crate::store::{Epoch, Scope, Store, StoreError};

/// The namespace of a client that was given none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// How often a change is tried again when the object it was computed from changed meanwhile.
///
/// Each try means that another writer succeeded; more than a handful in a row is a fight to be told of.
const CONFLICT_TRIES: usize = 16;

/// Reads and writes the objects of one cluster. A clone is another handle to the same.
///
/// A client works in one namespace ([`DEFAULT_NAMESPACE`] unless [`namespace`](Self::namespace) chose
/// another): objects without one are created there, and names are looked up there. For cluster-scoped kinds
/// the namespace does not matter.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    namespace: Arc<str>,
    epoch: Option<Epoch>,
    writes: Option<Writes>,
}

struct Inner {
    store: Arc<dyn Store>,
    scheme: Arc<Scheme>,
    clock: SharedClock,
    rng: Rng,
    admission: Vec<Arc<dyn Admission>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("namespace", &self.namespace)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// A consistent list of objects.
#[derive(Clone, Debug)]
pub struct List<T: ?Sized> {
    /// The revision the list was made at. A watch after it misses nothing.
    pub revision: Revision,
    /// The objects, ordered by namespace and name.
    pub items: Vec<Arc<T>>,
}

impl Client {
    /// A client over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, scheme: Arc<Scheme>, clock: SharedClock, rng: Rng) -> Self {
        let inner = Inner { store, scheme, clock, rng, admission: Vec::new() };
        Self { inner: Arc::new(inner), namespace: DEFAULT_NAMESPACE.into(), epoch: None, writes: None }
    }

    /// A client whose writes also pass `admission`, in this order.
    #[must_use]
    pub fn with_admission(self, admission: Vec<Arc<dyn Admission>>) -> Self {
        let inner = Inner {
            store: Arc::clone(&self.inner.store),
            scheme: Arc::clone(&self.inner.scheme),
            clock: Arc::clone(&self.inner.clock),
            rng: self.inner.rng.clone(),
            admission,
        };
        Self { inner: Arc::new(inner), ..self }
    }

    /// The same client in another namespace.
    #[must_use]
    pub fn namespace(&self, namespace: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// The same client, whose writes are stamped with the writer's generation.
    #[must_use]
    pub fn with_epoch(&self, epoch: Epoch) -> Self {
        Self { epoch: Some(epoch), ..self.clone() }
    }

    /// The same client, and a record of what is written through it.
    #[must_use]
    pub fn recorded(&self) -> (Self, Writes) {
        let writes = Writes::default();
        (Self { writes: Some(writes.clone()), ..self.clone() }, writes)
    }

    /// The namespace that this client works in.
    #[must_use]
    pub fn current_namespace(&self) -> &str {
        &self.namespace
    }

    /// The kinds this client knows.
    #[must_use]
    pub fn scheme(&self) -> &Arc<Scheme> {
        &self.inner.scheme
    }

    /// The store behind this client.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The clock that stamps objects.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    /// The source of identities and generated names.
    #[must_use]
    pub fn rng(&self) -> &Rng {
        &self.inner.rng
    }

    /// The key of the `T` called `name`, in this client's namespace where the kind has namespaces.
    #[must_use]
    pub fn key<T: Resource>(&self, name: &str) -> ObjectKey {
        self.key_of(&T::INFO, name)
    }

    /// The key of the object of this kind called `name`.
    #[must_use]
    pub fn key_of(&self, info: &KindInfo, name: &str) -> ObjectKey {
        let namespace = if info.namespaced { Arc::clone(&self.namespace) } else { "".into() };
        ObjectKey { kind: info.group_kind(), namespace, name: name.into() }
    }

    /// The `T` called `name`.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], or a failure of the store.
    pub async fn get<T: Resource>(&self, name: &str) -> Result<Arc<T>, ClientError> {
        self.find(name).await?.ok_or_else(|| ClientError::NotFound(self.key::<T>(name)))
    }

    /// The `T` called `name`, where there is one.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn find<T: Resource>(&self, name: &str) -> Result<Option<Arc<T>>, ClientError> {
        Ok(self.get_any(&self.key::<T>(name)).await?.and_then(AnyObjectExt::downcast))
    }

    /// The object at `key`, of whatever kind, where there is one.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn get_any(&self, key: &ObjectKey) -> Result<Option<AnyObject>, ClientError> {
        Ok(self.inner.store.get(key).await?)
    }

    fn scope(&self, kind: GroupKind, namespaced: bool, options: &ListOptions) -> Scope {
        let scope = Scope::kind(kind);
        if namespaced && !options.all_namespaces {
            scope.in_namespace(Arc::clone(&self.namespace))
        } else {
            scope
        }
    }

    /// The `T`s that `options` choose.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list<T: Resource>(&self, options: &ListOptions) -> Result<List<T>, ClientError> {
        let listing = self.list_any(&T::INFO, options).await?;
        let items = listing.items.into_iter().filter_map(AnyObjectExt::downcast).collect();
        Ok(List { revision: listing.revision, items })
    }

    /// The objects of a kind that `options` choose.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_any(
        &self,
        info: &KindInfo,
        options: &ListOptions,
    ) -> Result<List<dyn Object>, ClientError> {
        let scope = self.scope(info.group_kind(), info.namespaced, options);
        let listing = self.inner.store.list(&scope).await?;
        let chosen = listing.objects.into_iter().filter(|o| options.labels.matches(&o.meta().labels));
        Ok(List { revision: listing.revision, items: chosen.collect() })
    }

    /// Follows the `T`s that `options` choose, after `revision`: a list's, or that of an earlier event.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] where changes after `revision` are no longer held: list again.
    pub async fn watch<T: Resource>(
        &self,
        options: &ListOptions,
        revision: Revision,
    ) -> Result<ObjectWatch<T>, ClientError> {
        self.watch_as(&T::INFO, options, revision, AnyObjectExt::downcast).await
    }

    /// Follows the objects of a kind that `options` choose, as [`watch`](Self::watch) does.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub async fn watch_any(
        &self,
        info: &KindInfo,
        options: &ListOptions,
        revision: Revision,
    ) -> Result<ObjectWatch<dyn Object>, ClientError> {
        self.watch_as(info, options, revision, Some).await
    }

    async fn watch_as<T: Object + ?Sized>(
        &self,
        info: &KindInfo,
        options: &ListOptions,
        revision: Revision,
        typed: fn(AnyObject) -> Option<Arc<T>>,
    ) -> Result<ObjectWatch<T>, ClientError> {
        let scope = self.scope(info.group_kind(), info.namespaced, options);
        let watch = self.inner.store.watch(&scope, revision).await?;
        Ok(ObjectWatch::new(watch, options.labels.clone(), typed))
    }

    /// Waits until the `T` called `name` (`None`: there is none) satisfies `predicate`, and returns it.
    /// Bound it with `tokio::time::timeout`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn wait<T: Resource>(
        &self,
        name: &str,
        mut predicate: impl FnMut(Option<&T>) -> bool + Send,
    ) -> Result<Option<Arc<T>>, ClientError> {
        let typed = |object: Option<&AnyObject>| predicate(object.and_then(AnyObjectExt::as_resource));
        Ok(self.wait_any(&self.key::<T>(name), typed).await?.and_then(AnyObjectExt::downcast))
    }

    /// Waits until the object at `key`, of whatever kind (`None`: there is none), satisfies `predicate`, and
    /// returns it, as [`wait`](Self::wait) does.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn wait_any(
        &self,
        key: &ObjectKey,
        mut predicate: impl FnMut(Option<&AnyObject>) -> bool + Send,
    ) -> Result<Option<AnyObject>, ClientError> {
        let scope = Scope { kind: Some(key.kind.clone()), namespace: Some(Arc::clone(&key.namespace)) };
        loop {
            let revision = self.inner.store.revision(&scope).await?;
            let object = self.get_any(key).await?;
            if predicate(object.as_ref()) {
                return Ok(object);
            }
            let mut watch = match self.inner.store.watch(&scope, revision).await {
                Err(StoreError::Compacted { .. }) => continue,
                watch => watch?,
            };
            loop {
                match watch.next().await {
                    Some(Ok(event)) if !event.changes.iter().any(|c| c.key == *key) => {}
                    Some(Err(error)) if !matches!(error, StoreError::Compacted { .. }) => {
                        return Err(error.into());
                    }
                    // Changed, or the watch ended: look again.
                    _ => break,
                }
            }
        }
    }

    /// Begins a change of several objects that happens whole or not at all.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// Stores a new object.
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`], [`ClientError::Invalid`], [`ClientError::Denied`], or a failure of the store.
    pub async fn create<T: Resource>(&self, object: T) -> Result<Arc<T>, ClientError> {
        self.transaction().create(object).commit_one().await
    }

    /// Replaces what is desired and the metadata of an object; its status stays.
    ///
    /// Where the object carries a `resourceVersion`, it must not have changed since.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Conflict`], [`ClientError::Invalid`], [`ClientError::Denied`],
    /// or a failure of the store.
    pub async fn update<T: Resource>(&self, object: T) -> Result<Arc<T>, ClientError> {
        self.transaction().update(object).commit_one().await
    }

    /// Replaces the status of an object; what is desired stays. Where the object carries a
    /// `resourceVersion`, it must not have changed since.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Conflict`], or a failure of the store.
    pub async fn update_status<T: Resource>(&self, object: T) -> Result<Arc<T>, ClientError> {
        self.transaction().update_status(object).commit_one().await
    }

    /// Changes what is desired of an object: reads it, lets `change` edit it, writes it, and does so again
    /// where it changed meanwhile.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn modify<T: Resource>(
        &self,
        name: &str,
        change: impl FnMut(&mut T) + Send,
    ) -> Result<Arc<T>, ClientError> {
        self.edit(name, change, false).await
    }

    /// Changes the status of an object, as [`modify`](Self::modify) does what is desired.
    ///
    /// # Errors
    /// As [`update_status`](Self::update_status).
    pub async fn modify_status<T: Resource>(
        &self,
        name: &str,
        change: impl FnMut(&mut T) + Send,
    ) -> Result<Arc<T>, ClientError> {
        self.edit(name, change, true).await
    }

    async fn edit<T: Resource>(
        &self,
        name: &str,
        mut change: impl FnMut(&mut T) + Send,
        status: bool,
    ) -> Result<Arc<T>, ClientError> {
        let mut tries = 0;
        loop {
            let mut object = (*self.get::<T>(name).await?).clone();
            change(&mut object);
            let transaction = self.transaction();
            let transaction =
                if status { transaction.update_status(object) } else { transaction.update(object) };
            tries += 1;
            match transaction.commit_one().await {
                Err(ClientError::Conflict { .. }) if tries < CONFLICT_TRIES => {}
                result => return result,
            }
        }
    }

    /// Changes an object by a patch.
    ///
    /// # Errors
    /// As [`update`](Self::update); [`ClientError::Invalid`] also where the patch does not fit.
    pub async fn patch<T: Resource>(&self, name: &str, patch: &Patch) -> Result<Arc<T>, ClientError> {
        let key = self.key::<T>(name);
        let object = self.patch_any(&key, patch).await?;
        object.downcast().ok_or(ClientError::NotFound(key))
    }

    /// Sets how many replicas of `T` called `name` are desired.
    ///
    /// # Errors
    /// As [`patch`](Self::patch).
    pub async fn scale<T: Resource>(&self, name: &str, replicas: u32) -> Result<Arc<T>, ClientError> {
        self.patch(name, &Patch::Merge(serde_json::json!({ "spec": { "replicas": replicas } }))).await
    }

    /// Deletes the `T` called `name`. A bound pod ends in its grace time; what has finalizers, when they are
    /// gone; all else at once.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Conflict`] where the options' conditions do not hold, or a
    /// failure of the store.
    pub async fn delete<T: Resource>(&self, name: &str, options: &DeleteOptions) -> Result<(), ClientError> {
        self.delete_any(self.key::<T>(name), options).await
    }

    /// Deletes the object at `key`, of whatever kind.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_any(&self, key: ObjectKey, options: &DeleteOptions) -> Result<(), ClientError> {
        self.transaction().delete_any(key, options.clone()).commit().await.map(|_| ())
    }

    /// Makes an object be as `object` says: creates it, or merges it into the one that is there. What an
    /// earlier apply set and this one leaves out is taken back; what others set stays.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`update`](Self::update).
    pub async fn apply<T: Resource>(&self, object: T) -> Result<Applied<T>, ClientError> {
        let key = self.key::<T>(&object.meta().name);
        let applied = self.apply_value(object.to_value()).await?;
        let object = applied.object.downcast::<T>().ok_or(ClientError::NotFound(key))?;
        Ok(Applied { object, outcome: applied.outcome, warnings: applied.warnings })
    }

    /// [Applies](Self::apply) one manifest.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and [`ClientError::Manifest`].
    pub async fn apply_value(&self, manifest: Value) -> Result<Applied<dyn Object>, ClientError> {
        let mut applied = self.apply_all(vec![manifest]).await?;
        applied.pop().ok_or_else(|| ClientError::Store(StoreError::Invalid("nothing was applied".to_owned())))
    }
}
