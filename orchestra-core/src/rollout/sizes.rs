//! Planning sizes within a budget.

use super::{ReplicaSetView, RolloutView};

/// The sizes of a deployment's replica sets, changed within its budget.
///
/// Starts with the sizes there are. Each change keeps two promises, as far as the sizes there are keep them:
/// - pods that exist or may come to exist are never more than [`RolloutView::ceiling`];
/// - pods that [serve](ReplicaSetView::serving) now and stay are never fewer than [`RolloutView::floor`].
#[derive(Clone, Debug)]
pub struct Sizes<'v> {
    view: &'v RolloutView<'v>,
    ceiling: u32,
    new: u32,
    old: Vec<u32>,
}

impl<'v> Sizes<'v> {
    /// The sizes there are.
    #[must_use]
    pub fn of(view: &'v RolloutView<'v>) -> Self {
        let old = view.old.iter().map(|old| old.size).collect();
        Self { view, ceiling: view.ceiling(), new: view.new.size, old }
    }

    /// The same, with room for `pods` in all instead of what the budget allows.
    #[must_use]
    pub fn up_to(self, pods: u32) -> Self {
        Self { ceiling: pods, ..self }
    }

    /// The planned size of the new version.
    #[must_use]
    pub fn new_size(&self) -> u32 {
        self.new
    }

    /// The planned sizes of the old versions, together.
    #[must_use]
    pub fn old_size(&self) -> u32 {
        self.old.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Every replica set with its planned size: the new one first, then the old ones, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&'v ReplicaSetView<'v>, u32)> {
        let old = self.view.old.iter().zip(self.old.iter().copied());
        std::iter::once((&self.view.new, self.new)).chain(old)
    }

    /// How many pods more there may be.
    #[must_use]
    pub fn room(&self) -> u32 {
        let occupied = self.iter().fold(0u32, |sum, (set, n)| sum.saturating_add(n.max(set.pods)));
        self.ceiling.saturating_sub(occupied)
    }

    /// How many [serving](ReplicaSetView::serving) pods stay: a replica set gives up its other pods first.
    #[must_use]
    pub fn kept(&self) -> u32 {
        self.iter().fold(0, |sum, (set, n)| sum.saturating_add(n.min(set.serving())))
    }

    /// Grows the new version towards `target`, as far as there is room.
    pub fn grow_new(&mut self, target: u32) {
        // Pods beyond the size are counted in `occupied` already, so growing up to them takes no room.
        let room = self.room().saturating_add(self.view.new.pods.saturating_sub(self.new));
        self.new = self.new.max(target.min(self.new.saturating_add(room)));
    }

    /// Shrinks the new version towards `target`, as far as enough pods stay that serve.
    pub fn shrink_new(&mut self, target: u32) {
        let serving = self.view.new.serving();
        let elsewhere = self.kept().saturating_sub(self.new.min(serving));
        let needed = self.view.floor().saturating_sub(elsewhere).min(serving);
        self.new = self.new.min(target.max(needed));
    }

    /// Grows the old versions towards `target` together, as far as there is room: the youngest one that has pods,
    /// or else the youngest.
    pub fn grow_old(&mut self, target: u32) {
        let wanted = target.saturating_sub(self.old_size()).min(self.room());
        let youngest = self.old.iter().rposition(|n| *n > 0).or(self.old.len().checked_sub(1));
        if let Some(n) = youngest.and_then(|i| self.old.get_mut(i)) {
            *n = n.saturating_add(wanted);
        }
    }

