//! One look at a deployment: its versions, their pods, and what is known of the rollout.

use std::sync::Arc;
use std::time::Duration;

use super::mark;
use super::template::{HASH_LABEL, hash, same};
use super::undo::revision_of;
use crate::controller::endpoints::TRAFFIC_LABEL;
use crate::controller::replica_set::budget_of;
use crate::controller::workload::{Standing, WorkloadIndexes, settles_after};
use crate::model::{Condition, Deployment, ObjectKey, ReplicaSet, Timestamp};
use crate::rollout::{Counts, ReplicaSetView, RolloutView};

/// On a replica set: for how many pods its size was chosen. Kubernetes' own.
pub(super) const SIZED_FOR: &str = "deployment.kubernetes.io/desired-replicas";
/// On a replica set: the revision as which it was rolled out completely.
pub(super) const COMPLETED: &str = "orchestra.dev/completed-revision";
/// On a replica set: the revision that a rollout remembers something for, and what.
pub(super) const MEMORY: &str = "orchestra.dev/rollout-memory";
/// On a deployment: the name of the replica set that a failed rollout was set back to.
pub(super) const UNDONE: &str = "orchestra.dev/undone";
/// On a deployment: whether failed rollouts are undone.
pub const ROLLBACK_ON_FAILURE: &str = "orchestra.dev/rollback-on-failure";

/// One version of a deployment.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) set: Arc<ReplicaSet>,
    pub(super) standing: Standing,
    /// How many of the available pods are not settled yet.
    settling: u32,
    /// When time alone next settles one.
    settles: Option<Timestamp>,
}

impl Version {
    fn view(&self) -> ReplicaSetView<'_> {
        let (set, standing) = (&self.set, &self.standing);
        let annotation = |key| set.metadata.annotations.value(key);
        let mut view = ReplicaSetView::new(&set.metadata.name, revision_of(set));
        view.hash = set.metadata.labels.value(HASH_LABEL).unwrap_or_default();
        view.size = set.spec.replicas;
        view.pods = standing.alive;
        view.ready = standing.ready;
        view.available = standing.available;
        view.settling = self.settling;
        view.terminating = standing.terminating;
        view.crashing = standing.crashing;
        view.restarts = standing.restarts;
        view.sized_for = annotation(SIZED_FOR).and_then(|n| n.parse().ok());
        view.held_back = self.is_held_back();
        view.completed = annotation(COMPLETED).is_some();
        view
    }

    /// Which of the pods are settled matters only beside those of another version.
    fn look_closer(&mut self, indexes: &WorkloadIndexes, now: Timestamp) {
        let settled = indexes.rosters.standing(&self.set.metadata.uid, settles_after(&self.set), now);
        self.settling = self.standing.available.saturating_sub(settled.available);
        self.settles = settled.next;
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.set.metadata.annotations.value(TRAFFIC_LABEL) == Some("off")
    }
}

/// One look at a deployment.
#[derive(Debug)]
pub(super) struct Situation {
    pub(super) deployment: Arc<Deployment>,
    /// The versions there are, oldest revision first.
    pub(super) versions: Vec<Version>,
    /// Which of them is the desired one, where it exists.
    pub(super) new: Option<usize>,
    /// The name of the desired version's replica set, and its hash.
    pub(super) name: String,
    pub(super) hash: String,
    pub(super) collisions: u32,
    /// The revision that the desired version has, or is to have.
    pub(super) revision: u64,
    /// Whether the rollout begins, or goes on after a pause: its deadline starts anew.
    pub(super) begins: bool,
    /// When the rollout last got on.
    pub(super) progressed_at: Timestamp,
    pub(super) counts: Counts,
    /// How far it has come at its best.
    pub(super) mark: Counts,
    pub(super) now: Timestamp,
    full_name: String,
    memory: String,
}

