//! Pods that wait for a node: those to be tried, and those that were tried in vain.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::unit::order;
use super::{Change, Decision, Explanation, Outcome, Pending};
use crate::model::{Pod, Uid};

/// A pod at its place in the order of scheduling.
#[derive(Clone, Debug)]
struct InOrder(Arc<Pod>);

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0).cmp(&order(&other.0)).then_with(|| self.0.metadata.uid.cmp(&other.0.metadata.uid))
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InOrder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InOrder {}

#[derive(Clone, Debug)]
enum Place {
    /// To be tried.
    Waiting,
    /// Handed out by [`PodQueue::take`], and neither parked nor bound yet.
    Taken,
    /// Tried in vain; waits for a change that can help.
    Parked(Explanation),
    /// Has a scheduling gate: not tried.
    Gated,
}

/// The pods that one scheduler has to place.
///
/// Pods are taken by priority (highest first), then age (oldest first), then name. A pod that no node can take is
/// *parked* with its [`Explanation`] and woken only by a [`Change`] that can help: a freed node wakes the pods
/// that found no room, but not those that want a label no node has. Nothing is tried again by time.
///
/// The loop around it: tell the view and the queue of every change of a pod, and the queue of every [`Change`]
/// that the view reports; then, while there are pods waiting, [`take`](Self::take) some,
/// [`schedule`](super::schedule) them, [`settle`](Self::settle) the decisions and bind the assigned ones. A bind
/// that failed is followed by [`View::forget`](super::View::forget) and [`retry`](Self::retry).
///
/// It holds the pods it is given and is bounded by their number.
#[derive(Debug, Default)]
pub struct PodQueue {
    pods: HashMap<Uid, (Arc<Pod>, Place)>,
    waiting: BTreeSet<InOrder>,
    parked: BTreeMap<Change, BTreeSet<InOrder>>,
    /// What happened since pods were last taken: what a decision in the making may not have seen.
    since_taken: Change,
}

impl PodQueue {
    /// A queue without pods.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A pod came or changed. Pods that are bound, have ended or are being deleted leave the queue. A parked pod
    /// is tried again where more than its status changed.
    pub fn pod_changed(&mut self, pod: &Arc<Pod>) {
        let uid = &pod.metadata.uid;
        if pod.node_name.is_some() || pod.is_terminal() || pod.is_terminating() {
            self.pod_removed(uid);
            return;
        }
        let place = match self.pods.get(uid) {
            _ if !pod.spec.scheduling_gates.is_empty() => Place::Gated,
            Some((_, Place::Taken)) => Place::Taken,
            Some((old, Place::Parked(why))) if same(old, pod) => Place::Parked(why.clone()),
            _ => Place::Waiting,
        };
        self.put(Arc::clone(pod), place);
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, uid: &Uid) {
        if let Some((pod, place)) = self.pods.remove(uid) {
            self.unlist(&InOrder(pod), &place);
        }
    }

    /// Takes up to `most` pods off the queue, in order. They are out of the queue's hands until they are parked,
    /// retried or [`pod_changed`](Self::pod_changed) tells that they are bound.
    pub fn take(&mut self, most: usize) -> Vec<Arc<Pod>> {
        self.since_taken = Change::NONE;
        let mut taken = Vec::with_capacity(most.min(self.waiting.len()));
        while taken.len() < most {
            let Some(InOrder(pod)) = self.waiting.pop_first() else { break };
            if let Some((_, place)) = self.pods.get_mut(&pod.metadata.uid) {
                *place = Place::Taken;
            }
            taken.push(pod);
        }
        taken
    }

    /// The newest form of a pod that was taken.
    #[must_use]
    pub fn taken(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        match self.pods.get(uid) {
            Some((pod, Place::Taken)) => Some(pod),
            _ => None,
        }
    }

