//! Pods that wait on a node for others to leave it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Pod, Uid};

/// A pod, and whom it waits for.
#[derive(Debug)]
struct Nomination {
    /// The scheduler that decided it.
    scheduler: String,
    node: Arc<str>,
    victims: BTreeSet<Uid>,
}

/// All pods that wait for others to leave.
#[derive(Debug, Default)]
pub(super) struct Nominations {
    of: BTreeMap<Uid, Nomination>,
    /// Who waits for a pod to leave.
    waiting_for: BTreeMap<Uid, BTreeSet<Uid>>,
}

impl Nominations {
    pub(super) fn add(&mut self, scheduler: &str, pod: &Uid, node: &Arc<str>, victims: &[Arc<Pod>]) {
        let victims: BTreeSet<Uid> = victims.iter().map(|victim| victim.metadata.uid.clone()).collect();
        for victim in &victims {
            self.waiting_for.entry(victim.clone()).or_default().insert(pod.clone());
        }
        let nomination = Nomination { scheduler: scheduler.to_owned(), node: Arc::clone(node), victims };
        self.of.insert(pod.clone(), nomination);
    }

    /// Takes a pod off, and tells its scheduler and those it waited for whom nobody else waits for.
    pub(super) fn remove(&mut self, pod: &Uid) -> Option<(String, Vec<Uid>)> {
        let Nomination { scheduler, victims, .. } = self.of.remove(pod)?;
        let mut free = Vec::new();
        for victim in victims {
            if let Some(waiting) = self.waiting_for.get_mut(&victim) {
                waiting.remove(pod);
                if waiting.is_empty() {
                    self.waiting_for.remove(&victim);
                    free.push(victim);
                }
            }
        }
        Some((scheduler, free))
    }

    /// A pod is gone: the pods that now wait for nobody any more.
    pub(super) fn left(&mut self, victim: &Uid) -> Vec<Uid> {
        let waiting = self.waiting_for.remove(victim).unwrap_or_default();
        let mut ready = Vec::new();
        for pod in waiting {
            if let Some(nomination) = self.of.get_mut(&pod) {
                nomination.victims.remove(victim);
                if nomination.victims.is_empty() {
                    ready.push(pod);
                }
            }
        }
        ready
    }

    pub(super) fn contains(&self, pod: &Uid) -> bool {
        self.of.contains_key(pod)
    }

    /// The pods that wait on a node.
    pub(super) fn on(&self, node: &str) -> Vec<Uid> {
        let there = self.of.iter().filter(|(_, nomination)| &*nomination.node == node);
        there.map(|(pod, _)| pod.clone()).collect()
    }
}
