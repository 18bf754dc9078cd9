//! Rolling out one version after the other.

mod carry_out;
mod mark;
mod rollouts;
mod situation;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod undo;

use std::sync::Arc;

use async_trait::async_trait;

pub(in crate::controller) use rollouts::RECREATE;
pub use rollouts::{ROLLOUT, Rollouts};
pub use situation::ROLLBACK_ON_FAILURE;
pub use status::{ROLLED_BACK, is_rolled_out};
pub use template::HASH_LABEL;
pub use undo::{REVISION, UNDO_TO, undo};

use super::workload::{Claims, WorkloadIndexes, restarts};
use crate::client::{Client, ClientError};
use crate::engine::{CacheChange, Caches, Controller, Next, ReconcileError, Reconciler, Recorder, Tasks};
use crate::model::{Condition, Deployment, EventType, ObjectKey, Pod, ReplicaSet};
use crate::rng::Rng;
use crate::rollout::{Phase, RolloutStep};
use carry_out::{Changes, name_of_revision};
use situation::{Situation, UNDONE, Version};

/// Rolls out the versions of each deployment, as its [`Rollout`](crate::rollout::Rollout) says.
#[derive(Debug)]
pub struct DeploymentController {
    indexes: WorkloadIndexes,
    rollouts: Rollouts,
    recorder: Recorder,
}

impl DeploymentController {
    /// Starts the controller in `tasks`.
    pub fn start(
        rollouts: Rollouts,
        indexes: &WorkloadIndexes,
        client: &Client,
        caches: &Caches,
        recorder: &Recorder,
        rng: &Rng,
        tasks: &Tasks,
    ) {
        let recorder = recorder.component("deployment-controller");
        let reconciler = Self { indexes: indexes.clone(), rollouts, recorder };
        let (by_pod, by_set) = (indexes.clone(), indexes.clone());
        Controller::new("deployment", client, caches, rng)
            .on_desired::<Deployment>()
            .owns::<Deployment, ReplicaSet>()
            .maps::<ReplicaSet>(move |change, add| would_own(&by_set, change, add))
            .maps::<Pod>(move |change, add| crashed(&by_pod, change, add))
            .start(reconciler, tasks);
    }
}

/// A replica set that nobody manages concerns the deployments that would have it.
fn would_own(
    indexes: &WorkloadIndexes,
    change: &CacheChange<'_, ReplicaSet>,
    add: &mut dyn FnMut(ObjectKey),
) {
    let Some(orphan) = change.new.filter(|set| set.metadata.controller().is_none()) else { return };
    for deployment in indexes.deployments.in_namespace(&change.key.namespace) {
        if deployment.spec.selector.matches(&orphan.metadata.labels) {
            add(ObjectKey::of(&*deployment));
        }
    }
}

/// A crash shows in no number of the replica set.
fn crashed(indexes: &WorkloadIndexes, change: &CacheChange<'_, Pod>, add: &mut dyn FnMut(ObjectKey)) {
    let Some(pod) = change.new.filter(|pod| restarts(pod) > change.old.map_or(0, |old| restarts(old))) else {
        return;
    };
    let set = indexes.replica_set_of(pod);
    if let Some(deployment) = set.and_then(|set| indexes.deployment_of(&set)) {
        add(ObjectKey::of(&*deployment));
    }
}

#[async_trait]
impl Reconciler for DeploymentController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(deployment) = self.indexes.deployments.get(key).filter(|d| !d.metadata.is_deleting()) else {
            return Ok(Next::OnChange);
        };
        let client = client.namespace(Arc::clone(&key.namespace));
        let owned = self.indexes.sets_of.get(&deployment.metadata.uid);
        let orphans = self.indexes.orphan_sets.get(&*key.namespace);
        let claims = Claims::of(&deployment.spec.selector, owned, orphans);
        if claims.settle(&client, &*deployment).await?
            || self.undo_as_asked(&client, &deployment, &claims.owned).await?
        {
            return Ok(Next::OnChange);
        }
        let now = client.clock().now();
        let situation = Situation::new(&self.indexes, deployment, claims.owned, now);
        if let Some(forgetful) = situation.without_past_undoing() {
            client.update(forgetful).await?;
            return Ok(Next::OnChange);
        }
        let step = match self.rollouts.of(&situation.deployment) {
            Ok(rollout) => tracing::debug_span!("rollout", deployment = %key)
                .in_scope(|| rollout.step(&situation.view(), now)),
            Err(name) => {
                let message =
                    format!("there is no rollout called `{name}`; register it, or change {ROLLOUT}");
                RolloutStep::new(Phase::Failed, "UnknownRollout", message)
            }
        };
        self.carry_out(&client, &situation, &step).await
    }
}