    /// Takes in what was decided about pods that were taken: parks those that must wait. Where others were
    /// placed, those that wait for company are tried again.
    pub fn settle(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let Outcome::Pending(why) = &decision.outcome {
                self.park(&decision.pod.metadata.uid, why);
            }
        }
        if decisions.iter().any(|d| matches!(d.outcome, Outcome::Assigned(_))) {
            self.wake(Change::PLACED);
        }
    }

    /// Parks a pod that was taken. It is tried again at once where something that can help happened since.
    pub fn park(&mut self, uid: &Uid, why: &Explanation) {
        let Some(pod) = self.taken(uid).cloned() else { return };
        let missed = why.helped_by().intersects(self.since_taken);
        self.put(pod, if missed { Place::Waiting } else { Place::Parked(why.clone()) });
    }

    /// Parks a pod that was taken, whatever has happened since: for a decision that was refused, where what happened is
    /// only that it was taken back.
    pub fn set_aside(&mut self, uid: &Uid, why: &Explanation) {
        if let Some(pod) = self.taken(uid).cloned() {
            self.put(pod, Place::Parked(why.clone()));
        }
    }

    /// Puts back a pod that was taken: its decision could not be carried out.
    pub fn retry(&mut self, uid: &Uid) {
        if let Some(pod) = self.taken(uid).cloned() {
            self.put(pod, Place::Waiting);
        }
    }

    /// Something changed: the parked pods that it can help are tried again. Returns how many those are.
    pub fn wake(&mut self, change: Change) -> usize {
        self.since_taken |= change;
        let helped: Vec<Change> = self.parked.keys().filter(|h| h.intersects(change)).copied().collect();
        let mut woken = 0;
        for group in helped.iter().filter_map(|helped_by| self.parked.remove(helped_by)) {
            woken += group.len();
            for pod in group {
                if let Some((_, place)) = self.pods.get_mut(&pod.0.metadata.uid) {
                    *place = Place::Waiting;
                }
                self.waiting.insert(pod);
            }
        }
        woken
    }

    /// The pods that are to be tried or are parked, in order.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let parked = self.parked.values().flatten();
        let mut all: Vec<&InOrder> = self.waiting.iter().chain(parked).collect();
        all.sort();
        all.into_iter().map(|InOrder(pod)| Arc::clone(pod).into()).collect()
    }

    /// How many pods are to be tried.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many pods are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.values().map(BTreeSet::len).sum()
    }

    /// Why a pod is parked, if it is.
    #[must_use]
    pub fn why(&self, uid: &Uid) -> Option<&Explanation> {
        match self.pods.get(uid) {
            Some((_, Place::Parked(why))) => Some(why),
            _ => None,
        }
    }

    fn put(&mut self, pod: Arc<Pod>, place: Place) {
        self.pod_removed(&pod.metadata.uid);
        match &place {
            Place::Waiting => {
                self.waiting.insert(InOrder(Arc::clone(&pod)));
            }
            Place::Parked(why) => {
                self.parked.entry(why.helped_by()).or_default().insert(InOrder(Arc::clone(&pod)));
            }
            Place::Taken | Place::Gated => {}
        }
        self.pods.insert(pod.metadata.uid.clone(), (pod, place));
    }

    fn unlist(&mut self, pod: &InOrder, place: &Place) {
        match place {
            Place::Waiting => {
                self.waiting.remove(pod);
            }
            Place::Parked(why) => {
                if let Some(group) = self.parked.get_mut(&why.helped_by()) {
                    group.remove(pod);
                    if group.is_empty() {
                        self.parked.remove(&why.helped_by());
                    }
                }
            }
            Place::Taken | Place::Gated => {}
        }
    }
}

