//! One look at a replica set, and what follows from it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::ReplicaSetController;
use super::guard::Guard;
use super::pace::{Pace, SHORT_LIFE};
use super::ranking::{Ranked, rank};
use crate::client::{Client, ClientError, DeleteOptions, Transaction};
use crate::controller::endpoints::TRAFFIC_LABEL;
use crate::controller::workload::{Readiness, Standing};
use crate::engine::{Next, ReconcileError};
use crate::model::{
    Condition, EventType, ObjectKey, ObjectMeta, OwnerReference, Pod, ReplicaSet, ReplicaSetStatus, Timestamp,
};

/// How many pods one commit makes or deletes: large enough that a thousand pods take a few commits, small enough that
/// a commit stays far below a store's limits, and that others get their turn.
const BATCH: usize = 500;

/// How many characters make a pod's name its own: Kubernetes' five.
const SUFFIX: usize = 5;

/// In the status: how many pods the replica set has ever made. It moves the object with each creation, so that two
/// control planes that see the same missing pods can't both make them.
const CREATED: &str = "createdReplicas";

/// One look at a replica set, and what follows from it.
pub(super) struct Work<'w> {
    controller: &'w ReplicaSetController,
    set: &'w Arc<ReplicaSet>,
    key: ObjectKey,
    now: Timestamp,
    standing: Standing,
    /// Over, and not yet deleted.
    failed: Vec<Arc<Pod>>,
    fully_labeled: u32,
    create: Vec<Pod>,
    /// What goes, and how it stands.
    delete: Vec<Ranked>,
    guard: Option<Guard>,
    /// When time alone asks for another look.
    wait: Option<Duration>,
    replaces: bool,
}

impl<'w> Work<'w> {
    pub(super) fn new(
        controller: &'w ReplicaSetController,
        set: &'w Arc<ReplicaSet>,
        now: Timestamp,
    ) -> Self {
        let labels = &set.spec.template.metadata.labels;
        let (standing, failed, fully_labeled) =
            controller.indexes.rosters.read(&set.metadata.uid, |roster| {
                (roster.standing(min_ready(set), now), roster.failed(), roster.labeled(labels))
            });
        Self {
            controller,
            set,
            key: ObjectKey::of(&**set),
            now,
            standing,
            failed,
            fully_labeled,
            create: Vec::new(),
            delete: Vec::new(),
            guard: None,
            wait: standing.next.map(|at| at.since(now)),
            replaces: false,
        }
    }

    pub(super) fn plan(&mut self, client: &Client) {
        let want = usize::try_from(self.set.spec.replicas).unwrap_or(usize::MAX);
        let have = usize::try_from(self.standing.alive).unwrap_or(usize::MAX);
        if have < want {
            self.plan_creation(client, want - have);
        } else {
            self.delete_failed();
            if have > want {
                self.plan_deletion(have - want);
            }
        }
    }

    fn delete_failed(&mut self) {
        let failed = std::mem::take(&mut self.failed).into_iter().take(BATCH);
        self.delete = failed.map(|pod| Ranked { pod, readiness: Readiness::NotReady }).collect();
    }

    /// Chooses how many pods are made now, and which failed ones they stand in for.
    fn plan_creation(&mut self, client: &Client, missing: usize) {
        let (now, mut paces) = (Instant::now(), self.controller.paces());
        let (generation, replicas) = (self.set.metadata.generation, self.set.spec.replicas);
        let pace = paces.entry(self.key.clone()).or_insert_with(|| Pace::new(generation, replicas, now));
        let failing = self.failed.iter().filter(|pod| died_young(pod)).count();
        let wait = if failing > 0 { pace.wait(now) } else { Duration::ZERO };
        let mut count = missing.min(BATCH);
        if wait > Duration::ZERO {
            self.wait = Some(self.wait.map_or(wait, |before| before.min(wait)));
            count = count.min(missing.saturating_sub(failing));
            self.failed.retain(|pod| !died_young(pod));
        }
        match pace.allowed(generation, replicas, now) {
            Ok(allowed) => count = count.min(usize::try_from(allowed).unwrap_or(usize::MAX)),
            Err(wait) => {
                self.wait = Some(self.wait.map_or(wait, |before| before.min(wait)));
                count = 0;
            }
        }
        drop(paces);
        if count == 0 {
            return;
        }
        self.replaces = failing > 0 && wait.is_zero();
        self.delete_failed();
        self.create = self.new_pods(client, count);
        if count == BATCH && missing > BATCH {
            self.wait = Some(Duration::ZERO);
        }
    }