impl DeploymentController {
    async fn carry_out(
        &self,
        client: &Client,
        situation: &Situation,
        step: &RolloutStep,
    ) -> Result<Next, ReconcileError> {
        let known = step.reason != "UnknownRollout";
        let pods = |version: &Version| self.indexes.rosters.pods(&version.set.metadata.uid);
        let mut changes = if known { Changes::of(situation, step, pods) } else { Changes::default() };
        let (created, events) = (changes.creates(), std::mem::take(&mut changes.events));
        let got_on = situation.begins || changes.remembers;
        let back =
            step.rollback_to.and_then(|revision| Some((revision, name_of_revision(situation, revision)?)));
        let deployment = match back {
            // What is given up is not changed any more.
            Some(_) => Arc::clone(&situation.deployment),
            None => {
                let deployment = changes.commit(client, &situation.deployment).await?;
                for event in events {
                    self.tell(client, &deployment, EventType::Normal, "ScalingReplicaSet", event);
                }
                deployment
            }
        };
        let mut status = status::status(situation, step, created, got_on);
        if let Some((revision, _)) = back {
            let message =
                format!("revision {} failed: {}; back to {revision}", situation.revision, step.message);
            let condition = Condition::new(ROLLED_BACK, true, situation.now).reason(step.reason.as_ref());
            condition.message(message).set_in(&mut status.conditions);
        }
        let mut live = Arc::clone(&deployment);
        if status != deployment.status {
            live = client.update_status(Deployment { status, ..(*deployment).clone() }).await?;
            self.tell_phase(client, situation, step);
        }
        if let Some((revision, name)) = back {
            self.go_back(client, &live, situation, revision, name).await?;
            return Ok(Next::OnChange);
        }
        let again = [step.wake_at, situation.settles()].into_iter().flatten().min();
        let wait = again.map(|at| at.since(situation.now));
        Ok(wait.map_or(Next::OnChange, Next::After))
    }

    /// Gives the deployment the template of an older revision, after its rollout failed.
    async fn go_back(
        &self,
        client: &Client,
        live: &Arc<Deployment>,
        situation: &Situation,
        revision: u64,
        name: &str,
    ) -> Result<(), ClientError> {
        let sets: Vec<Arc<ReplicaSet>> = situation.versions.iter().map(|v| Arc::clone(&v.set)).collect();
        let denied = |why| ClientError::Denied { key: ObjectKey::of(&**live), why };
        let mut undone = undo(live, &sets, revision).map_err(denied)?;
        undone.metadata.annotations.insert(UNDONE.to_owned(), name.to_owned());
        let undone = client.update(undone).await?;
        let message = format!("Revision {} failed; rolled back to revision {revision}", situation.revision);
        self.tell(client, &undone, EventType::Warning, "DeploymentRollback", message);
        Ok(())
    }

    /// Goes back where the deployment's annotation asks for it. Answers whether it did anything.
    async fn undo_as_asked(
        &self,
        client: &Client,
        deployment: &Arc<Deployment>,
        sets: &[Arc<ReplicaSet>],
    ) -> Result<bool, ClientError> {
        let Some(asked) = deployment.metadata.annotations.value(UNDO_TO) else { return Ok(false) };
        let undone = match asked.parse() {
            Ok(revision) => undo(deployment, sets, revision),
            Err(_) => Err(format!("`{asked}` is no revision: it must be a number")),
        };
        let (mut next, kind, message) = match undone {
            Ok(undone) => (undone, EventType::Normal, format!("Rolled back to revision {asked}")),
            Err(why) => ((**deployment).clone(), EventType::Warning, format!("{UNDO_TO}: {why}")),
        };
        next.metadata.annotations.remove(UNDO_TO);
        client.update(next).await?;
        self.tell(client, deployment, kind, "DeploymentRollback", message);
        Ok(true)
    }

    /// Tells when a rollout comes to an end, and when it fails.
    fn tell_phase(&self, client: &Client, situation: &Situation, step: &RolloutStep) {
        let before = Condition::find(&situation.deployment.status.conditions, "Progressing");
        if before.is_some_and(|before| before.reason == step.reason) {
            return;
        }
        let kind = match step.phase {
            Phase::Failed => EventType::Warning,
            Phase::Complete => EventType::Normal,
            _ => return,
        };
        self.tell(client, &situation.deployment, kind, &step.reason, step.message.as_str());
    }

    fn tell(
        &self,
        client: &Client,
        deployment: &Arc<Deployment>,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.recorder.event(&**client.clock(), &**deployment, kind, reason, message);
    }
}
