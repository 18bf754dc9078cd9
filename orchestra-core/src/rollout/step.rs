//! What a rollout answers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{FailurePolicy, ReplicaSetView, RolloutView, Sizes};
use crate::model::Timestamp;

/// How a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It is under way.
    Progressing,
    /// All pods are of the desired version and available.
    Complete,
    /// It doesn't get on. It may all the same, later.
    Failed,
    /// It waits for a person.
    Paused,
}

/// What shall be next: sizes, a status, and when to ask again.
///
/// Replica sets that are not mentioned stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RolloutStep {
    /// How many pods replica sets shall have, by name.
    pub sizes: BTreeMap<String, u32>,
    /// How the rollout stands.
    pub phase: Phase,
    /// Why, as one word for programs: Kubernetes' reasons of the condition `Progressing` where they fit.
    pub reason: Cow<'static, str>,
    /// Why, for people.
    pub message: String,
    /// The revision whose template shall be the desired one again.
    pub rollback_to: Option<u64>,
    /// The replica sets whose pods get no traffic, by name. All others get theirs.
    pub held_back: BTreeSet<String>,
    /// What the next step of this rollout is shown as its memory. `None`: what it was shown now.
    pub memory: Option<String>,
    /// When to ask again though nothing changes.
    pub wake_at: Option<Timestamp>,
}

impl RolloutStep {
    /// A step that changes no size.
    #[must_use]
    pub fn new(phase: Phase, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            sizes: BTreeMap::new(),
            phase,
            reason: reason.into(),
            message: message.into(),
            rollback_to: None,
            held_back: BTreeSet::new(),
            memory: None,
            wake_at: None,
        }
    }

    /// A step that changes no size, with the status that the view's numbers and its progress deadline give it,
    /// and the wish to go back where the view's owner has it so.
    #[must_use]
    pub fn judged(view: &RolloutView<'_>, now: Timestamp) -> Self {
        FailurePolicy::default().judge(view, now)
    }

    /// Takes over planned sizes.
    #[must_use]
    pub fn sized(mut self, sizes: &Sizes<'_>) -> Self {
        self.sizes.extend(sizes.iter().map(|(set, n)| (set.name.to_owned(), n)));
        self
    }

    /// Sets how many pods `set` shall have.
    #[must_use]
    pub fn scale(mut self, set: &ReplicaSetView<'_>, n: u32) -> Self {
        self.sizes.insert(set.name.to_owned(), n);
        self
    }

    /// Keeps the pods of `set` out of traffic.
    #[must_use]
    pub fn hold_back(mut self, set: &ReplicaSetView<'_>) -> Self {
        self.held_back.insert(set.name.to_owned());
        self
    }

    /// Makes the template of `revision` the desired one again.
    #[must_use]
    pub fn roll_back_to(mut self, revision: u64) -> Self {
        self.rollback_to = Some(revision);
        self
    }

    /// Hands `memory` to the next step of this rollout. It is kept in an annotation: keep it short.
    #[must_use]
    pub fn remember(mut self, memory: impl Into<String>) -> Self {
        self.memory = Some(memory.into());
        self
    }

    /// Asks again at `at` though nothing changes; the earliest of several counts.
    #[must_use]
    pub fn wake_at(mut self, at: Timestamp) -> Self {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
        self
    }

    /// How many pods `set` shall have.
    #[must_use]
    pub fn size_of(&self, set: &ReplicaSetView<'_>) -> u32 {
        self.sizes.get(set.name).copied().unwrap_or(set.size)
    }
}