    fn new_pods(&self, client: &Client, count: usize) -> Vec<Pod> {
        let (set, template) = (self.set, &self.set.spec.template);
        let mut labels = template.metadata.labels.clone();
        if set.metadata.annotations.value(TRAFFIC_LABEL) == Some("off") {
            labels.insert(TRAFFIC_LABEL.to_owned(), "off".to_owned());
        }
        let metadata = ObjectMeta {
            namespace: set.metadata.namespace.clone(),
            labels,
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: vec![OwnerReference::controller_of(&**set)],
            ..ObjectMeta::default()
        };
        // Of the names of ten thousand pods two are likely to be equal: look before taking one.
        let mut taken = BTreeSet::new();
        let mut pods = Vec::with_capacity(count);
        while pods.len() < count {
            let name = format!("{}-{}", set.metadata.name, client.rng().suffix(SUFFIX));
            let key = ObjectKey::new::<Pod>(set.metadata.namespace.as_str(), name.as_str());
            if self.controller.indexes.pods.get(&key).is_none() && taken.insert(name.clone()) {
                let metadata = ObjectMeta { name, ..metadata.clone() };
                pods.push(Pod { metadata, spec: Arc::clone(&template.spec), ..Pod::default() });
            }
        }
        pods
    }

    /// Chooses the pods that go: those missed least, and of those that serve only as many as may.
    fn plan_deletion(&mut self, surplus: usize) {
        let (indexes, set) = (&self.controller.indexes, self.set);
        let mut alive: Vec<Ranked> = indexes.rosters.read(&set.metadata.uid, |roster| {
            let alive = roster.alive(min_ready(set), self.now);
            alive.map(|(pod, readiness)| Ranked { pod: Arc::clone(pod), readiness }).collect()
        });
        rank(&mut alive);
        let serves = alive.iter().take(surplus).any(Ranked::serves);
        let guard = if serves { Guard::of(set, indexes, min_ready(set), self.now) } else { None };
        let mut spare = guard.as_ref().map_or(usize::MAX, Guard::spare);
        let room = BATCH.saturating_sub(self.delete.len());
        let mut chosen = Vec::new();
        for ranked in alive {
            if chosen.len() == surplus.min(room) {
                break;
            }
            if ranked.serves() {
                if spare == 0 {
                    let next = guard.as_ref().and_then(|guard| guard.next).map(|at| at.since(self.now));
                    self.wait = [self.wait, next].into_iter().flatten().min();
                    continue;
                }
                spare -= 1;
                self.guard.clone_from(&guard);
            }
            chosen.push(ranked);
        }
        self.delete.extend(chosen);
    }

    pub(super) async fn carry_out(mut self, client: &Client) -> Result<Next, ReconcileError> {
        let status = self.status();
        if status != self.set.status {
            let mut transaction =
                client.transaction().update_status(ReplicaSet { status, ..(**self.set).clone() });
            transaction = self.deletions(transaction);
            let created = self.create.len();
            for pod in std::mem::take(&mut self.create) {
                transaction = transaction.create(pod);
            }
            match transaction.commit().await {
                Ok(_) => self.done(client, created),
                Err(error) => return Err(self.failed(client, created, error).await),
            }
        } else if !self.delete.is_empty() {
            self.deletions(client.transaction()).commit().await?;
            self.done(client, 0);
        }
        Ok(self.wait.map_or(Next::OnChange, Next::After))
    }

