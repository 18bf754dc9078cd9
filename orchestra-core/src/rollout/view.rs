//! What a rollout is shown.

use std::time::Duration;

use super::Budget;
use crate::model::{Labels, Timestamp};

/// How long a pod must have been ready until a rollout counts on it, where nothing else says: where a container of the
/// pod has no readiness probe and the deployment has no `minReadySeconds`. As long as Docker Swarm watches an updated
/// task.
///
/// A program without a probe counts as ready as soon as it runs. This is how much time it has to show that it stays;
/// the pod is available, and gets traffic, all the while.
pub const SETTLE: Duration = Duration::from_secs(5);

/// One replica set of a deployment: one version, and its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaSetView<'a> {
    /// The replica set's name.
    pub name: &'a str,
    /// Which revision of the deployment it is: 1 is the first. An older one that is gone back to gets a new number.
    pub revision: u64,
    /// The hash of its pod template.
    pub hash: &'a str,
    /// Whether it exists. The new one may still have to be made.
    pub exists: bool,
    /// How many pods it is told to have.
    pub size: u32,
    /// How many pods it has that are neither ending nor over.
    pub pods: u32,
    /// How many of `pods` are ready.
    pub ready: u32,
    /// How many of `pods` have been ready for long enough, and are known to the balancers.
    pub available: u32,
    /// How many of `available` may still prove to be short-lived: ready for less than [`SETTLE`], where that counts.
    /// None where no other version has pods.
    pub settling: u32,
    /// How many pods are ending.
    pub terminating: u32,
    /// How many of `pods` have a container that keeps crashing.
    pub crashing: u32,
    /// The most restarts that a container of `pods` has had.
    pub restarts: u32,
    /// For how many desired pods `size` was chosen. `None`: not known.
    pub sized_for: Option<u32>,
    /// Whether its pods are kept out of traffic.
    pub held_back: bool,
    /// Whether it was once rolled out completely: a version to go back to.
    pub completed: bool,
}

impl<'a> ReplicaSetView<'a> {
    /// An empty replica set that exists.
    #[must_use]
    pub fn new(name: &'a str, revision: u64) -> Self {
        Self { name, revision, exists: true, ..Self::default() }
    }

    /// As though it had been told to have `n` pods, and all of them were available.
    #[must_use]
    pub fn running(self, n: u32) -> Self {
        Self { size: n, pods: n, ready: n, available: n, ..self }
    }

    /// How many of its pods are available and can be counted on.
    #[must_use]
    pub fn settled(&self) -> u32 {
        self.available.saturating_sub(self.settling)
    }

    /// How many of its pods are [settled](Self::settled) and get traffic: those that others can be given up for.
    #[must_use]
    pub fn serving(&self) -> u32 {
        if self.held_back { 0 } else { self.settled() }
    }

    /// How many pods it has or is about to have.
    #[must_use]
    pub fn occupied(&self) -> u32 {
        self.size.max(self.pods)
    }
}

/// What a rollout is shown: a deployment, its replica sets, and their pods in numbers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RolloutView<'a> {
    /// The deployment's namespace and name, for messages.
    pub name: &'a str,
    /// How many pods are desired.
    pub replicas: u32,
    /// How many more and fewer there may be.
    pub budget: Budget,
    /// How long a pod must have been ready to count as available.
    pub min_ready: Duration,
    /// How long the rollout may go without progress before it counts as failed. `None`: for ever.
    pub progress_deadline: Option<Duration>,
    /// When the rollout last got on: a pod more was made, ready or available, or an old one fewer was there.
    pub progressed_at: Timestamp,
    /// Whether changes of the template wait. Scaling goes on.
    pub paused: bool,
    /// Whether the owner wants a failed rollout to be undone.
    pub undo_on_failure: bool,
    /// Whether this rollout was complete before. Pods that fail afterwards are no failure of the rollout.
    pub done: bool,
    /// Whether this rollout is itself the undoing of a failed one. It is not undone again.
    pub undone: bool,
    /// The replica set of the desired version. It may still have to be made.
    pub new: ReplicaSetView<'a>,
    /// The replica sets of other versions, oldest revision first.
    pub old: Vec<ReplicaSetView<'a>>,
    /// What the last step of this rollout asked to be remembered; empty at its beginning.
    pub memory: &'a str,
    /// The deployment's annotations: parameters.
    pub annotations: Labels,
}

impl<'a> RolloutView<'a> {
    /// A deployment with one pod desired, without old versions, with nothing more allowed than Kubernetes'
    /// smallest budget.
    #[must_use]
    pub fn new(name: &'a str, new: ReplicaSetView<'a>) -> Self {
        Self {
            name,
            replicas: 1,
            budget: Budget { surge: 1, unavailable: 0 },
            min_ready: Duration::ZERO,
            progress_deadline: None,
            progressed_at: Timestamp::EPOCH,
            paused: false,
            undo_on_failure: false,
            done: false,
            undone: false,
            new,
            old: Vec::new(),
            memory: "",
            annotations: Labels::new(),
        }
    }

    /// The fewest pods that must be available.
    #[must_use]
    pub fn floor(&self) -> u32 {
        self.budget.floor(self.replicas)
    }

    /// The most pods there may be.
    #[must_use]
    pub fn ceiling(&self) -> u32 {
        self.budget.ceiling(self.replicas)
    }

    /// Whether there are, or are about to be, pods of other versions.
    #[must_use]
    pub fn has_old_pods(&self) -> bool {
        self.old.iter().any(|old| old.occupied() > 0)
    }

    /// Whether all pods are of the desired version, as many as desired, and available.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let new = &self.new;
        let want = self.replicas;
        !self.has_old_pods() && new.size == want && new.pods == want && new.available == want
    }

    /// When the rollout counts as failed unless it gets on before; `None`: never.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.progress_deadline.map(|deadline| self.progressed_at + deadline)
    }

    /// The youngest old version that was once rolled out completely: what to go back to.
    #[must_use]
    pub fn last_good(&self) -> Option<&ReplicaSetView<'a>> {
        self.old.iter().filter(|old| old.completed).max_by_key(|old| old.revision)
    }

    /// An annotation of the deployment.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.value(key)
    }
}
