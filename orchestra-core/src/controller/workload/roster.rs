//! The pods of one owner, and their numbers, kept up with each change of a pod.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::standing::{Readiness, Standing, is_crashing, is_held_back, restarts};
use crate::model::{LabelSelector, Labels, ObjectKey, Pod, Timestamp};

/// The pods of one owner.
///
/// Every number is kept, not counted: reading one costs the same for ten pods and for ten thousand.
#[derive(Debug, Default)]
pub(in crate::controller) struct Roster {
    pods: BTreeMap<ObjectKey, Member>,
    /// Over, and not yet deleted.
    failed: BTreeMap<ObjectKey, Arc<Pod>>,
    terminating: u32,
    alive: u32,
    ready: u32,
    crashing: u32,
    held_back: u32,
    /// Those alive that are ready and listed, by since when they are ready.
    listed_since: Tally<Timestamp>,
    restarts: Tally<u32>,
    /// The labels there are, of all pods.
    labels: Tally<Labels>,
    /// The labels of those alive.
    alive_labels: Tally<Labels>,
}

#[derive(Debug)]
struct Member {
    pod: Arc<Pod>,
    share: Share,
}

/// What one pod adds to the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Failed,
    /// Over and deleted: it counts for nothing any more.
    Gone,
    Terminating,
    Alive(Alive),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alive {
    ready_since: Option<Timestamp>,
    /// Every service that selects it lists it.
    listed: bool,
    crashing: bool,
    held_back: bool,
    restarts: u32,
}

impl Share {
    fn of(pod: &Pod, is_listed: impl FnOnce() -> bool) -> Self {
        match (pod.is_terminal(), pod.is_terminating()) {
            (true, true) => Self::Gone,
            (true, false) => Self::Failed,
            (false, true) => Self::Terminating,
            (false, false) => {
                let (ready_since, held_back) = (pod.ready_since(), is_held_back(pod));
                Self::Alive(Alive {
                    ready_since,
                    listed: ready_since.is_some() && (held_back || is_listed()),
                    crashing: is_crashing(pod),
                    held_back,
                    restarts: restarts(pod),
                })
            }
        }
    }
}

impl Member {
    /// A pod is available when it has been ready for long enough, and every service that selects it lists it:
    /// what no balancer can see yet doesn't stand in for what is about to go.
    fn readiness(&self, min_ready: Duration, now: Timestamp) -> Readiness {
        let Share::Alive(Alive { ready_since: Some(since), listed, .. }) = self.share else {
            return Readiness::NotReady;
        };
        if listed && since <= now - min_ready { Readiness::Available } else { Readiness::Ready }
    }
}

impl Roster {
    /// Takes up a pod as it now is.
    pub(super) fn put(&mut self, key: &ObjectKey, pod: &Arc<Pod>, is_listed: impl FnOnce() -> bool) {
        let share = Share::of(pod, is_listed);
        if let Some(member) = self.pods.get_mut(key)
            && member.share == share
            && share != Share::Failed
            && member.pod.metadata.labels == pod.metadata.labels
        {
            member.pod = Arc::clone(pod);
            return;
        }
        self.remove(key);
        let member = Member { pod: Arc::clone(pod), share };
        self.count(key, &member, true);
        self.pods.insert(key.clone(), member);
    }

