//! A small model of a deployment: replica sets, pods, and what happens to them.

mod set;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use orchestra_core::model::{IntOrPercent, Labels, Timestamp};
use orchestra_core::rng::Rng;
use orchestra_core::rollout::{Budget, Counts, PROMOTE, Phase, Rollout, RolloutStep, RolloutView};

use self::set::{Pod, Set};
use super::Promises;

/// How many events one settling may take: a dozen pods in a handful of versions need a few hundred.
const SETTLE_EVENTS: usize = 20_000;
/// How many events a failure message shows.
const HISTORY: usize = 40;
const DEADLINE: Duration = Duration::from_secs(600);

/// Something that happened in a [`Fleet`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The rollout was asked, and its answer carried out.
    Stepped(Phase, String),
    /// A replica set made or deleted a pod.
    Synced(String, i64),
    /// A pod became ready.
    Ready(String),
    /// A pod has been ready for long enough to be counted on.
    Settled(String),
    /// A pod that was ready is so no more.
    Failed(String),
    /// A pod that was ending is gone.
    Gone(String),
    /// A person did something.
    User(String),
    /// Nothing happened until then.
    Waited(Timestamp),
}

/// A deployment whose parts move one random event at a time.
#[derive(Debug)]
pub struct Fleet<'r> {
    rollout: &'r dyn Rollout,
    promises: Promises,
    rng: Rng,
    now: Timestamp,
    replicas: u32,
    surge: IntOrPercent,
    unavailable: IntOrPercent,
    faults: bool,
    /// Replica sets keep the floor by themselves, as the real ones do.
    guarded: bool,
    /// Pods that became ready take a while until they can be counted on.
    settling: bool,
    undo: bool,
    paused: bool,
    undone: bool,
    done: bool,
    sets: Vec<Set>,
    new: usize,
    memory: String,
    annotations: Labels,
    counts: Counts,
    progressed_at: Timestamp,
    wake_at: Option<Timestamp>,
    phase: Phase,
    dirty: bool,
    history: VecDeque<Event>,
}

impl<'r> Fleet<'r> {
    /// A deployment of a first, good version, of which nothing runs yet.
    #[must_use]
    pub fn new(
        rollout: &'r dyn Rollout,
        promises: Promises,
        replicas: u32,
        surge: IntOrPercent,
        unavailable: IntOrPercent,
        rng: Rng,
    ) -> Self {
        let now = Timestamp::from_micros(1_000_000_000_000_000);
        let mut fleet = Self {
            rollout,
            promises,
            rng,
            now,
            replicas,
            surge,
            unavailable,
            faults: false,
            guarded: false,
            settling: false,
            undo: true,
            paused: false,
            undone: false,
            done: false,
            sets: Vec::new(),
            new: 0,
            memory: String::new(),
            annotations: Labels::new(),
            counts: Counts::default(),
            progressed_at: now,
            wake_at: None,
            phase: Phase::Progressing,
            dirty: true,
            history: VecDeque::new(),
        };
        fleet.new_version(true);
        fleet
    }

    /// From now on pods fail at random, and replica sets keep the floor by themselves, as the real ones do.
    #[must_use]
    pub fn with_faults(self) -> Self {
        Self { faults: true, guarded: true, ..self }
    }

    /// From now on pods don't fail any more, and those that failed recover.
    #[must_use]
    pub fn without_faults(self) -> Self {
        Self { faults: false, ..self }
    }

    /// From now on pods that became ready take a while until they can be counted on, as those without readiness probes do.
    #[must_use]
    pub fn with_settling(self) -> Self {
        Self { settling: true, ..self }
    }

    /// The deployment does not ask for failed rollouts to be undone, and wishes to go back are not followed.
    #[must_use]
    pub fn without_undo(self) -> Self {
        Self { undo: false, ..self }
    }

