//! Pods that wait for a node: those to be tried, and those that were tried in vain.

mod gangs;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::by_uid::{ByUid, OfPod};
use super::groups::{Groups, group_of};
use super::{Change, Decision, Explanation, Outcome, Pending};
use crate::model::{Pod, PodPhase, Uid};
use gangs::gang;
use order::InOrder;

#[derive(Debug)]
struct Queued {
    pod: Arc<Pod>,
    place: Place,
}

impl OfPod for Queued {
    fn uid(&self) -> &Uid {
        &self.pod.metadata.uid
    }
}

#[derive(Clone, Debug)]
enum Place {
    /// To be tried.
    Waiting,
    /// Handed out by [`PodQueue::take`], and neither parked nor bound yet.
    Taken,
    /// Tried in vain; waits for a change that can help.
    Parked(Explanation),
    /// Has a scheduling gate, or its group is not complete: not tried.
    HeldBack,
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
/// **Gangs.** Pods of a [`PodGroup`](crate::model::PodGroup) with the policy `gang` are taken together, those that are
/// parked too, once there are enough of them; what wakes one wakes all. Before that, and while there is no such group,
/// they are held back and nobody tries them. Tell the queue of the groups, and of pods until they are gone: those that
/// are placed count, and those that have succeeded. All pods of a group must be in one queue.
///
/// It holds the pods it is given and is bounded by their number.
#[derive(Debug, Default)]
pub struct PodQueue {
    pods: ByUid<Queued>,
    waiting: BTreeSet<InOrder>,
    parked: BTreeMap<Change, BTreeSet<InOrder>>,
    /// What happened since pods were last taken: what a decision in the making may not have seen.
    since_taken: Change,
    groups: Groups,
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
            // One that has done its work counts: the others were placed together with it.
            let is_over = pod.status.phase == PodPhase::Failed || pod.is_terminating();
            match (&pod.node_name, group_of(pod)) {
                (Some(node), Some(group)) if !is_over => self.placed(group, uid, node),
                _ => self.pod_removed(uid),
            }
            return;
        }
        let place = match self.queued(uid) {
            _ if !pod.spec.scheduling_gates.is_empty() => Place::HeldBack,
            Some(Queued { place: Place::Taken, .. }) => Place::Taken,
            Some(Queued { pod: old, place: Place::Parked(why) }) if same(old, pod) => {
                Place::Parked(why.clone())
            }
            _ => Place::Waiting,
        };
        self.put(pod, place);
        self.review(group_of(pod));
    }

    fn queued(&self, uid: &Uid) -> Option<&Queued> {
        self.pods.find(uid).map(|number| self.pods.get(number))
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, uid: &Uid) {
        let queued = self.take_out(uid);
        let placed = self.groups.ended(uid);
        self.review(queued.and_then(|pod| group_of(&pod)).or(placed));
    }

    /// Takes up to `most` pods off the queue, in order, those of a gang together even where they are more. They are out of
    /// the queue's hands until they are parked, retried or [`pod_changed`](Self::pod_changed) tells that they are bound.
    pub fn take(&mut self, most: usize) -> Vec<Pending> {
        self.since_taken = Change::NONE;
        let (mut taken, mut count) = (Vec::with_capacity(most.min(self.waiting.len())), 0);
        while count < most {
            let Some(InOrder { pod, number, grouped, .. }) = self.waiting.pop_first() else { break };
            if !grouped {
                self.pods.get_mut(number).place = Place::Taken;
                count += 1;
                taken.push(pod.into());
                continue;
            }
            let Some(unit) = self.unit(&pod) else { continue };
            for pod in &unit.pods {
                self.put(pod, Place::Taken);
            }
            count += unit.pods.len();
            taken.push(unit);
        }
        taken
    }

    /// The newest form of a pod that was taken.
    #[must_use]
    pub fn taken(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        match self.queued(uid)? {
            Queued { pod, place: Place::Taken } => Some(pod),
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
        self.put(&pod, if missed { Place::Waiting } else { Place::Parked(why.clone()) });
    }

    /// Parks a pod that was taken, whatever has happened since: for a decision that was refused, where what happened is
    /// only that it was taken back.
    pub fn set_aside(&mut self, uid: &Uid, why: &Explanation) {
        if let Some(pod) = self.taken(uid).cloned() {
            self.put(&pod, Place::Parked(why.clone()));
        }
    }

    /// Parks a pod that was taken or is to be tried, until it changes or is [revived](Self::revive): no change of the
    /// cluster can help it.
    pub(crate) fn hold(&mut self, uid: &Uid, why: Explanation) {
        let held = self.queued(uid).filter(|queued| matches!(queued.place, Place::Taken | Place::Waiting));
        if let Some(pod) = held.map(|queued| Arc::clone(&queued.pod)) {
            self.put(&pod, Place::Parked(why.with_helped_by(Change::NONE)));
        }
    }

    /// Has a pod that is parked tried again. Answers whether the pod is here.
    pub(crate) fn revive(&mut self, uid: &Uid) -> bool {
        let Some(Queued { pod, place }) = self.queued(uid) else { return false };
        if matches!(place, Place::Parked(_)) {
            self.put(&Arc::clone(pod), Place::Waiting);
        }
        true
    }

    /// The pods that were taken.
    pub(crate) fn all_taken(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|queued| matches!(queued.place, Place::Taken)).map(|queued| &queued.pod)
    }

    /// Puts back a pod that was taken: its decision could not be carried out.
    pub fn retry(&mut self, uid: &Uid) {
        if let Some(pod) = self.taken(uid).cloned() {
            self.put(&pod, Place::Waiting);
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
                self.pods.get_mut(pod.number).place = Place::Waiting;
                self.waiting.insert(pod);
            }
        }
        woken
    }

    /// The pods that are to be tried or are parked, in order, as they would be taken.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let parked = self.parked.values().flatten();
        let mut all: Vec<&InOrder> = self.waiting.iter().chain(parked).collect();
        all.sort();
        let (mut units, mut done) = (Vec::new(), BTreeSet::new());
        for InOrder { pod, .. } in all {
            let quorum = group_of(pod).map(|key| (self.groups.quorum(&key), key));
            match quorum {
                Some((Ok(Some(quorum)), key)) => {
                    if done.insert(key.clone()) {
                        let members = quorum.queued.iter().filter_map(|uid| self.queued(uid));
                        let members = members.filter(|member| !matches!(member.place, Place::Taken));
                        let pods = members.map(|member| Arc::clone(&member.pod)).collect();
                        units.push(gang(&key, quorum, pods));
                    }
                }
                _ => units.push(Arc::clone(pod).into()),
            }
        }
        units
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
        match &self.queued(uid)?.place {
            Place::Parked(why) => Some(why),
            _ => None,
        }
    }

    /// Takes a pod out of the queue.
    fn take_out(&mut self, uid: &Uid) -> Option<Arc<Pod>> {
        let number = self.pods.find(uid)?;
        let Queued { pod, place } = self.pods.remove(number);
        if let Some(key) = group_of(&pod) {
            self.groups.left(&key, uid);
        }
        self.unlist(&InOrder::new(&pod, number), &place);
        Some(pod)
    }

    fn put(&mut self, pod: &Arc<Pod>, place: Place) {
        self.take_out(&pod.metadata.uid);
        if let Some(key) = group_of(pod).filter(|_| pod.spec.scheduling_gates.is_empty()) {
            self.groups.queued(&key, &pod.metadata.uid);
        }
        let list = match &place {
            Place::Waiting => Some(&mut self.waiting),
            Place::Parked(why) => Some(self.parked.entry(why.helped_by()).or_default()),
            Place::Taken | Place::HeldBack => None,
        };
        let hash = self.pods.hash(&pod.metadata.uid);
        let number = self.pods.insert(hash, Queued { pod: Arc::clone(pod), place });
        if let Some(list) = list {
            list.insert(InOrder::new(pod, number));
        }
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
            Place::Taken | Place::HeldBack => {}
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
mod tests;