    /// Shrinks the old versions towards `target` together, as far as enough pods stay that serve: unavailable pods go
    /// first, then those that are not settled, of each the oldest version's first.
    ///
    /// Old pods that are unavailable only just now may recover, so of these too no more go than the new version
    /// makes up for: old pods and serving new ones together stay at least the floor.
    pub fn shrink_old(&mut self, target: u32) {
        let lowest = target.max(self.view.floor().saturating_sub(self.new.min(self.view.new.serving())));
        let mut spare = self.old_size().saturating_sub(lowest);
        let passes: [fn(&ReplicaSetView<'_>) -> u32; 3] =
            [|set| if set.held_back { 0 } else { set.available }, |set| set.serving(), |_| 0];
        for stays in passes {
            for (set, n) in self.view.old.iter().zip(&mut self.old) {
                let take = n.saturating_sub(stays(set)).min(spare);
                *n -= take;
                spare -= take;
            }
        }
    }

    /// Gives up old versions that get no traffic.
    pub fn drop_held_back(&mut self) {
        for (set, n) in self.view.old.iter().zip(&mut self.old) {
            if set.held_back {
                *n = 0;
            }
        }
    }

    /// Follows a change of the number of desired pods in the middle of a rollout, as Kubernetes does: every version
    /// that has pods grows or shrinks in proportion, so that the risk stays where it was. Answers whether it did;
    /// a rollout goes on only when the sizes are those for the number of pods now desired.
    pub fn follow_scale(&mut self) -> bool {
        let want = self.view.replicas;
        let stale = self.iter().any(|(set, n)| n > 0 && set.sized_for.is_some_and(|sized| sized != want));
        let total = self.old_size().saturating_add(self.new);
        if !stale || self.old_size() == 0 || total == 0 || self.saturated() {
            return false;
        }
        let ending = self.iter().fold(0u32, |sum, (set, n)| sum.saturating_add(set.pods.saturating_sub(n)));
        let active = self.iter().filter(|(_, n)| *n > 0).count();
        // A rollout that has not begun, or has ended, has no surge to keep.
        let goal = if want == 0 || active == 1 { want } else { self.ceiling };
        let goal = if goal > total { goal.saturating_sub(ending).max(total) } else { goal };
        let before = self.clone();
        let shares = share(&self.iter().map(|(_, n)| n).collect::<Vec<_>>(), goal);
        if let Some((new, old)) = shares.split_first() {
            self.new = *new;
            self.old = old.to_vec();
        }
        self.give_back(&before);
        true
    }

    /// Whether the new version has all pods it was sized for, all available.
    fn saturated(&self) -> bool {
        let new = &self.view.new;
        let full = new.sized_for.unwrap_or(self.view.replicas);
        new.size > 0 && new.size >= full && new.available >= full
    }

    /// Takes back reductions that would cost pods which must stay available.
    fn give_back(&mut self, before: &Self) {
        let mut missing = self.view.floor().min(before.kept()).saturating_sub(self.kept());
        for (i, set) in self.view.old.iter().enumerate().rev() {
            let back = set.serving().min(before.old[i]).saturating_sub(self.old[i]).min(missing);
            self.old[i] += back;
            missing -= back;
        }
        let back = self.view.new.serving().min(before.new).saturating_sub(self.new).min(missing);
        self.new += back;
    }
}

/// Shares `goal` out in proportion to `parts`; what rounding leaves over goes to the largest parts, what it
/// overdraws is taken from them. A part of nothing stays nothing.
fn share(parts: &[u32], goal: u32) -> Vec<u32> {
    let total: u128 = parts.iter().map(|n| u128::from(*n)).sum();
    let rounded = |n: u32| (2 * u128::from(n) * u128::from(goal) + total) / (2 * total.max(1));
    let mut shares: Vec<u128> = parts.iter().map(|n| if *n == 0 { 0 } else { rounded(*n) }).collect();
    let mut by_size: Vec<usize> = (0..parts.len()).filter(|i| parts[*i] > 0).collect();
    by_size.sort_by_key(|i| std::cmp::Reverse(parts[*i]));
    let goal = u128::from(goal);
    let mut sum: u128 = shares.iter().sum();
    for i in by_size.iter().cycle().take(2 * parts.len() * parts.len()) {
        match sum.cmp(&goal) {
            std::cmp::Ordering::Less => (shares[*i], sum) = (shares[*i] + 1, sum + 1),
            std::cmp::Ordering::Greater if shares[*i] > 0 => (shares[*i], sum) = (shares[*i] - 1, sum - 1),
            _ => {}
        }
    }
    shares.into_iter().map(|n| u32::try_from(n).unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Budget;

    fn view(replicas: u32, surge: u32, unavailable: u32) -> RolloutView<'static> {
        let mut view = RolloutView::new("shop/web", ReplicaSetView::new("web-2", 2));
        view.replicas = replicas;
        view.budget = Budget { surge, unavailable };
        view
    }

    #[test]
    fn growing_leaves_room_for_pods_that_are_still_to_go() {
        let mut view = view(10, 2, 0);
        let mut old = ReplicaSetView::new("web-1", 1).running(10);
        old.size = 7;
        view.old.push(old);
        let mut sizes = Sizes::of(&view);
        sizes.grow_new(10);
        assert_eq!(sizes.new_size(), 2, "10 old pods still exist, whatever their set is told");
    }

    #[test]
    fn unavailable_old_pods_go_first_and_for_nothing() {
        let mut view = view(10, 3, 2);
        view.new = ReplicaSetView::new("web-3", 3).running(3);
        let mut broken = ReplicaSetView::new("web-2", 2).running(4);
        broken.available = 1;
        view.old = vec![ReplicaSetView::new("web-1", 1).running(6), broken];
        let mut sizes = Sizes::of(&view);
        sizes.shrink_old(0);
        // 10 available, 8 must stay: of 10 old ones 5 may go; 3 are broken, the other 2 are the oldest version's.
        assert_eq!(sizes.old, [4, 1]);
        assert_eq!(sizes.kept(), 8);
    }

    #[test]
    fn broken_old_pods_are_not_given_up_for_new_ones_that_do_not_run() {
        let mut view = view(10, 3, 2);
        view.new.size = 3;
        view.new.pods = 3;
        let mut old = ReplicaSetView::new("web-1", 1).running(10);
        old.available = 0;
        view.old.push(old);
        let mut sizes = Sizes::of(&view);
        sizes.shrink_old(0);
        assert_eq!(sizes.old_size(), 8);
    }

    #[test]
    fn old_pods_are_not_given_up_for_new_ones_that_may_be_short_lived() {
        let mut view = view(10, 3, 2);
        view.new = ReplicaSetView::new("web-2", 2).running(5);
        view.new.settling = 4;
        view.old.push(ReplicaSetView::new("web-1", 1).running(8));
        let mut sizes = Sizes::of(&view);
        sizes.shrink_old(0);
        assert_eq!(sizes.old_size(), 7, "one of the new ones can be counted on");
    }

    #[test]
    fn scaling_in_the_middle_keeps_the_proportion() {
        // The example of Kubernetes' documentation: 8 old and 5 new of 10 + 3, scaled to 15 + 3.
        let mut view = view(15, 3, 2);
        view.new = ReplicaSetView::new("web-2", 2).running(5);
        view.new.available = 0;
        view.new.sized_for = Some(10);
        let mut old = ReplicaSetView::new("web-1", 1).running(8);
        old.sized_for = Some(10);
        view.old.push(old);
        let mut sizes = Sizes::of(&view);
        assert!(sizes.follow_scale());
        assert_eq!((sizes.old_size(), sizes.new_size()), (11, 7));
    }

    #[test]
    fn scaling_down_in_the_middle_keeps_enough_available() {
        let mut view = view(6, 0, 1);
        view.new.size = 6;
        view.new.pods = 6;
        view.new.sized_for = Some(12);
        let mut old = ReplicaSetView::new("web-1", 1).running(6);
        old.sized_for = Some(12);
        view.old.push(old);
        let mut sizes = Sizes::of(&view);
        assert!(sizes.follow_scale());
        assert_eq!(
            (sizes.old_size(), sizes.new_size()),
            (5, 3),
            "5 of 6 must stay available, all of them old"
        );
    }

    #[test]
    fn shares_add_up() {
        for (parts, goal, expected) in [
            (vec![5, 8], 18, vec![7, 11]),
            (vec![1, 1, 1], 10, vec![4, 3, 3]),
            (vec![0, 3, 7], 0, vec![0, 0, 0]),
            (vec![1, 1, 1], 1, vec![0, 0, 1]),
            (vec![0, 4], 9, vec![0, 9]),
        ] {
            let shares = share(&parts, goal);
            assert_eq!(shares.iter().sum::<u32>(), goal, "{parts:?} to {goal}");
            if parts != [1, 1, 1] {
                assert_eq!(shares, expected);
            }
        }
    }
}