    /// How many pods are desired.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.replicas
    }

    fn budget(&self) -> Budget {
        if self.promises.floor {
            Budget::resolve(self.surge, self.unavailable, self.replicas)
        } else {
            Budget::recreate(self.replicas)
        }
    }

    /// The fewest pods that must be available and in traffic.
    #[must_use]
    pub fn floor(&self) -> u32 {
        self.budget().floor(self.replicas)
    }

    /// How many pods are available and in traffic.
    #[must_use]
    pub fn serving(&self) -> u32 {
        self.sets.iter().map(Set::serving).sum()
    }

    fn alive(&self) -> u32 {
        self.sets.iter().map(Set::alive).sum()
    }

    /// The one version that all pods are of.
    #[must_use]
    pub fn running_version(&self) -> Option<u64> {
        let mut running = self.sets.iter().filter(|set| set.alive() > 0);
        running.next().filter(|_| running.next().is_none()).map(|set| set.version)
    }

    fn log(&mut self, event: Event) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(event);
        self.dirty = true;
    }

    fn user(&mut self, what: String) {
        self.log(Event::User(what));
    }

    /// A person sets another number of desired pods.
    pub fn scale(&mut self, replicas: u32) {
        self.replicas = replicas;
        self.user(format!("scales to {replicas}"));
    }

    /// A person pauses or resumes.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.progressed_at = self.now;
        self.user(format!("pauses: {paused}"));
    }

    /// A person changes the template. The pods of a version that is not `good` never become ready.
    pub fn new_version(&mut self, good: bool) {
        self.deploy(good, false);
    }

    /// A person changes the template to one whose pods become ready and end soon after, again and again.
    pub fn crashing_version(&mut self) {
        self.deploy(false, true);
    }

    fn deploy(&mut self, good: bool, crashes: bool) {
        let version = self.sets.len() as u64 + 1;
        self.sets.push(Set {
            name: format!("web-{version}"),
            version,
            revision: 0,
            good,
            crashes,
            exists: false,
            size: 0,
            sized_for: None,
            held_back: false,
            completed: false,
            pods: Vec::new(),
        });
        self.undone = false;
        self.turn_to(self.sets.len() - 1);
        self.user(format!("deploys version {version}, good: {good}, crashes: {crashes}"));
    }

    /// A person goes back to an older version, whichever; its number is answered.
    pub fn undo_to_random(&mut self) -> u64 {
        let good: Vec<usize> =
            (0..self.sets.len()).filter(|i| self.sets[*i].good && *i != self.new).collect();
        let pick = usize::try_from(self.rng.below(good.len() as u64)).unwrap_or_default();
        let index = good.get(pick).copied().unwrap_or(self.new);
        self.undone = false;
        self.turn_to(index);
        let version = self.sets[index].version;
        self.user(format!("goes back to version {version}"));
        version
    }

    fn turn_to(&mut self, index: usize) {
        self.new = index;
        self.memory.clear();
        self.done = false;
        self.progressed_at = self.now;
        let last = self.sets.iter().map(|set| set.revision).max().unwrap_or(0);
        self.sets[index].revision = last + 1;
    }

    fn view(&self) -> RolloutView<'_> {
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
    fn step(&mut self) {
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

    /// Makes or deletes one pod of a set, or answers that there is nothing to do.
    fn sync(&mut self, index: usize) -> bool {
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

    fn progress_pod(&mut self, index: usize) -> bool {
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

    fn break_pod(&mut self, index: usize) -> bool {
        let set = &mut self.sets[index];
        let available = |pod: &Pod| matches!(pod, Pod::Young | Pod::Ready);
        let Some(pod) = set.pods.iter().position(available) else { return false };
        set.pods[pod] = Pod::Unready;
        let name = set.name.clone();
        self.log(Event::Failed(name));
        true
    }

    /// One random event; whether anything happened.
    fn event(&mut self) -> bool {
        let index = usize::try_from(self.rng.below(self.sets.len() as u64)).unwrap_or_default();
        match self.rng.below(if self.faults { 7 } else { 6 }) {
            0 if self.dirty => {
                self.step();
                true
            }
            0..=2 => self.sync(index),
            6 => self.break_pod(index),
            _ => self.progress_pod(index),
        }
    }

    /// Plays so many random events.
    pub fn play(&mut self, events: u64) {
        for _ in 0..events {
            self.event();
            self.now = self.now + Duration::from_millis(100);
        }
    }

    /// Plays until nothing is left to do.
    ///
    /// # Panics
    /// Where that takes too long, or ends in another phase than `expected`.
    pub fn settle(&mut self, expected: Phase) {
        for _ in 0..SETTLE_EVENTS {
            self.event();
            self.now = self.now + Duration::from_millis(100);
            if self.is_idle() && !self.move_on() {
                assert_eq!(self.phase, expected, "it settled elsewhere\n{self}");
                self.check_settled();
                return;
            }
        }
        panic!("it never settles\n{self}");
    }

    fn is_idle(&self) -> bool {
        let guarded = self.guarded && self.serving() <= self.floor();
        let idle = |set: &Set| {
            let kept = guarded && !set.held_back && set.alive() == set.count(Pod::Ready);
            let synced = set.alive() == set.size || (kept && set.alive() > set.size);
            let stuck = |pod: &Pod| match pod {
                Pod::Starting | Pod::Unready => !set.good && !set.crashes,
                Pod::Young | Pod::Ending => false,
                Pod::Ready => true,
            };
            synced && set.pods.iter().all(stuck)
        };
        !self.dirty && self.sets.iter().all(idle)
    }

    /// Lets time pass, or a person go on; whether that may change something.
    fn move_on(&mut self) -> bool {
        if let Some(at) = self.wake_at.take() {
            self.now = self.now.max(at);
            self.log(Event::Waited(at));
            return true;
        }
        if self.phase == Phase::Paused && !self.paused {
            let revision = self.sets[self.new].revision.to_string();
            if self.annotations.value(PROMOTE) != Some(&revision) {
                self.annotations.insert(PROMOTE.to_owned(), revision);
                self.user("lets it go on".to_owned());
                return true;
            }
        }
        false
    }

    fn check_settled(&self) {
        let set = &self.sets[self.new];
        if self.phase == Phase::Complete {
            assert_eq!(
                (set.serving(), self.alive()),
                (self.replicas, self.replicas),
                "complete, but not so\n{self}"
            );
        }
    }
}

impl fmt::Display for Fleet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} replicas, maxSurge {}, maxUnavailable {}",
            self.replicas, self.surge, self.unavailable
        )?;
        writeln!(
            f,
            "phase {:?}, memory `{}`, undone {}, now {}",
            self.phase, self.memory, self.undone, self.now
        )?;
        for (i, set) in self.sets.iter().enumerate() {
            let mark = if i == self.new { "new" } else { "old" };
            writeln!(
                f,
                "  {mark} {} rev {} size {} held {} {:?}",
                set.name, set.revision, set.size, set.held_back, set.pods
            )?;
        }
        self.history.iter().try_for_each(|event| writeln!(f, "  {event:?}"))
    }
}
