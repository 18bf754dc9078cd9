//! From a rollout's step to the objects it is about.

use std::sync::Arc;

use super::situation::{COMPLETED, MEMORY, SIZED_FOR, Situation, Version};
use super::template::HASH_LABEL;
use super::undo::{REVISION, revision_of};
use crate::client::{Client, ClientError, DeleteOptions};
use crate::controller::endpoints::TRAFFIC_LABEL;
use crate::controller::workload::is_held_back;
use crate::model::{
    Deployment, Labels, ObjectKey, ObjectMeta, OwnerReference, Pod, ReplicaSet, ReplicaSetSpec,
};
use crate::rollout::{Phase, RolloutStep};

/// How many pods are let into traffic and taken out of it in one commit: a switch of more takes several, in which
/// first all those that are to have traffic get it.
const SWITCH_BATCH: usize = 2_000;

/// Annotations of a deployment that its replica sets don't get: what is said of one object only.
const OWN_ANNOTATIONS: [&str; 2] = [REVISION, "kubectl.kubernetes.io/last-applied-configuration"];

/// What a step comes to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    create: Option<ReplicaSet>,
    update: Vec<ReplicaSet>,
    /// Pods whose traffic changes; those that get traffic first.
    traffic: Vec<Pod>,
    /// The deployment, where its annotations change.
    deployment: Option<Deployment>,
    delete: Vec<(ObjectKey, DeleteOptions)>,
    /// What to tell people.
    pub(super) events: Vec<String>,
    /// Whether what is remembered changes: that counts as getting on.
    pub(super) remembers: bool,
}

impl Changes {
    /// The changes that make what is be as `step` wants it. PURE.
    /// `pods`: those of one version; asked for only where some may have to be let into traffic, or taken out of it.
    pub(super) fn of(
        situation: &Situation,
        step: &RolloutStep,
        pods: impl Fn(&Version) -> Vec<Arc<Pod>>,
    ) -> Self {
        let mut changes = Self::default();
        let view = situation.view();
        for (i, version) in situation.versions.iter().enumerate() {
            let is_new = situation.new == Some(i);
            let held = step.held_back.contains(&version.set.metadata.name);
            let right = if held { version.standing.alive } else { 0 };
            if version.standing.held_back != right {
                changes.traffic.extend(pods(version).iter().filter_map(|pod| in_traffic(pod, !held)));
            }
            let wanted = wanted(situation, version, step, is_new, held);
            if wanted.spec.replicas != version.set.spec.replicas {
                changes.events.push(scaled(
                    &version.set.metadata.name,
                    version.set.spec.replicas,
                    wanted.spec.replicas,
                ));
            }
            if is_new {
                let memory = |set: &ReplicaSet| set.metadata.annotations.value(MEMORY).map(str::to_owned);
                changes.remembers = memory(&wanted) != memory(&version.set);
            }
            if wanted != *version.set {
                changes.update.push(wanted);
            }
        }
        changes.traffic.sort_by_key(is_held_back);
        if situation.new.is_none() && !situation.deployment.spec.paused {
            let set = new_set(situation, step);
            changes.events.push(scaled(&set.metadata.name, 0, set.spec.replicas));
            changes.create = Some(set);
        }
        if step.phase == Phase::Complete && !view.has_old_pods() {
            changes.forget_history(situation);
        }
        let (exists, revision) =
            (changes.create.is_some() || situation.new.is_some(), situation.revision.to_string());
        if exists && situation.deployment.metadata.annotations.value(REVISION) != Some(&revision) {
            let mut deployment = (*situation.deployment).clone();
            deployment.metadata.annotations.insert(REVISION.to_owned(), revision);
            changes.deployment = Some(deployment);
        }
        changes
    }

    /// Deletes the oldest versions beyond the limit, of those without pods.
    fn forget_history(&mut self, situation: &Situation) {
        let limit = usize::try_from(situation.deployment.spec.revision_history_limit).unwrap_or(usize::MAX);
        let idle =
            |v: &&Version| v.standing.all == 0 && v.set.spec.replicas == 0 && v.set.status.replicas == 0;
        let others = situation.versions.iter().enumerate().filter(|(i, _)| situation.new != Some(*i));
        // Oldest revision first, as the situation has them.
        let old: Vec<&Version> = others.map(|(_, v)| v).filter(idle).collect();
        let settled = |v: &&&Version| v.set.status.observed_generation >= v.set.metadata.generation;
        for version in old.iter().take(old.len().saturating_sub(limit)).filter(settled) {
            let meta = &version.set.metadata;
            if !meta.is_deleting() {
                let options = DeleteOptions::default().uid(meta.uid.clone()).revision(meta.resource_version);
                self.delete.push((ObjectKey::of(&*version.set), options));
            }
        }
    }

    pub(super) fn creates(&self) -> bool {
        self.create.is_some()
    }

    fn is_empty(&self) -> bool {
        self.create.is_none()
            && self.update.is_empty()
            && self.traffic.is_empty()
            && self.deployment.is_none()
            && self.delete.is_empty()
    }

