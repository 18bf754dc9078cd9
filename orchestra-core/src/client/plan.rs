//! From what is asked for to what is written: reads, defaults, checks and conditions of one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Client, ClientError, DeleteOptions, Operation, Propagation, apply};
use crate::model::{
    AnyObject, AnyObjectExt, Condition, FieldErrors, GPU_DEVICES, MAX_SECONDS, Namespace, NamespacePhase,
    Node, Object, ObjectKey, Pod, PodSpec, PreemptionPolicy, PriorityClass, Revision, Uid, note_when_added,
    validate_meta,
};
use crate::store::{Commit, Committed, Precondition, Scope, StoreError};

/// Holds an object until its parts have gone.
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// Holds an object until its parts have been told that they have no owner.
pub(crate) const ORPHAN_FINALIZER: &str = "orphan";

/// How many random characters follow a `generateName`: Kubernetes' five.
const SUFFIX_LEN: usize = 5;

/// One change that is asked for.
#[derive(Debug)]
pub(super) enum Op {
    Create(AnyObject),
    Update(AnyObject),
    Status(AnyObject),
    /// The manifest as it was written, and decoded.
    Apply(Value, AnyObject),
    Delete(ObjectKey, DeleteOptions),
    /// The pod with this key and identity goes to this node, and has these of its GPUs.
    Bind(ObjectKey, Uid, Arc<str>, Option<Arc<str>>),
}

/// What an op comes to.
enum Outcome {
    /// The commit's write of this number.
    Written(usize),
    /// There is nothing to change.
    Same(AnyObject),
}

/// The commit that the ops of one transaction come to, against the objects as they are now.
pub(super) struct Plan<'c> {
    client: &'c Client,
    pub(super) commit: Commit,
    results: Vec<Outcome>,
    /// What was read, once each.
    reads: BTreeMap<ObjectKey, Option<AnyObject>>,
    /// Keys whose revision was not named by the caller but read here: a conflict there is tried again.
    guesses: BTreeSet<ObjectKey>,
    creates: BTreeSet<ObjectKey>,
    /// Pod specs that were admitted in this plan, by the address of the shared spec they came from: the pods
    /// of one template are checked once and go on sharing. The specs are kept, so that addresses stay unique.
    admitted: BTreeMap<usize, (Arc<PodSpec>, Arc<PodSpec>)>,
}

