//! The rollout is asked, and its answer carried out.

use orchestra_core::rollout::{Counts, Phase, RolloutStep, RolloutView};

use super::set::{Pod, Set};
use super::{DEADLINE, Event, Fleet};

impl Fleet<'_> {
    pub(super) fn view(&self) -> RolloutView<'_> {
        let mut view = RolloutView::new("shop/web", self.sets[self.new].view());
        view.replicas = self.replicas;
        view.budget = self.budget();
        view.progress_deadline = Some(DEADLINE);
        view.progressed_at = self.progressed_at;
        view.paused = self.paused;
        view.undo_on_failure = self.undo;
        view.undone = self.undone;
        view.done = self.done;
        view.old = (0..self.sets.len()).filter(|i| *i != self.new).map(|i| self.sets[i].view()).collect();
        view.old.sort_by_key(|old| old.revision);
        view.memory = &self.memory;
        view.annotations = self.annotations.clone();
        view
    }

    /// Asks the rollout and carries its answer out.
    pub(super) fn step(&mut self) {
        let view = self.view();
        let counts = Counts::of(&view);
        if counts.got_on_since(&self.counts) {
            self.progressed_at = self.now;
        }
        self.counts = counts;
        let view = self.view();
        let step = self.rollout.step(&view, self.now);
        assert_eq!(
            step,
            self.rollout.step(&view, self.now),
            "the same view, another step: it is not pure\n{self}"
        );
        self.check_plan(&step);
        self.dirty = false;
        self.apply(&step);
        self.log(Event::Stepped(step.phase, format!("{:?} {}: {}", step.sizes, step.reason, step.message)));
        self.dirty = self.dirty_after(&step);
    }

    fn dirty_after(&self, step: &RolloutStep) -> bool {
        let replay = self.rollout.step(&self.view(), self.now);
        replay.sizes != step.sizes || replay.memory != step.memory || replay.held_back != step.held_back
    }

    fn apply(&mut self, step: &RolloutStep) {
        let fresh = self.paused && !self.sets[self.new].exists;
        for (i, set) in self.sets.iter_mut().enumerate() {
            let is_new = i == self.new;
            if is_new && fresh {
                continue;
            }
            set.exists |= is_new;
            if let Some(n) = step.sizes.get(&set.name) {
                set.size = *n;
            }
            set.sized_for = Some(self.replicas);
            set.held_back = step.held_back.contains(&set.name);
            set.completed |= is_new && step.phase == Phase::Complete;
        }
        if let Some(memory) = &step.memory
            && *memory != self.memory
        {
            self.memory.clone_from(memory);
            self.progressed_at = self.now;
        }
        self.done |= step.phase == Phase::Complete;
        self.phase = step.phase;
        self.wake_at = step.wake_at;
        if let Some(revision) = step.rollback_to.filter(|_| self.undo) {
            let index = self.sets.iter().position(|set| set.revision == revision);
            let index =
                index.unwrap_or_else(|| panic!("it goes back to revision {revision}, which is none\n{self}"));
            self.undone = true;
            self.turn_to(index);
        }
    }

    /// A plan names only sets that exist, and gives up no pods that are needed; those that may be short-lived don't
    /// stand in for them.
    fn check_plan(&self, step: &RolloutStep) {
        let known = |name: &String| self.sets.iter().any(|set| set.name == *name);
        assert!(
            step.sizes.keys().chain(&step.held_back).all(known),
            "it names unknown sets: {step:?}\n{self}"
        );
        let kept = |sized: bool| -> u32 {
            let after = |set: &Set| step.sizes.get(&set.name).copied().unwrap_or(set.size);
            let size = |set: &Set| if sized { after(set) } else { set.size };
            let held = |set: &Set| if sized { step.held_back.contains(&set.name) } else { set.held_back };
            self.sets.iter().filter(|set| !held(set)).map(|set| set.count(Pod::Ready).min(size(set))).sum()
        };
        let (before, after) = (kept(false), kept(true));
        assert!(
            !self.promises.floor || after >= before.min(self.floor()),
            "of {before} settled pods {after} stay, {} must: {step:?}\n{self}",
            self.floor()
        );
    }
}