    fn deletions<'c>(&self, mut transaction: Transaction<'c>) -> Transaction<'c> {
        let victims: Vec<ObjectKey> = self.delete.iter().map(|ranked| ObjectKey::of(&*ranked.pod)).collect();
        if let Some(guard) = &self.guard {
            transaction = guard.bind(transaction, &victims);
        }
        for (Ranked { pod, .. }, key) in self.delete.iter().zip(victims) {
            let (uid, revision) = (pod.metadata.uid.clone(), pod.metadata.resource_version);
            transaction = transaction.delete_any(key, DeleteOptions::default().uid(uid).revision(revision));
        }
        transaction
    }

    /// The status as it is after what is planned.
    fn status(&self) -> ReplicaSetStatus {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let going = || self.delete.iter().filter(|ranked| !ranked.pod.is_terminal());
        let at_least = |least: Readiness| count(going().filter(|ranked| ranked.readiness >= least).count());
        let ending = going().filter(|ranked| ranked.pod.node_name.is_some()).count();
        let (standing, created) = (self.standing, count(self.create.len()));
        let mut status = ReplicaSetStatus {
            replicas: standing.alive.saturating_sub(at_least(Readiness::NotReady)) + created,
            fully_labeled_replicas: self.fully_labeled.saturating_sub(count(going().count())) + created,
            ready_replicas: standing.ready.saturating_sub(at_least(Readiness::Ready)),
            available_replicas: standing.available.saturating_sub(at_least(Readiness::Available)),
            terminating_replicas: Some(standing.terminating + count(ending)),
            observed_generation: self.set.metadata.generation,
            ..self.set.status.clone()
        };
        status.fully_labeled_replicas = status.fully_labeled_replicas.min(status.replicas);
        if created > 0 {
            let before = status.extra.0.get(CREATED).and_then(Value::as_u64).unwrap_or(0);
            status.extra.0.insert(CREATED.to_owned(), Value::from(before + u64::from(created)));
        }
        if created > 0 || status.replicas >= self.set.spec.replicas {
            status.conditions.retain(|c| c.type_ != "ReplicaFailure");
        }
        status
    }

    fn done(&self, client: &Client, created: usize) {
        let count = u32::try_from(created).unwrap_or(u32::MAX);
        if created > 0
            && let Some(pace) = self.controller.paces().get_mut(&self.key)
        {
            pace.made(count);
            if self.replaces {
                pace.replaced(Instant::now());
            }
        }
        let clock = &**client.clock();
        let tell = |reason: &str, what: String| {
            self.controller.recorder.event(clock, &**self.set, EventType::Normal, reason, what);
        };
        if created > 0 {
            tell("SuccessfulCreate", format!("Created {}", pods(created)));
        }
        if !self.delete.is_empty() {
            tell("SuccessfulDelete", format!("Deleted {}", pods(self.delete.len())));
        }
    }

    /// Tells that pods can't be made, in the status and as an event.
    async fn failed(&self, client: &Client, creating: usize, error: ClientError) -> ClientError {
        // Without the pod's name, which is another one each time: equal failures are one event, and change no status.
        let why = match &error {
            ClientError::Denied { why, .. } => why.clone(),
            ClientError::Invalid { errors, .. } => errors.to_string(),
            _ => return error,
        };
        if creating == 0 {
            return error;
        }
        let message = format!("{} can't be made: {why}", pods(creating));
        let recorder = &self.controller.recorder;
        recorder.event(&**client.clock(), &**self.set, EventType::Warning, "FailedCreate", message.as_str());
        let mut set = (**self.set).clone();
        let condition =
            Condition::new("ReplicaFailure", true, self.now).reason("FailedCreate").message(message);
        if condition.set_in(&mut set.status.conditions)
            && let Err(second) = client.update_status(set).await
        {
            tracing::debug!(%second, "the status does not say that pods can't be made");
        }
        error
    }
}

/// For how long a pod must be ready until it is available.
fn min_ready(set: &ReplicaSet) -> Duration {
    Duration::from_secs(set.spec.min_ready_seconds.into())
}

/// Whether a pod that is over never ran for long. One that never started did not.
fn died_young(pod: &Pod) -> bool {
    let made = pod.metadata.creation_timestamp.unwrap_or(Timestamp::EPOCH);
    let ends = pod.status.container_statuses.iter().filter_map(|c| c.state.terminated()?.finished_at);
    ends.max().is_none_or(|end| end.since(made) < SHORT_LIFE)
}

fn pods(n: usize) -> String {
    if n == 1 { "1 pod".to_owned() } else { format!("{n} pods") }
}
