//! Pods that are placed together, while they wait: which are there, which are placed already.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{Pod, PodGroup, Uid};

/// Namespace and name of a group.
pub(super) type GroupKey = (String, String);

/// The group that a pod is of.
pub(super) fn group_of(pod: &Pod) -> Option<GroupKey> {
    let group = pod.spec.scheduling_group.as_ref()?;
    Some((pod.metadata.namespace.clone(), group.pod_group_name.clone()))
}

/// How the pods of a group are placed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Policy {
    /// Each by itself.
    Basic,
    Gang {
        least: usize,
        within: Option<String>,
    },
}

impl Policy {
    fn of(group: &PodGroup) -> Self {
        let Some(gang) = &group.spec.scheduling_policy.gang else { return Self::Basic };
        let within = group.spec.scheduling_constraints.topology.first().map(|topology| topology.key.clone());
        Self::Gang { least: usize::try_from(gang.min_count).unwrap_or(usize::MAX), within }
    }
}

/// What is known of one group.
#[derive(Debug, Default)]
struct Group {
    /// Nothing, while its object is not there.
    policy: Option<Policy>,
    /// Its pods in the queue.
    queued: BTreeSet<Uid>,
    /// Its pods on nodes, with their nodes.
    placed: BTreeMap<Uid, Arc<str>>,
}

/// A gang to be placed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quorum {
    /// Its pods in the queue.
    pub(super) queued: Vec<Uid>,
    /// How many more of them must be placed together.
    pub(super) least: usize,
    pub(super) within: Option<String>,
    /// The nodes that others of it are on.
    pub(super) beside: Vec<Arc<str>>,
}

/// All groups that there are, or that pods name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<GroupKey, Group>,
    placed_in: HashMap<Uid, GroupKey>,
}

impl Groups {
    /// A group came, changed or went. Answers its pods in the queue, where it is another one now.
    pub(super) fn set(&mut self, key: &GroupKey, group: Option<&PodGroup>) -> Vec<Uid> {
        let policy = group.map(Policy::of);
        let entry = self.groups.entry(key.clone()).or_default();
        let changed = entry.policy != policy;
        entry.policy = policy;
        let queued = if changed { entry.queued.iter().cloned().collect() } else { Vec::new() };
        self.tidy(key);
        queued
    }

    /// A pod of the group is in the queue.
    pub(super) fn queued(&mut self, key: &GroupKey, pod: &Uid) {
        self.groups.entry(key.clone()).or_default().queued.insert(pod.clone());
    }

    /// A pod of the group is in the queue no more.
    pub(super) fn left(&mut self, key: &GroupKey, pod: &Uid) {
        if let Some(group) = self.groups.get_mut(key) {
            group.queued.remove(pod);
        }
        self.tidy(key);
    }

    /// A pod of the group is on a node. Answers whether that is new.
    pub(super) fn placed(&mut self, key: &GroupKey, pod: &Uid, node: &Arc<str>) -> bool {
        let there = self.groups.get(key).and_then(|group| group.placed.get(pod));
        if there == Some(node) {
            return false;
        }
        self.groups.entry(key.clone()).or_default().placed.insert(pod.clone(), Arc::clone(node));
        self.placed_in.insert(pod.clone(), key.clone());
        true
    }

    /// A pod is on no node any more, or ends. Answers its group.
    pub(super) fn ended(&mut self, pod: &Uid) -> Option<GroupKey> {
        if self.placed_in.is_empty() {
            return None;
        }
        let key = self.placed_in.remove(pod)?;
        if let Some(group) = self.groups.get_mut(&key) {
            group.placed.remove(pod);
        }
        self.tidy(&key);
        Some(key)
    }

    /// The group's pods in the queue.
    pub(super) fn members(&self, key: &GroupKey) -> Vec<Uid> {
        self.groups.get(key).map(|group| group.queued.iter().cloned().collect()).unwrap_or_default()
    }

    /// What to place together with a pod of the group: nothing, where each is placed by itself.
    ///
    /// # Errors
    /// Why none of them can be placed yet.
    pub(super) fn quorum(&self, key: &GroupKey) -> Result<Option<Quorum>, String> {
        let missing = || format!("waits for its PodGroup {}, which is not there", key.1);
        let group = self.groups.get(key).ok_or_else(missing)?;
        let (least, within) = match group.policy.as_ref().ok_or_else(missing)? {
            Policy::Basic => return Ok(None),
            Policy::Gang { least, within } => (*least, within.clone()),
        };
        if group.queued.len() + group.placed.len() < least {
            return Err(format!("waits until its PodGroup {} has {least} pods", key.1));
        }
        let least = least.saturating_sub(group.placed.len());
        let beside = group.placed.values().cloned().collect();
        Ok(Some(Quorum { queued: group.queued.iter().cloned().collect(), least, within, beside }))
    }

    /// Forgets a group of which nothing is known.
    fn tidy(&mut self, key: &GroupKey) {
        let unknown = |g: &Group| g.policy.is_none() && g.queued.is_empty() && g.placed.is_empty();
        if self.groups.get(key).is_some_and(unknown) {
            self.groups.remove(key);
        }
    }
}
