//! From what is asked for to what is written: reads, defaults, checks and conditions of one transaction.

mod admit;
mod change;
mod delete;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

pub(crate) use delete::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER};

use super::{Client, ClientError, DeleteOptions};
use crate::model::{AnyObject, Object, ObjectKey, PodSpec, Uid};
use crate::store::{Commit, Committed, Precondition, StoreError};

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

    fn remove(&mut self, key: &ObjectKey) {
        self.reads.insert(key.clone(), None);
        self.results.push(Outcome::Written(self.commit.writes.len()));
        let commit = std::mem::take(&mut self.commit);
        self.commit = commit.delete(key.clone());
    }
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
