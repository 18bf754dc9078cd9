//! Deleting what nobody owns any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::client::{
    Client, ClientError, DeleteOptions, FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Propagation,
};
use crate::engine::{Backoff, Progress, Queue, Tasks, reconcile};
use crate::model::{AnyObject, GroupKind, ObjectKey, OwnerReference, Revision, Uid};
use crate::rng::Rng;
use crate::store::{Change, Scope, Store, StoreError};

/// How many objects are looked at together. Deleting is bound by commits, which overlap.
const WORKERS: usize = 8;

/// Deletes parts whose owners are all gone, and carries out foreground and orphaning deletions.
///
/// An owner counts as gone only after the store itself said that no object of that key has that uid: a
/// listing that failed, or another namespace, never does.
#[derive(Debug)]
pub struct GarbageCollector {
    client: Client,
    queue: Queue<ObjectKey>,
    parts: Mutex<Parts>,
    /// Up to where `parts` shows what is stored.
    shown: Progress,
}

/// Which objects name which owner.
#[derive(Debug, Default)]
struct Parts {
    of: BTreeMap<Uid, BTreeSet<ObjectKey>>,
    /// The owners of each part, to take it out again.
    owners: BTreeMap<ObjectKey, Vec<Uid>>,
}

impl Parts {
    fn set(&mut self, key: &ObjectKey, owners: Vec<Uid>) {
        for uid in self.owners.remove(key).unwrap_or_default() {
            if let Some(parts) = self.of.get_mut(&uid) {
                parts.remove(key);
                if parts.is_empty() {
                    self.of.remove(&uid);
                }
            }
        }
        if !owners.is_empty() {
            for uid in &owners {
                self.of.entry(uid.clone()).or_default().insert(key.clone());
            }
            self.owners.insert(key.clone(), owners);
        }
    }

    fn of(&self, uid: &Uid) -> Vec<ObjectKey> {
        self.of.get(uid).into_iter().flatten().cloned().collect()
    }
}

impl GarbageCollector {
    /// Starts collecting in `tasks`. It follows the objects of all kinds.
    pub fn start(client: &Client, rng: &Rng, tasks: &Tasks) {
        let queue = Queue::new(Backoff::default(), rng.fork());
        let (parts, shown) = (Mutex::default(), Progress::default());
        let collector = Arc::new(Self { client: client.clone(), queue, parts, shown });
        let follower = Arc::clone(&collector);
        tasks.spawn("garbage-watch", async move { follower.follow().await });
        for _ in 0..WORKERS {
            let worker = Arc::clone(&collector);
            tasks.spawn("garbage", async move {
                loop {
                    worker.work().await;
                }
            });
        }
    }

