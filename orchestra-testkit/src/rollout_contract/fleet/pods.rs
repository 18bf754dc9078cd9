//! What replica sets do, and what becomes of pods.

use super::set::{Pod, Set};
use super::{Event, Fleet};

impl Fleet<'_> {
    /// Makes or deletes one pod of a set, or answers that there is nothing to do.
    pub(super) fn sync(&mut self, index: usize) -> bool {
        // Pods of another version count once they are settled.
        let others: u32 = self.sets.iter().map(Set::settled).sum();
        let counted = others - self.sets[index].settled() + self.sets[index].serving();
        let spare = counted > self.floor() || !self.promises.floor;
        let before = (self.serving(), self.alive());
        let set = &mut self.sets[index];
        let alive = set.alive();
        let change = if alive < set.size {
            set.pods.push(Pod::Starting);
            1
        } else if alive > set.size {
            let find = |state: Pod| set.pods.iter().position(|pod| *pod == state);
            let pod = find(Pod::Unready).or_else(|| find(Pod::Starting));
            let guarded = self.guarded && !spare && !set.held_back;
            let available = || find(Pod::Young).or_else(|| find(Pod::Ready));
            let Some(pod) = pod.or_else(|| if guarded { None } else { available() }) else {
                return false;
            };
            set.pods[pod] = Pod::Ending;
            -1
        } else {
            return false;
        };
        let name = set.name.clone();
        self.log(Event::Synced(name, change));
        self.check_bounds(before);
        true
    }

    /// Nothing but a person or a fault takes available pods below the floor, or pods above the ceiling.
    fn check_bounds(&self, (serving, alive): (u32, u32)) {
        let floor = if self.promises.floor { self.floor() } else { 0 };
        let now = self.serving();
        assert!(now >= serving || now >= floor, "{now} pods serve, {floor} must\n{self}");
        let versions = u32::try_from(self.sets.iter().filter(|s| s.alive() > 0).count()).unwrap_or_default();
        let ceiling = if self.promises.ceiling {
            self.budget().ceiling(self.replicas)
        } else {
            self.replicas.saturating_mul(versions.max(2))
        };
        // Scaling down leaves pods that are too many; only making more of them is wrong.
        assert!(
            self.alive() <= alive || self.alive() <= ceiling || self.guarded,
            "{} pods, {ceiling} may\n{self}",
            self.alive()
        );
    }

    pub(super) fn progress_pod(&mut self, index: usize) -> bool {
        let set = &mut self.sets[index];
        let mut moves: Vec<usize> = (0..set.pods.len()).collect();
        moves.retain(|i| match set.pods[*i] {
            Pod::Starting | Pod::Unready => set.good || set.crashes,
            Pod::Young | Pod::Ending => true,
            Pod::Ready => false,
        });
        let pick = usize::try_from(self.rng.below(moves.len() as u64)).unwrap_or_default();
        let Some(pod) = moves.get(pick).copied() else { return false };
        let name = set.name.clone();
        let (settles, crashes) = (self.settling, set.crashes);
        let (next, event) = match set.pods[pod] {
            Pod::Ending => {
                set.pods.swap_remove(pod);
                self.log(Event::Gone(name));
                return true;
            }
            Pod::Young if crashes => (Pod::Unready, Event::Failed(name)),
            Pod::Young => (Pod::Ready, Event::Settled(name)),
            _ if settles || crashes => (Pod::Young, Event::Ready(name)),
            _ => (Pod::Ready, Event::Ready(name)),
        };
        set.pods[pod] = next;
        self.log(event);
        true
    }

    pub(super) fn break_pod(&mut self, index: usize) -> bool {
        let set = &mut self.sets[index];
        let available = |pod: &Pod| matches!(pod, Pod::Young | Pod::Ready);
        let Some(pod) = set.pods.iter().position(available) else { return false };
        set.pods[pod] = Pod::Unready;
        let name = set.name.clone();
        self.log(Event::Failed(name));
        true
    }
}
