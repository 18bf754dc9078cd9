//! The store as one process sees it: slow, sometimes deaf, sometimes lying by silence.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::model::{AnyObject, ObjectKey, Revision};
use orchestra_core::store::{
    Change, Commit, Committed, Listing, Precondition, Scope, Store, StoreError, Watch, Write,
};

use super::Mutant;
use super::event;
use super::process::{Actor, Link, Process};
use super::watch::Follower;
use super::world::World;

/// How long a call waits for an answer that does not come.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A way to the one store of a simulation: each process has its own, and each controller in it.
#[derive(Clone, Debug)]
pub(crate) struct FaultyStore {
    pub(super) world: Arc<World>,
    pub(super) actor: Actor,
    pub(super) process: Arc<Process>,
    pub(super) link: Arc<Link>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Trouble(&'static str);

impl FaultyStore {
    pub(crate) fn new(world: &Arc<World>, actor: Actor, process: &Arc<Process>, link: &Arc<Link>) -> Self {
        Self { world: Arc::clone(world), actor, process: Arc::clone(process), link: Arc::clone(link) }
    }

    /// The same way, for another part of the same process.
    pub(crate) fn of(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }

    fn failed(operation: &str, why: &'static str) -> StoreError {
        StoreError::Failed {
            operation: operation.to_owned(),
            transient: true,
            source: Box::new(Trouble(why)),
        }
    }

    /// The way to the store.
    async fn call(&self, operation: &'static str) -> Result<(), StoreError> {
        self.world.seam().await;
        self.process.goes_on().await;
        if !self.link.is_up() {
            tokio::time::sleep(self.world.up_to(TIMEOUT)).await;
            self.process.goes_on().await;
            return Err(Self::failed(operation, "the store can't be reached"));
        }
        if self.world.strikes(self.world.options.faults.store_refused) {
            self.world.note(format_args!("{} fault: {operation} refused", self.actor));
            return Err(Self::failed(operation, "the store has a bad moment"));
        }
        Ok(())
    }

    /// The way back.
    async fn reply(&self) {
        self.world.seam().await;
        self.process.goes_on().await;
    }

    /// Carries a commit out, and tells the world.
    async fn carry_out(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        if self.world.mutates(Mutant::IgnoresConditions, 0.05) {
            commit.preconditions.retain(|p| !matches!(p, Precondition::Revision(..)));
        }
        let writes: Vec<(ObjectKey, bool)> =
            commit.writes.iter().map(|write| (write.key(), matches!(write, Write::Put(_)))).collect();
        let preconditions = commit.preconditions.clone();
        let before: Vec<_> = writes.iter().map(|(key, _)| self.world.object(key)).collect();
        // The memory store has no await inside: nobody comes between the reads above and the commit.
        let committed = match self.world.store.commit(commit).await {
            Ok(committed) => committed,
            Err(error) => {
                self.world.note(format_args!("{} refused: {error}", self.actor));
                return Err(error);
            }
        };
        let changes: Vec<Change> = writes
            .into_iter()
            .zip(before)
            .zip(&committed.objects)
            .map(|(((key, put), previous), object)| Change {
                key,
                object: object.clone().filter(|_| put),
                previous,
            })
            .filter(|change| change.object.is_some() || change.previous.is_some())
            .collect();
        if changes.is_empty() {
            return Ok(committed);
        }
        for change in &changes {
            self.note(committed.revision, change);
        }
        self.world.committed(&Arc::new(event::Committed {
            revision: committed.revision,
            at: self.world.at(),
            actor: self.actor,
            changes: changes.into(),
            preconditions,
        }));
        Ok(committed)
    }

    fn note(&self, revision: Revision, change: &Change) {
        let what = match (&change.previous, &change.object) {
            (None, Some(_)) => "creates",
            (Some(old), Some(new)) if !old.meta().is_deleting() && new.meta().is_deleting() => "deletes",
            (Some(old), Some(new)) if old.same_desired(&**new) && !old.same_status(&**new) => {
                "writes status of"
            }
            (Some(_), Some(_)) => "updates",
            (_, None) => "removes",
        };
        self.world.note(format_args!("{} r{revision} {what} {}", self.actor, change.key));
    }

    /// Changes an object that a commit depends on, in between its author's reading and writing.
    async fn rival(&self, commit: &Commit) {
        let keys = commit.preconditions.iter().filter_map(|p| match p {
            Precondition::Revision(key, _) if !matches!(&*key.kind.kind, "Namespace") => Some(key),
            _ => None,
        });
        let keys: Vec<&ObjectKey> = keys.collect();
        if keys.is_empty() {
            return;
        }
        let pick = usize::try_from(self.world.rng.below(keys.len() as u64)).unwrap_or(0);
        let Some(object) = self.world.object(keys[pick]) else { return };
        let commit = Commit::new()
            .require(Precondition::Revision(keys[pick].clone(), object.meta().resource_version))
            .put_any(touched(&object, self.world.rng.next()));
        // It cannot conflict: nothing came in between.
        let _done = self.of(Actor::Rival).carry_out(commit).await.is_ok();
    }
}

/// The object with a note that means nothing.
fn touched(object: &AnyObject, mark: u64) -> AnyObject {
    let mut object = object.clone_object();
    if let Some(object) = Arc::get_mut(&mut object) {
        object.meta_mut().annotations.insert("simulation/touched".to_owned(), format!("{mark:x}"));
    }
    object
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        self.call("get").await?;
        let object = self.world.store.get(key).await?;
        self.reply().await;
        Ok(object)
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        self.call("list").await?;
        let listing = self.world.store.list(scope).await?;
        self.world.listed(self.actor, scope, &listing);
        self.reply().await;
        Ok(listing)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.call("commit").await?;
        let faults = &self.world.options.faults;
        if self.world.strikes(faults.store_rival) {
            self.rival(&commit).await;
        }
        if self.world.strikes(faults.store_lost_request) {
            self.world.note(format_args!("{} fault: a commit is lost", self.actor));
            tokio::time::sleep(self.world.up_to(TIMEOUT)).await;
            self.process.goes_on().await;
            return Err(StoreError::OutcomeUnknown(Box::new(Trouble("no answer"))));
        }
        let done = self.carry_out(commit).await;
        if done.is_ok() && (self.world.strikes(faults.store_lost_reply) || !self.link.is_up()) {
            self.world.note(format_args!("{} fault: a reply is lost", self.actor));
            tokio::time::sleep(self.world.up_to(TIMEOUT)).await;
            self.process.goes_on().await;
            return Err(StoreError::OutcomeUnknown(Box::new(Trouble("no answer"))));
        }
        self.reply().await;
        done
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        self.call("watch").await?;
        let inner = self.world.store.watch(scope, after).await?;
        let follower = Follower::new(self, scope, after, inner);
        self.reply().await;
        Ok(follower.into_watch())
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        self.call("revision").await?;
        let revision = self.world.store.revision(scope).await?;
        self.reply().await;
        Ok(revision)
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.call("compact").await?;
        self.world.store.compact(through).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// An error of a watch that broke.
pub(super) fn broken() -> StoreError {
    FaultyStore::failed("watch", "the connection broke")
}