    async fn follow(&self) {
        let store = Arc::clone(self.client.store());
        let mut failures = 0;
        loop {
            match self.follow_once(&*store).await {
                Err(StoreError::Closed) => return,
                Ok(()) | Err(StoreError::Compacted { .. }) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "the garbage collector lost its watch; lists again");
                    tokio::time::sleep(Backoff::default().after(failures)).await;
                }
            }
        }
    }

    async fn follow_once(&self, store: &dyn Store) -> Result<(), StoreError> {
        let scope = Scope::default();
        let listing = store.list(&scope).await?;
        let mut watch = store.watch(&scope, listing.revision).await?;
        self.refill(&listing.objects, listing.revision);
        while let Some(event) = watch.next().await {
            let event = event?;
            event.changes.iter().for_each(|change| self.changed(change));
            self.shown.reach(event.revision);
        }
        store.revision(&scope).await.map(|_| ())
    }

    /// Makes the index equal a list. Nobody sees it half filled, for what is missing there is not spared, or not
    /// waited for; so nothing is looked at before it is whole either.
    fn refill(&self, objects: &[AnyObject], revision: Revision) {
        let mut filled = Parts::default();
        for object in objects {
            filled.set(&ObjectKey::of(&**object), owners_of(object));
        }
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = filled;
        self.shown.reach(revision);
        let concern = |object: &&AnyObject| !object.meta().owner_references.is_empty() || waits(object);
        for object in objects.iter().filter(concern) {
            self.queue.add(ObjectKey::of(&**object));
        }
    }

    fn changed(&self, change: &Change) {
        if let Some(object) = &change.object {
            self.seen(&change.key, object);
        }
        let replaced = |previous: &&AnyObject| {
            change.object.as_ref().is_none_or(|now| now.meta().uid != previous.meta().uid)
        };
        if let Some(gone) = change.previous.as_ref().filter(replaced) {
            let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            for part in parts.of(&gone.meta().uid) {
                self.queue.add(part);
            }
            if change.object.is_none() {
                parts.set(&change.key, Vec::new());
            }
        }
        self.let_go(change);
    }

    /// An owner in foreground deletion may have waited for a part that is gone, or names it no more.
    fn let_go(&self, change: &Change) {
        let Some(previous) = &change.previous else { return };
        let names =
            change.object.as_ref().map_or(&[][..], |object| object.meta().owner_references.as_slice());
        for owner in previous.meta().owner_references.iter().filter(|owner| !names.contains(owner)) {
            self.queue.add(owner_key(owner, previous.meta().namespace.as_str(), true));
            self.queue.add(owner_key(owner, "", false));
        }
    }

    fn seen(&self, key: &ObjectKey, object: &AnyObject) {
        let owners = owners_of(object);
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = parts.owners.get(key).map_or(&[][..], Vec::as_slice);
        let new_owners = known != owners.as_slice();
        if new_owners {
            let some = !owners.is_empty();
            parts.set(key, owners);
            if some {
                self.queue.add(key.clone());
            }
        }
        if waits(object) {
            self.queue.add(key.clone());
        }
    }

    fn parts_of(&self, uid: &Uid) -> Vec<ObjectKey> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).of(uid)
    }

    async fn work(&self) {
        let key = self.queue.next().await;
        match reconcile("garbage-collector", &key, self.process(&key)).await {
            Ok(()) => self.queue.done(&key),
            Err(error) => {
                let retry = self.queue.failed(&key);
                tracing::debug!(%key, %error, ?retry, "garbage collection comes back to it");
            }
        }
    }

    async fn process(&self, key: &ObjectKey) -> Result<(), ClientError> {
        let Some(object) = self.client.get_any(key).await? else { return Ok(()) };
        let meta = object.meta();
        if meta.is_deleting() {
            if waits(&object) {
                // A part that was made before the deletion is among those that are known.
                self.shown.wait_for(meta.resource_version).await;
            }
            if meta.is_held_by(ORPHAN_FINALIZER) {
                return self.orphan(&object).await;
            }
            if meta.is_held_by(FOREGROUND_FINALIZER) {
                return self.foreground(&object).await;
            }
            return Ok(());
        }
        if meta.owner_references.is_empty() {
            return Ok(());
        }
        let (mut waiting, mut there) = (BTreeSet::new(), false);
        for owner in &meta.owner_references {
            match self.owner(owner, &object).await? {
                Owner::Gone => {}
                Owner::Waits => drop(waiting.insert(owner.uid.clone())),
                Owner::There => there = true,
            }
        }
        if there {
            // It stays with the others: who waits for its parts would wait for ever.
            return if waiting.is_empty() { Ok(()) } else { self.take_out(&object, &waiting).await };
        }
        let propagation = if !waiting.is_empty() { Propagation::Foreground } else { Propagation::Background };
        let options = DeleteOptions::default()
            .uid(meta.uid.clone())
            .revision(meta.resource_version)
            .propagation(propagation);
        ignore_gone(self.client.delete_any(key.clone(), &options).await)
    }

    async fn owner(&self, owner: &OwnerReference, part: &AnyObject) -> Result<Owner, ClientError> {
        for namespaced in [true, false] {
            let key = owner_key(owner, &part.meta().namespace, namespaced);
            if let Some(found) = self.client.get_any(&key).await?
                && found.meta().uid == owner.uid
            {
                let waits = found.meta().is_deleting() && found.meta().is_held_by(FOREGROUND_FINALIZER);
                return Ok(if waits { Owner::Waits } else { Owner::There });
            }
            if part.meta().namespace.is_empty() {
                // In which namespace the owner would be nobody knows, so nobody can say that it is gone.
                let elsewhere = self.client.has_namespaces(&key.kind).await?;
                return Ok(if elsewhere { Owner::There } else { Owner::Gone });
            }
        }
        Ok(Owner::Gone)
    }

    /// Deletes the parts, and lets the owner go when those that block it have gone.
    async fn foreground(&self, owner: &AnyObject) -> Result<(), ClientError> {
        let uid = &owner.meta().uid;
        let mut blocked = false;
        for key in self.parts_of(uid) {
            let Some(part) = self.client.get_any(&key).await? else { continue };
            let Some(reference) = part.meta().owner_references.iter().find(|o| o.uid == *uid) else {
                continue;
            };
            blocked |= reference.block_owner_deletion;
            if !part.meta().is_deleting() {
                self.queue.add(key);
            }
        }
        if blocked { Ok(()) } else { self.release(owner, FOREGROUND_FINALIZER).await }
    }

    /// Takes the owner out of its parts, then lets it go.
    async fn orphan(&self, owner: &AnyObject) -> Result<(), ClientError> {
        let uid = &owner.meta().uid;
        for key in self.parts_of(uid) {
            let Some(part) = self.client.get_any(&key).await? else { continue };
            self.take_out(&part, &BTreeSet::from([uid.clone()])).await?;
        }
        self.release(owner, ORPHAN_FINALIZER).await
    }

    /// Has the part name these owners no more.
    async fn take_out(&self, part: &AnyObject, owners: &BTreeSet<Uid>) -> Result<(), ClientError> {
        let mut freed = part.clone_object();
        if let Some(freed) = Arc::get_mut(&mut freed) {
            freed.meta_mut().owner_references.retain(|o| !owners.contains(&o.uid));
        }
        ignore_gone(self.client.transaction().update_any(freed).commit().await.map(|_| ()))
    }

    async fn release(&self, owner: &AnyObject, finalizer: &str) -> Result<(), ClientError> {
        let mut freed = owner.clone_object();
        if let Some(freed) = Arc::get_mut(&mut freed) {
            freed.meta_mut().finalizers.retain(|f| f != finalizer);
        }
        ignore_gone(self.client.transaction().update_any(freed).commit().await.map(|_| ()))
    }
}

enum Owner {
    There,
    /// It is there only until its parts have gone.
    Waits,
    Gone,
}

fn owners_of(object: &AnyObject) -> Vec<Uid> {
    object.meta().owner_references.iter().map(|owner| owner.uid.clone()).collect()
}

/// Whether it is deleted, and goes once its parts have gone or were freed.
fn waits(object: &AnyObject) -> bool {
    let meta = object.meta();
    meta.is_deleting() && (meta.is_held_by(FOREGROUND_FINALIZER) || meta.is_held_by(ORPHAN_FINALIZER))
}

fn owner_key(owner: &OwnerReference, namespace: &str, namespaced: bool) -> ObjectKey {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    ObjectKey {
        kind: GroupKind { group: group.to_owned().into(), kind: owner.kind.clone().into() },
        namespace: if namespaced { namespace.into() } else { "".into() },
        name: owner.name.as_str().into(),
    }
}

fn ignore_gone(result: Result<(), ClientError>) -> Result<(), ClientError> {
    match result {
        Err(ClientError::NotFound(_)) => Ok(()),
        other => other,
    }
}