impl<'c> Plan<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self {
            client,
            commit: Commit::new(),
            results: Vec::new(),
            reads: BTreeMap::new(),
            guesses: BTreeSet::new(),
            creates: BTreeSet::new(),
            admitted: BTreeMap::new(),
        }
    }

    pub(super) async fn add(&mut self, op: &Op) -> Result<(), ClientError> {
        match op {
            Op::Create(object) => self.create(object).await,
            Op::Update(object) => self.update(object).await,
            Op::Status(object) => self.status(object).await,
            Op::Delete(key, options) => self.delete(key, options).await,
            Op::Apply(manifest, object) => self.apply(manifest, object).await,
            Op::Bind(key, uid, node, devices) => self.bind(key, uid, node, devices.as_deref()).await,
        }
    }

    /// Whether a conflict at `key` is due to a read of this plan, which another may do better.
    pub(super) fn guessed(&self, key: &ObjectKey) -> bool {
        self.guesses.contains(key)
    }

    /// Names what a store's conflict means for the ops.
    pub(super) fn explain(&self, error: StoreError) -> ClientError {
        match error {
            StoreError::Conflict { key, .. } if self.creates.contains(&key) => {
                ClientError::AlreadyExists(key)
            }
            StoreError::Conflict { ref key, .. } => {
                ClientError::Conflict { key: key.clone(), why: error.to_string() }
            }
            error => error.into(),
        }
    }

    /// The object of each op, after the commit.
    pub(super) fn results(self, committed: Option<Committed>) -> Vec<AnyObject> {
        let mut objects = committed.map(|c| c.objects).unwrap_or_default();
        let result = |result| match result {
            Outcome::Same(object) => Some(object),
            Outcome::Written(i) => objects.get_mut(i).and_then(Option::take),
        };
        self.results.into_iter().filter_map(result).collect()
    }

    async fn read(&mut self, key: &ObjectKey) -> Result<Option<AnyObject>, ClientError> {
        if let Some(known) = self.reads.get(key) {
            return Ok(known.clone());
        }
        let object = self.client.get_any(key).await?;
        self.reads.insert(key.clone(), object.clone());
        Ok(object)
    }

    fn write(&mut self, key: &ObjectKey, object: AnyObject) {
        // A later op of the same transaction must see the namespace that an earlier one makes.
        self.reads.insert(key.clone(), Some(Arc::clone(&object)));
        self.results.push(Outcome::Written(self.commit.writes.len()));
        let commit = std::mem::take(&mut self.commit);
        self.commit = commit.put_any(object);
    }

    fn condition(&mut self, key: &ObjectKey, live: &dyn Object, guess: bool) {
        self.commit.preconditions.push(Precondition::Revision(key.clone(), live.meta().resource_version));
        if guess {
            self.guesses.insert(key.clone());
        }
    }

    async fn create(&mut self, object: &AnyObject) -> Result<(), ClientError> {
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

    /// A namespace must be there and not on its way out, and stay so until the commit: what is created
    /// before its deletion is seen by the deletion, and nothing is created after.
    async fn require_namespace(&mut self, key: &ObjectKey) -> Result<(), ClientError> {
        let namespace = ObjectKey::new::<Namespace>("", Arc::clone(&key.namespace));
        let denied = |why: String| ClientError::Denied { key: key.clone(), why };
        let Some(live) = self.read(&namespace).await? else {
            return Err(denied(format!("namespace {} does not exist; create it first", key.namespace)));
        };
        if live.meta().is_deleting() {
            return Err(denied(format!(
                "namespace {} is being deleted; wait until it is gone",
                key.namespace
            )));
        }
        if !self.creates.contains(&namespace) && !self.guesses.contains(&namespace) {
            self.condition(&namespace, &*live, true);
        }
        Ok(())
    }

    /// Fills in, checks, and lets the application's admissions look at what is desired.
    async fn admit(
        &mut self,
        key: &ObjectKey,
        object: &mut AnyObject,
        old: Option<&dyn Object>,
    ) -> Result<(), ClientError> {
        if self.admit_known_pod(object, old) {
            return Ok(());
        }
        let from = object.as_resource::<Pod>().map(|pod| Arc::clone(&pod.spec));
        self.resolve_priority(key, object).await?;
        let o = unique(object);
        o.set_defaults();
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let applying = self.client.inner.admission.iter().filter(|admission| admission.applies_to(o.info()));
        for admission in applying.cloned().collect::<Vec<_>>() {
            let refused = |why| ClientError::Denied { key: key.clone(), why };
            admission.admit(operation, o, old).map_err(refused)?;
        }
        if let Some(node) = (o as &mut dyn std::any::Any).downcast_mut::<Node>() {
            let old = old.and_then(|old| (old as &dyn std::any::Any).downcast_ref::<Node>());
            let old = old.map_or(&[][..], |old| old.spec.taints.as_slice());
            note_when_added(&mut node.spec.taints, old, self.client.inner.clock.now());
        }
        let mut errors = FieldErrors::new();
        validate_meta(o.meta(), o.info(), &mut errors);
        o.validate(&mut errors);
        if let Some(old) = old {
            o.validate_update(old, &mut errors);
        }
        errors.into_result().map_err(|errors| ClientError::Invalid { key: key.clone(), errors })?;
        if let (Some(from), Some(pod)) = (from, object.as_resource::<Pod>()) {
            let admitted = Arc::clone(&pod.spec);
            self.admitted.insert(Arc::as_ptr(&from).addr(), (from, admitted));
        }
        Ok(())
    }

    /// Gives a new pod the spec that an earlier pod of the same template was admitted with.
    fn admit_known_pod(&self, object: &mut AnyObject, old: Option<&dyn Object>) -> bool {
        let looks = |admission: &Arc<dyn super::Admission>| admission.applies_to(object.info());
        if old.is_some() || self.client.inner.admission.iter().any(looks) {
            return false;
        }
        let any: &mut dyn std::any::Any = unique(object);
        let Some(pod) = any.downcast_mut::<Pod>() else { return false };
        let Some((_, admitted)) = self.admitted.get(&Arc::as_ptr(&pod.spec).addr()) else { return false };
        pod.spec = Arc::clone(admitted);
        let mut errors = FieldErrors::new();
        validate_meta(&pod.metadata, pod.info(), &mut errors);
        errors.is_empty()
    }

    /// Gives a pod the number behind its priority class, and whether it preempts.
    async fn resolve_priority(&mut self, key: &ObjectKey, object: &mut AnyObject) -> Result<(), ClientError> {
        let Some(pod) = object.as_resource::<Pod>() else { return Ok(()) };
        if pod.spec.priority.is_some() {
            return Ok(());
        }
        let name = pod.spec.priority_class_name.clone();
        let value = match name.as_str() {
            "" => {
                let classes = self.client.inner.store.list(&Scope::of::<PriorityClass>()).await?;
                let mut classes =
                    classes.objects.into_iter().filter_map(AnyObjectExt::downcast::<PriorityClass>);
                classes.find(|c| c.global_default).map(|c| (c.value, c.preemption_policy))
            }
            "system-node-critical" => Some((2_000_001_000, PreemptionPolicy::default())),
            "system-cluster-critical" => Some((2_000_000_000, PreemptionPolicy::default())),
            _ => {
                let class = ObjectKey::new::<PriorityClass>("", name.as_str());
                let class = self.read(&class).await?.and_then(AnyObjectExt::downcast::<PriorityClass>);
                let why = format!("priority class {name} does not exist; create it first");
                let class = class.ok_or(ClientError::Denied { key: key.clone(), why })?;
                Some((class.value, class.preemption_policy))
            }
        };
        let any: &mut dyn std::any::Any = unique(object);
        if let (Some((value, policy)), Some(pod)) = (value, any.downcast_mut::<Pod>()) {
            let spec = Arc::make_mut(&mut pod.spec);
            spec.priority = Some(value);
            spec.preemption_policy.get_or_insert(policy);
        }
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

    async fn update(&mut self, object: &AnyObject) -> Result<(), ClientError> {
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

    async fn status(&mut self, object: &AnyObject) -> Result<(), ClientError> {
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

    async fn bind(
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

    fn remove(&mut self, key: &ObjectKey) {
        self.reads.insert(key.clone(), None);
        self.results.push(Outcome::Written(self.commit.writes.len()));
        let commit = std::mem::take(&mut self.commit);
        self.commit = commit.delete(key.clone());
    }

    async fn delete(&mut self, key: &ObjectKey, options: &DeleteOptions) -> Result<(), ClientError> {
        let live = self.read(key).await?.ok_or_else(|| ClientError::NotFound(key.clone()))?;
        let conflict = |why: &str| ClientError::Conflict { key: key.clone(), why: why.to_owned() };
        if options.uid.as_ref().is_some_and(|uid| *uid != live.meta().uid) {
            return Err(conflict("it is another object of the same name; it was not deleted"));
        }
        if options.revision.is_some_and(|revision| revision != live.meta().resource_version) {
            return Err(conflict("it changed since it was read; it was not deleted"));
        }
        let mut object = live.clone_object();
        self.mark_deleted(&mut object, options);
        if !is_over(&*object) && object.meta() == live.meta() {
            self.results.push(Outcome::Same(live));
            return Ok(());
        }
        self.condition(key, &*live, options.revision.is_none());
        if is_over(&*object) {
            self.remove(key);
        } else {
            self.write(key, object);
        }
        Ok(())
    }

    /// Sets what a deletion sets: the time, the grace, and who must agree before the object disappears.
    fn mark_deleted(&self, object: &mut AnyObject, options: &DeleteOptions) {
        let grace = object.as_resource::<Pod>().map(|pod| {
            let own = pod.spec.termination_grace_period_seconds;
            let asked = options.grace_period_seconds.unwrap_or(own).min(MAX_SECONDS);
            // Nobody runs a pod that is not bound, or that has ended.
            if pod.node_name.is_none() || pod.is_terminal() { 0 } else { asked }
        });
        let now = self.client.inner.clock.now();
        let o = unique(object);
        if let Some(namespace) = (o as &mut dyn std::any::Any).downcast_mut::<Namespace>() {
            namespace.status.phase = NamespacePhase::Terminating;
        }
        let meta = o.meta_mut();
        let first = !meta.is_deleting();
        if first {
            meta.deletion_timestamp = Some(now + Duration::from_secs(grace.unwrap_or(0)));
            meta.deletion_grace_period_seconds = grace;
        } else if let (Some(new), Some(old)) = (grace, meta.deletion_grace_period_seconds)
            && new < old
        {
            // A second deletion can only shorten the first one's grace.
            meta.deletion_timestamp = Some(now + Duration::from_secs(new));
            meta.deletion_grace_period_seconds = Some(new);
        }
        let finalizer = match options.propagation {
            Propagation::Background => return,
            Propagation::Foreground => FOREGROUND_FINALIZER,
            Propagation::Orphan => ORPHAN_FINALIZER,
        };
        if first && !meta.is_held_by(finalizer) {
            meta.finalizers.push(finalizer.to_owned());
        }
    }

    async fn apply(&mut self, manifest: &Value, object: &AnyObject) -> Result<(), ClientError> {
        let key = self.key_of(&**object);
        let Some(live) = self.read(&key).await? else {
            let created = apply::with_last_applied(object, manifest);
            return self.create(&created).await;
        };
        let merged = apply::merge(&self.client.inner.scheme, manifest, &*live)?;
        self.replace(&key, &merged, &live, true).await
    }
}

/// Whether a deleted object has nothing left to wait for.
fn is_over(object: &dyn Object) -> bool {
    let meta = object.meta();
    let any: &dyn std::any::Any = object;
    let held = any.downcast_ref::<Namespace>().is_some_and(|n| !n.spec.finalizers.is_empty());
    meta.is_deleting()
        && meta.finalizers.is_empty()
        && meta.deletion_grace_period_seconds.is_none_or(|grace| grace == 0)
        && !held
}

/// The object behind an `Arc` that was just made.
pub(super) fn unique(object: &mut AnyObject) -> &mut dyn Object {
    if Arc::get_mut(object).is_none() {
        *object = object.clone_object();
    }
    #[allow(clippy::expect_used, reason = "the line above makes it the only reference")]
    Arc::get_mut(object).expect("a fresh copy has one reference")
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("commit", &self.commit).finish_non_exhaustive()
    }
}
