//! Pods that were drained, and stay out while somebody still lists them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use orchestra_core::model::Uid;

/// How many drained pods that were never listed are remembered: as many as end in a minute in a big cluster.
/// Beyond it the oldest is forgotten; an update that is under way for so long is unheard of.
const REMEMBERED: usize = 4096;

/// The drained pods. One is forgotten when it was listed and is no longer.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// Whether each was listed since.
    pods: BTreeMap<Uid, bool>,
    /// Those that may not be listed, oldest first.
    unlisted: VecDeque<Uid>,
}

impl Drained {
    /// Remembers `pod`; `listed`: whether it is listed now.
    pub(crate) fn insert(&mut self, pod: &Uid, listed: bool) {
        if let Some(known) = self.pods.get_mut(pod) {
            *known |= listed;
            return;
        }
        self.pods.insert(pod.clone(), listed);
        if !listed {
            self.unlisted.push_back(pod.clone());
            if self.unlisted.len() > REMEMBERED
                && let Some(oldest) = self.unlisted.pop_front()
                && self.pods.get(&oldest) == Some(&false)
            {
                self.pods.remove(&oldest);
            }
        }
    }

    pub(crate) fn contains(&self, pod: &Uid) -> bool {
        self.pods.contains_key(pod)
    }

    /// The pod is listed now.
    pub(crate) fn appeared(&mut self, pod: &Uid) {
        if let Some(seen) = self.pods.get_mut(pod) {
            *seen = true;
            self.unlisted.retain(|other| other != pod);
        }
    }

    /// The pod is listed no longer.
    pub(crate) fn disappeared(&mut self, pod: &Uid) {
        if self.pods.get(pod) == Some(&true) {
            self.pods.remove(pod);
        }
    }

    /// Looks at which pods are listed now.
    pub(crate) fn observe(&mut self, listed: &BTreeSet<&Uid>) {
        if self.pods.is_empty() {
            return;
        }
        self.pods.retain(|pod, seen| {
            let now = listed.contains(pod);
            let forget = *seen && !now;
            *seen |= now;
            !forget
        });
        let pods = &self.pods;
        self.unlisted.retain(|pod| pods.get(pod) == Some(&false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_forgotten_when_it_was_listed_and_is_gone() {
        let (late, pod) = (Uid::from("late"), Uid::from("pod"));
        let mut drained = Drained::default();
        drained.insert(&late, false);
        drained.insert(&pod, true);
        drained.observe(&BTreeSet::from([&pod]));
        assert!(drained.contains(&late) && drained.contains(&pod));
        drained.observe(&BTreeSet::from([&late]));
        assert!(drained.contains(&late), "a late listing does not bring it back");
        assert!(!drained.contains(&pod));
        drained.observe(&BTreeSet::new());
        assert!(!drained.contains(&late));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut drained = Drained::default();
        for i in 0..REMEMBERED + 10 {
            drained.insert(&Uid::from(format!("{i}")), false);
        }
        assert_eq!(drained.pods.len(), REMEMBERED);
        assert!(!drained.contains(&Uid::from("0")));
    }
}