    /// Writes them: in one commit, but for a switch of very many pods. Answers the deployment as it then is.
    pub(super) async fn commit(
        mut self,
        client: &Client,
        now: &Arc<Deployment>,
    ) -> Result<Arc<Deployment>, ClientError> {
        if self.is_empty() {
            return Ok(Arc::clone(now));
        }
        let owner = (ObjectKey::of(&**now), now.metadata.uid.clone());
        while self.traffic.len() > SWITCH_BATCH {
            let mut transaction = client.transaction().require_uid(owner.0.clone(), owner.1.clone());
            for pod in self.traffic.drain(..SWITCH_BATCH) {
                transaction = transaction.update(pod);
            }
            transaction.commit().await?;
        }
        let mut transaction = client.transaction();
        // What is decided follows from what is desired: that must not have changed.
        transaction = match self.deployment {
            Some(deployment) => transaction.update(deployment),
            None => transaction.require_uid(owner.0.clone(), owner.1),
        };
        if let Some(set) = self.create {
            transaction = transaction.create(set);
        }
        for set in self.update {
            transaction = transaction.update(set);
        }
        for pod in self.traffic {
            transaction = transaction.update(pod);
        }
        for (key, options) in self.delete {
            transaction = transaction.delete_any(key, options);
        }
        let objects = transaction.commit().await?;
        let deployment = objects.into_iter().find(|object| ObjectKey::of(&**object) == owner.0);
        let deployment = deployment.and_then(crate::model::AnyObjectExt::downcast);
        Ok(deployment.unwrap_or_else(|| Arc::clone(now)))
    }
}

fn scaled(name: &str, from: u32, to: u32) -> String {
    let way = if to > from { "up" } else { "down" };
    format!("Scaled {way} replica set {name} from {from} to {to}")
}

/// The pod with the label that lets it into traffic or keeps it out; `None` where it is so already, or ending.
fn in_traffic(pod: &Arc<Pod>, traffic: bool) -> Option<Pod> {
    if is_held_back(pod) != traffic || pod.is_terminal() || pod.is_terminating() {
        return None;
    }
    let mut pod = (**pod).clone();
    set_traffic(&mut pod.metadata.labels, traffic);
    Some(pod)
}

fn set_traffic(map: &mut Labels, traffic: bool) {
    if !traffic {
        map.insert(TRAFFIC_LABEL.to_owned(), "off".to_owned());
    } else if map.contains_key(TRAFFIC_LABEL) {
        map.remove(TRAFFIC_LABEL);
    }
}

/// The replica set as the step wants it.
fn wanted(
    situation: &Situation,
    version: &Version,
    step: &RolloutStep,
    is_new: bool,
    held: bool,
) -> ReplicaSet {
    let spec = &situation.deployment.spec;
    let mut set = (*version.set).clone();
    let size = step.sizes.get(&set.metadata.name).copied().unwrap_or(set.spec.replicas);
    set.spec.replicas = size;
    set.spec.min_ready_seconds = spec.min_ready_seconds;
    let annotations = &mut set.metadata.annotations;
    set_traffic(annotations, !held);
    let mut annotate = |key: &str, value: String| {
        if annotations.value(key) != Some(&value) {
            annotations.insert(key.to_owned(), value);
        }
    };
    if size > 0 || is_new {
        annotate(SIZED_FOR, spec.replicas.to_string());
    }
    if is_new {
        annotate_new(situation, step, annotate);
    }
    set
}

fn annotate_new(situation: &Situation, step: &RolloutStep, mut annotate: impl FnMut(&str, String)) {
    annotate(REVISION, situation.revision.to_string());
    if step.phase == Phase::Complete {
        annotate(COMPLETED, situation.revision.to_string());
    }
    if let Some(memory) = step.memory.as_ref().filter(|memory| **memory != situation.view().memory) {
        annotate(MEMORY, format!("{} {memory}", situation.revision));
    }
}

/// The replica set of the desired version.
fn new_set(situation: &Situation, step: &RolloutStep) -> ReplicaSet {
    let deployment = &situation.deployment;
    let mut template = deployment.spec.template.clone();
    template.metadata.labels.insert(HASH_LABEL.to_owned(), situation.hash.clone());
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.insert(HASH_LABEL.to_owned(), situation.hash.clone());
    let mut annotations = deployment.metadata.annotations.clone();
    for key in OWN_ANNOTATIONS {
        if annotations.contains_key(key) {
            annotations.remove(key);
        }
    }
    set_traffic(&mut annotations, !step.held_back.contains(&situation.name));
    let mut annotate = |key: &str, value: String| drop(annotations.insert(key.to_owned(), value));
    annotate(SIZED_FOR, deployment.spec.replicas.to_string());
    annotate_new(situation, step, annotate);
    ReplicaSet {
        metadata: ObjectMeta {
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            annotations,
            owner_references: vec![OwnerReference::controller_of(&**deployment)],
            ..ObjectMeta::named(situation.name.as_str())
        },
        spec: ReplicaSetSpec {
            replicas: step.sizes.get(&situation.name).copied().unwrap_or(0),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector,
            template,
            ..ReplicaSetSpec::default()
        },
        ..ReplicaSet::default()
    }
}

/// Which revision a replica set's template belongs to, for messages.
pub(super) fn name_of_revision(situation: &Situation, revision: u64) -> Option<&str> {
    let version = situation.versions.iter().find(|v| revision_of(&v.set) == revision)?;
    Some(&version.set.metadata.name)
}
