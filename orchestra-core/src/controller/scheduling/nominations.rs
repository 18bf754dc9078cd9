//! Pods that wait on nodes for others to leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Pod, Uid};

/// A pod, or the pods of a gang, and whom they wait for.
#[derive(Debug)]
pub(super) struct Nomination {
    /// The scheduler that decided it.
    pub(super) scheduler: String,
    /// Who waits, each with its node.
    pub(super) waiting: Vec<(Arc<Pod>, Arc<str>)>,
    victims: BTreeSet<Uid>,
}

impl Nomination {
    /// Of pods that wait for `victims`.
    pub(super) fn new(scheduler: &str, waiting: Vec<(Arc<Pod>, Arc<str>)>, victims: &[Arc<Pod>]) -> Self {
        let victims = victims.iter().map(|victim| victim.metadata.uid.clone()).collect();
        Self { scheduler: scheduler.to_owned(), waiting, victims }
    }

    /// Who waits.
    pub(super) fn pods(&self) -> Vec<Uid> {
        self.waiting.iter().map(|(pod, _)| pod.metadata.uid.clone()).collect()
    }
}

/// All pods that wait for others to leave.
#[derive(Debug, Default)]
pub(super) struct Nominations {
    /// By a number of their own.
    all: BTreeMap<u64, Nomination>,
    next: u64,
    /// The nomination that a pod is of.
    of: BTreeMap<Uid, u64>,
    /// Which wait for a pod to leave.
    waiting_for: BTreeMap<Uid, BTreeSet<u64>>,
}

impl Nominations {
    pub(super) fn add(&mut self, nomination: Nomination) {
        let number = self.next;
        self.next += 1;
        for victim in &nomination.victims {
            self.waiting_for.entry(victim.clone()).or_default().insert(number);
        }
        self.of.extend(nomination.pods().into_iter().map(|pod| (pod, number)));
        self.all.insert(number, nomination);
    }

    /// Takes off the nomination that a pod is of, and tells those it waited for whom nobody else waits for.
    pub(super) fn remove(&mut self, pod: &Uid) -> Option<(Nomination, Vec<Uid>)> {
        let number = *self.of.get(pod)?;
        let nomination = self.all.remove(&number)?;
        self.of.retain(|_, of| *of != number);
        let mut free = Vec::new();
        for victim in &nomination.victims {
            if let Some(waiting) = self.waiting_for.get_mut(victim) {
                waiting.remove(&number);
                if waiting.is_empty() {
                    self.waiting_for.remove(victim);
                    free.push(victim.clone());
                }
            }
        }
        Some((nomination, free))
    }

    /// A pod is gone. Takes off the nominations that now wait for nobody any more.
    pub(super) fn left(&mut self, victim: &Uid) -> Vec<Nomination> {
        let mut ready = Vec::new();
        for number in self.waiting_for.remove(victim).unwrap_or_default() {
            let Some(nomination) = self.all.get_mut(&number) else { continue };
            nomination.victims.remove(victim);
            if nomination.victims.is_empty()
                && let Some(nomination) = self.all.remove(&number)
            {
                self.of.retain(|_, of| *of != number);
                ready.push(nomination);
            }
        }
        ready
    }

    pub(super) fn contains(&self, pod: &Uid) -> bool {
        self.of.contains_key(pod)
    }

    /// The pods that wait on a node.
    pub(super) fn on(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        let all = self.all.values().flat_map(|nomination| &nomination.waiting);
        all.filter(move |(_, at)| &**at == node).map(|(pod, _)| pod)
    }
}
