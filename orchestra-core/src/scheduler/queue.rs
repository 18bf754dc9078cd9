//! Pods that wait for a node: those to be tried, and those that were tried in vain.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::by_uid::{ByUid, OfPod};
use super::groups::{GroupKey, Groups, Quorum, group_of};
use super::unit::order;
use super::{Change, Decision, Explanation, Outcome, Pending};
use crate::model::{Pod, PodGroup, Timestamp, Uid};

/// A pod at its place in the order of scheduling.
#[derive(Clone, Debug)]
struct InOrder {
    /// What most often decides: here, so that pods are compared without being looked at.
    first: (Reverse<i32>, Timestamp),
    pod: Arc<Pod>,
    /// The number of its entry.
    number: u32,
    /// Whether it may be of a gang.
    grouped: bool,
}

impl InOrder {
    fn new(pod: &Arc<Pod>, number: u32) -> Self {
        let (priority, created, ..) = order(pod);
        let grouped = pod.spec.scheduling_group.is_some();
        Self { first: (priority, created), pod: Arc::clone(pod), number, grouped }
    }
}

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |pod| (order(pod), &pod.metadata.uid);
        self.first.cmp(&other.first).then_with(|| rest(&self.pod).cmp(&rest(&other.pod)))
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
/// **Gangs.** Pods of a [`PodGroup`] with the policy `gang` are taken together, those that are parked too, once there are
/// enough of them; what wakes one wakes all. Before that, and while there is no such group, they are held back and
/// nobody tries them. Tell the queue of the groups, and of pods until they are gone: those that are placed count. All
/// pods of a group must be in one queue.
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
            self.pod_removed(uid);
            if let (Some(node), Some(group), false) =
                (&pod.node_name, group_of(pod), pod.is_terminal() || pod.is_terminating())
            {
                self.groups.placed(group.clone(), uid, node);
                self.ask_again(&self.groups.members(&group));
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

    /// A group came or changed.
    pub fn group_changed(&mut self, group: &PodGroup) {
        let key = (group.metadata.namespace.clone(), group.metadata.name.clone());
        self.set_group(&key, Some(group));
    }

    /// A group is gone: those of its pods that wait are held back until it comes again.
    pub fn group_removed(&mut self, namespace: &str, name: &str) {
        self.set_group(&(namespace.to_owned(), name.to_owned()), None);
    }

    fn set_group(&mut self, key: &GroupKey, group: Option<&PodGroup>) {
        let members = self.groups.set(key, group);
        self.ask_again(&members);
        self.review(Some(key.clone()));
    }

    /// Has parked pods be tried again, for whom it is another question now.
    fn ask_again(&mut self, members: &[Uid]) {
        for uid in members {
            if let Some(Queued { pod, place: Place::Parked(_) }) = self.queued(uid) {
                let pod = Arc::clone(pod);
                self.put(&pod, Place::Waiting);
            }
        }
    }

    /// Lets those of a group wait that were held back for it, or holds them back.
    fn review(&mut self, group: Option<GroupKey>) {
        let Some(key) = group else { return };
        let complete = self.groups.quorum(&key).is_ok();
        for uid in self.groups.members(&key) {
            let Some(Queued { pod, place }) = self.queued(&uid) else { continue };
            let place = match place {
                Place::HeldBack if complete => Place::Waiting,
                Place::Waiting | Place::Parked(_) if !complete => Place::HeldBack,
                _ => continue,
            };
            let pod = Arc::clone(pod);
            self.put(&pod, place);
        }
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

    /// A waiting pod with all that must be placed together with it. Nothing, where that is not now: then it waits no more.
    fn unit(&mut self, pod: &Arc<Pod>) -> Option<Pending> {
        let Some(key) = group_of(pod) else { return Some(Arc::clone(pod).into()) };
        let Ok(quorum) = self.groups.quorum(&key) else {
            self.put(pod, Place::HeldBack);
            return None;
        };
        let Some(quorum) = quorum else { return Some(Arc::clone(pod).into()) };
        let members: Vec<&Queued> = quorum.queued.iter().filter_map(|uid| self.queued(uid)).collect();
        if members.iter().any(|member| matches!(member.place, Place::Taken)) {
            // The others wait for pods to leave, or are being decided about.
            let why = Explanation::note("waits for the others of its group");
            self.put(pod, Place::Parked(why));
            return None;
        }
        let pods = members.into_iter().map(|member| Arc::clone(&member.pod)).collect();
        Some(gang(&key, quorum, pods))
    }

    /// Pods that were taken, as they were taken: gangs together.
    #[must_use]
    pub fn taken_together(&self, pods: &[Uid]) -> Vec<Pending> {
        let mut units = Vec::new();
        let mut gangs: BTreeMap<GroupKey, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in pods.iter().filter_map(|uid| self.taken(uid)) {
            match group_of(pod) {
                Some(key) => gangs.entry(key).or_default().push(Arc::clone(pod)),
                None => units.push(Arc::clone(pod).into()),
            }
        }
        for (key, pods) in gangs {
            match self.groups.quorum(&key) {
                Ok(Some(quorum)) => units.push(gang(&key, quorum, pods)),
                _ => units.extend(pods.into_iter().map(Pending::from)),
            }
        }
        units
    }

    /// Why a pod is held back for its group, where it is.
    #[must_use]
    pub fn held_back(&self, uid: &Uid) -> Option<Explanation> {
        let Queued { pod, place: Place::HeldBack } = self.queued(uid)? else { return None };
        let key = group_of(pod).filter(|_| pod.spec.scheduling_gates.is_empty())?;
        self.groups.quorum(&key).err().map(Explanation::note)
    }

    /// The pods that are held back for a group, and why.
    #[must_use]
    pub fn held_back_for(&self, namespace: &str, name: &str) -> Vec<(Arc<Pod>, Explanation)> {
        let members = self.groups.members(&(namespace.to_owned(), name.to_owned()));
        let why = |uid: &Uid| Some((Arc::clone(&self.queued(uid)?.pod), self.held_back(uid)?));
        members.iter().filter_map(why).collect()
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

/// The gang of a group.
fn gang(key: &GroupKey, quorum: Quorum, pods: Vec<Arc<Pod>>) -> Pending {
    let Quorum { least, within, beside, .. } = quorum;
    let gang = Pending::gang(format!("{}/{}", key.0, key.1), pods, least).beside(beside);
    match within {
        Some(key) => gang.within(key),
        None => gang,
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