impl Situation {
    pub(super) fn new(
        indexes: &WorkloadIndexes,
        deployment: Arc<Deployment>,
        sets: Vec<Arc<ReplicaSet>>,
        now: Timestamp,
    ) -> Self {
        let (meta, spec) = (&deployment.metadata, &deployment.spec);
        let min_ready = Duration::from_secs(spec.min_ready_seconds.into());
        let mut versions: Vec<Version> = sets
            .into_iter()
            .map(|set| {
                let standing = indexes.rosters.standing(&set.metadata.uid, min_ready, now);
                Version { set, standing, settling: 0, settles: None }
            })
            .collect();
        if versions.iter().filter(|v| v.standing.alive > 0).count() > 1 {
            versions.iter_mut().for_each(|version| version.look_closer(indexes, now));
        }
        versions.sort_by_cached_key(|v| (revision_of(&v.set), v.set.metadata.name.clone()));
        let matching = |v: &Version| same(&v.set.spec.template, &spec.template);
        // Of two equal ones, which only a person can make, the older one stays.
        let new = versions.iter().position(matching);
        let (name, hash, collisions) = name_of(indexes, &deployment, new.map(|i| &*versions[i].set));
        let others = versions.iter().enumerate().filter(|(i, _)| Some(*i) != new);
        let last = others.map(|(_, v)| revision_of(&v.set)).max().unwrap_or(0);
        let current = new.map_or(0, |i| revision_of(&versions[i].set));
        let turns = current <= last;
        let progressing = Condition::find(&deployment.status.conditions, "Progressing");
        let resumes = !spec.paused && progressing.is_some_and(|c| c.reason == "DeploymentPaused");
        let begins = turns || resumes;
        let progressed_at = progressing.and_then(|c| c.last_update_time).filter(|_| !begins).unwrap_or(now);
        let mut situation = Self {
            full_name: format!("{}/{}", meta.namespace, meta.name),
            revision: if turns { last + 1 } else { current },
            versions,
            new,
            name,
            hash,
            collisions,
            begins,
            progressed_at,
            counts: Counts::default(),
            mark: Counts::default(),
            now,
            memory: String::new(),
            deployment,
        };
        situation.memory = situation.remembered().to_owned();
        situation.note_progress();
        situation
    }

    fn remembered(&self) -> &str {
        let kept = self.new.and_then(|i| self.versions[i].set.metadata.annotations.value(MEMORY));
        match kept.and_then(|kept| kept.split_once(' ')) {
            Some((revision, memory)) if revision.parse() == Ok(self.revision) => memory,
            _ => "",
        }
    }

    fn note_progress(&mut self) {
        let counts = Counts::of(&self.view());
        let remembered = mark::read(&self.deployment.status.extra, self.revision).filter(|_| !self.begins);
        let before = remembered.unwrap_or(counts);
        if counts.got_on_since(&before) {
            self.progressed_at = self.now;
        }
        self.mark = counts.best(&before);
        self.counts = counts;
    }

    /// The deployment without the note of an undoing, where another version is desired now. It would take a later
    /// rollout of the version that was gone back to for that undoing.
    pub(super) fn without_past_undoing(&self) -> Option<Deployment> {
        let noted = self.deployment.metadata.annotations.value(UNDONE)?;
        if noted == self.name {
            return None;
        }
        let mut forgetful = (*self.deployment).clone();
        forgetful.metadata.annotations.remove(UNDONE);
        Some(forgetful)
    }

    /// When time alone next settles a pod.
    pub(super) fn settles(&self) -> Option<Timestamp> {
        self.versions.iter().filter_map(|version| version.settles).min()
    }

    /// What the rollout is shown.
    pub(super) fn view(&self) -> RolloutView<'_> {
        let (deployment, spec) = (&self.deployment, &self.deployment.spec);
        let annotations = &deployment.metadata.annotations;
        let mut new = self.new.map_or_else(ReplicaSetView::default, |i| self.versions[i].view());
        (new.name, new.hash, new.revision) = (&self.name, &self.hash, self.revision);
        let completed_as = self.new.and_then(|i| self.versions[i].set.metadata.annotations.value(COMPLETED));
        let mut view = RolloutView::new(&self.full_name, new);
        view.replicas = spec.replicas;
        view.budget = budget_of(deployment);
        view.min_ready = Duration::from_secs(spec.min_ready_seconds.into());
        let deadline = Some(spec.progress_deadline_seconds).filter(|n| *n < i32::MAX.unsigned_abs());
        view.progress_deadline = deadline.map(|n| Duration::from_secs(n.into()));
        view.progressed_at = self.progressed_at;
        view.paused = spec.paused;
        view.undo_on_failure = annotations.value(ROLLBACK_ON_FAILURE) == Some("true");
        view.done = completed_as.is_some_and(|n| n.parse() == Ok(self.revision));
        view.undone = annotations.value(UNDONE) == Some(&self.name);
        let old = self.versions.iter().enumerate().filter(|(i, _)| Some(*i) != self.new);
        view.old = old.map(|(_, version)| version.view()).collect();
        view.memory = &self.memory;
        view.annotations = annotations.clone();
        view
    }
}

/// The name of the desired version's replica set: the one that it has, or one that nobody else has.
fn name_of(
    indexes: &WorkloadIndexes,
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
) -> (String, String, u32) {
    let mut collisions = deployment.status.collision_count.unwrap_or(0);
    if let Some(set) = new {
        let hash = set.metadata.labels.value(HASH_LABEL).unwrap_or_default();
        return (set.metadata.name.clone(), hash.to_owned(), collisions);
    }
    loop {
        let hash = hash(&deployment.spec.template, collisions);
        let name = format!("{}-{hash}", deployment.metadata.name);
        let key = ObjectKey::new::<ReplicaSet>(deployment.metadata.namespace.as_str(), name.as_str());
        if indexes.replica_sets.get(&key).is_none() {
            return (name, hash, collisions);
        }
        collisions += 1;
    }
}
