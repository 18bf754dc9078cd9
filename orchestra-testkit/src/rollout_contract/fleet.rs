//! A small model of a deployment: replica sets, pods, and what happens to them.

mod play;
mod pods;
mod set;
mod step;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use orchestra_core::model::{IntOrPercent, Labels, Timestamp};
use orchestra_core::rng::Rng;
use orchestra_core::rollout::{Budget, Counts, Phase, Rollout};

use self::set::Set;
use super::Promises;

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