/// Whether a scheduler sees no difference between two forms of a pod.
fn same(a: &Pod, b: &Pod) -> bool {
    (Arc::ptr_eq(&a.spec, &b.spec) || a.spec == b.spec)
        && a.metadata.labels == b.metadata.labels
        && a.metadata.annotations == b.metadata.annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObjectMeta, PodPhase, PodSchedulingGate, Timestamp};

    fn pod(name: &str, priority: i32, created: i64) -> Arc<Pod> {
        let mut pod = Pod { metadata: ObjectMeta::named(name), ..Pod::default() };
        pod.metadata.uid = Uid::from(name);
        pod.metadata.creation_timestamp = Some(Timestamp::from_micros(created));
        pod.spec_mut().priority = Some(priority);
        Arc::new(pod)
    }

    fn edited(pod: &Arc<Pod>, edit: impl FnOnce(&mut Pod)) -> Arc<Pod> {
        let mut pod = Pod::clone(pod);
        edit(&mut pod);
        Arc::new(pod)
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|p| p.metadata.name.as_str()).collect()
    }

    fn waits_for(change: Change) -> Explanation {
        Explanation::note("test").with_helped_by(change)
    }

    #[test]
    fn pods_are_taken_by_priority_then_age_then_name() {
        let mut queue = PodQueue::new();
        for pod in [pod("c", 0, 1), pod("b", 0, 1), pod("old", 0, 0), pod("urgent", 5, 9)] {
            queue.pod_changed(&pod);
        }
        assert_eq!(names(&queue.take(3)), ["urgent", "old", "b"]);
        assert_eq!(names(&queue.take(3)), ["c"]);
    }

    #[test]
    fn a_parked_pod_is_woken_only_by_what_can_help() {
        let mut queue = PodQueue::new();
        let (full, label) = (pod("full", 0, 0), pod("label", 0, 0));
        queue.pod_changed(&full);
        queue.pod_changed(&label);
        queue.take(2);
        queue.park(&full.metadata.uid, &waits_for(Change::FREED | Change::NODE));
        queue.park(&label.metadata.uid, &waits_for(Change::NODE));
        assert_eq!((queue.waiting(), queue.parked()), (0, 2));
        assert_eq!(queue.wake(Change::PLACED), 0);
        assert_eq!(queue.wake(Change::FREED), 1);
        assert_eq!(names(&queue.take(9)), ["full"]);
        assert_eq!(queue.wake(Change::NODE), 1);
        assert_eq!(names(&queue.take(9)), ["label"]);
    }

    #[test]
    fn a_change_during_the_decision_is_not_missed() {
        let mut queue = PodQueue::new();
        let full = pod("full", 0, 0);
        queue.pod_changed(&full);
        queue.take(1);
        queue.wake(Change::FREED);
        queue.park(&full.metadata.uid, &waits_for(Change::FREED));
        assert_eq!((queue.waiting(), queue.parked()), (1, 0));
    }

    #[test]
    fn a_status_does_not_wake_a_parked_pod_but_a_new_label_does() {
        let mut queue = PodQueue::new();
        let parked = pod("parked", 0, 0);
        queue.pod_changed(&parked);
        queue.take(1);
        queue.park(&parked.metadata.uid, &waits_for(Change::NODE));
        queue.pod_changed(&edited(&parked, |p| p.status.message = "0/3 nodes".into()));
        assert_eq!((queue.waiting(), queue.parked()), (0, 1));
        assert!(queue.why(&parked.metadata.uid).is_some());
        queue.pod_changed(&edited(&parked, |p| p.metadata.labels = [("a", "b")].into()));
        assert_eq!((queue.waiting(), queue.parked()), (1, 0));
    }

    #[test]
    fn pods_leave_when_bound_ended_or_gone() {
        let mut queue = PodQueue::new();
        let all: Vec<_> = ["a", "b", "c", "d", "e"].map(|n| pod(n, 0, 0)).into();
        for pod in &all {
            queue.pod_changed(pod);
        }
        queue.take(1);
        queue.pod_changed(&edited(&all[0], |p| p.node_name = Some("n".into())));
        queue.retry(&all[0].metadata.uid);
        queue.pod_changed(&edited(&all[1], |p| p.status.phase = PodPhase::Failed));
        queue.pod_changed(&edited(&all[2], |p| p.metadata.deletion_timestamp = Some(Timestamp::EPOCH)));
        queue.pod_removed(&all[3].metadata.uid);
        assert_eq!(names(&queue.take(9)), ["e"]);
        queue.retry(&all[4].metadata.uid);
        assert_eq!(names(&queue.take(9)), ["e"]);
    }

    #[test]
    fn a_gated_pod_is_not_taken_until_the_gate_is_gone() {
        let mut queue = PodQueue::new();
        let open = pod("gated", 0, 0);
        let gate = PodSchedulingGate { name: "quota".into(), ..PodSchedulingGate::default() };
        queue.pod_changed(&edited(&open, |p| p.spec_mut().scheduling_gates.push(gate)));
        queue.wake(Change::ANY);
        assert!(queue.take(1).is_empty());
        queue.pod_changed(&open);
        assert_eq!(names(&queue.take(1)), ["gated"]);
    }
}