    /// Looks again at whether a pod is listed.
    pub(super) fn look_again(&mut self, key: &ObjectKey, is_listed: impl FnOnce(&Pod) -> bool) {
        if let Some(pod) = self.pods.get(key).map(|member| Arc::clone(&member.pod)) {
            self.put(key, &pod, || is_listed(&pod));
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        if let Some(member) = self.pods.remove(key) {
            self.count(key, &member, false);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    fn count(&mut self, key: &ObjectKey, member: &Member, comes: bool) {
        let step = |number: &mut u32, counts: bool| {
            if counts {
                *number = if comes { *number + 1 } else { *number - 1 };
            }
        };
        let labels = &member.pod.metadata.labels;
        self.labels.step(labels, comes);
        match member.share {
            Share::Failed if comes => drop(self.failed.insert(key.clone(), Arc::clone(&member.pod))),
            Share::Failed => drop(self.failed.remove(key)),
            Share::Gone => {}
            Share::Terminating => step(&mut self.terminating, true),
            Share::Alive(share) => {
                step(&mut self.alive, true);
                step(&mut self.ready, share.ready_since.is_some());
                step(&mut self.crashing, share.crashing);
                step(&mut self.held_back, share.held_back);
                self.restarts.step(&share.restarts, comes);
                self.alive_labels.step(labels, comes);
                if let Some(since) = share.ready_since.filter(|_| share.listed) {
                    self.listed_since.step(&since, comes);
                }
            }
        }
    }

    /// How the pods stand, where a pod is available after it was ready for `min_ready`. The work grows with the pods
    /// that became ready within that time, not with all.
    pub(in crate::controller) fn standing(&self, min_ready: Duration, now: Timestamp) -> Standing {
        let limit = now - min_ready;
        let mut young = self.listed_since.after(&limit).peekable();
        let next = young.peek().map(|(since, _)| **since + min_ready);
        let available = self.listed_since.total - young.map(|(_, count)| count).sum::<u32>();
        Standing {
            all: self.labels.total,
            alive: self.alive,
            ready: self.ready,
            available,
            terminating: self.terminating,
            crashing: self.crashing,
            held_back: self.held_back,
            restarts: self.restarts.largest().copied().unwrap_or(0),
            next,
        }
    }

    /// Every pod, ordered by name.
    pub(in crate::controller) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().map(|member| &member.pod)
    }

    /// The pods that are neither ending nor over, and how each stands.
    pub(in crate::controller) fn alive(
        &self,
        min_ready: Duration,
        now: Timestamp,
    ) -> impl Iterator<Item = (&Arc<Pod>, Readiness)> {
        let alive = self.pods.values().filter(|member| matches!(member.share, Share::Alive(_)));
        alive.map(move |member| (&member.pod, member.readiness(min_ready, now)))
    }

    /// Those that are over and not yet deleted.
    pub(in crate::controller) fn failed(&self) -> Vec<Arc<Pod>> {
        self.failed.values().cloned().collect()
    }

    /// The pods that `selector` does not select. Looks at pods only where there are any.
    pub(in crate::controller) fn strays(&self, selector: &LabelSelector) -> Vec<Arc<Pod>> {
        let strays = |labels: &Labels| selector.is_empty() || !selector.matches(labels);
        if !self.labels.keys().any(strays) {
            return Vec::new();
        }
        self.pods().filter(|pod| strays(&pod.metadata.labels)).cloned().collect()
    }

    /// How many of those alive have all these labels.
    pub(in crate::controller) fn labeled(&self, labels: &Labels) -> u32 {
        let full = |have: &Labels| have == labels || labels.iter().all(|(k, v)| have.get(k) == Some(v));
        self.alive_labels.counts.iter().filter(|(have, _)| full(have)).map(|(_, count)| count).sum()
    }
}

/// How many there are of each.
#[derive(Debug)]
struct Tally<K> {
    counts: BTreeMap<K, u32>,
    total: u32,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), total: 0 }
    }
}

impl<K: Ord + Clone> Tally<K> {
    fn step(&mut self, key: &K, comes: bool) {
        if comes {
            self.total += 1;
            match self.counts.get_mut(key) {
                Some(count) => *count += 1,
                None => drop(self.counts.insert(key.clone(), 1)),
            }
        } else if let Some(count) = self.counts.get_mut(key) {
            self.total -= 1;
            *count -= 1;
            if *count == 0 {
                self.counts.remove(key);
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = &K> {
        self.counts.keys()
    }

    fn largest(&self) -> Option<&K> {
        self.counts.keys().next_back()
    }

    fn after(&self, key: &K) -> impl Iterator<Item = (&K, &u32)> {
        self.counts.range((Bound::Excluded(key), Bound::Unbounded))
    }
}
