//! Pods that are placed together: held back until there are enough of them, and taken as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Place, PodQueue, Queued};
use crate::model::{Pod, PodGroup, Uid};
use crate::scheduler::groups::{GroupKey, Quorum, group_of};
use crate::scheduler::{Explanation, Pending};

impl PodQueue {
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

    /// A pod of a group is on a node. Whatever else is told of it changes nothing for the others.
    pub(super) fn placed(&mut self, key: GroupKey, pod: &Uid, node: &Arc<str>) {
        self.take_out(pod);
        if self.groups.placed(&key, pod, node) {
            let members = self.groups.members(&key);
            self.ask_again(&members);
            self.review(Some(key));
        }
    }

    /// Has parked pods be tried again, for whom it is another question now.
    pub(super) fn ask_again(&mut self, members: &[Uid]) {
        for uid in members {
            if let Some(Queued { pod, place: Place::Parked(_) }) = self.queued(uid) {
                let pod = Arc::clone(pod);
                self.put(&pod, Place::Waiting);
            }
        }
    }

    /// Lets those of a group wait that were held back for it, or holds them back.
    pub(super) fn review(&mut self, group: Option<GroupKey>) {
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

    /// A waiting pod with all that must be placed together with it. Nothing, where that is not now: then it waits no more.
    pub(super) fn unit(&mut self, pod: &Arc<Pod>) -> Option<Pending> {
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
}

/// The gang of a group.
pub(super) fn gang(key: &GroupKey, quorum: Quorum, pods: Vec<Arc<Pod>>) -> Pending {
    let Quorum { least, within, beside, .. } = quorum;
    let gang = Pending::gang(format!("{}/{}", key.0, key.1), pods, least).beside(beside);
    match within {
        Some(key) => gang.within(key),
        None => gang,
    }
}
