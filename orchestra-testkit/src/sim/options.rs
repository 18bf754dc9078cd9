//! What a run is like. All of it follows from the seed, and each part can be chosen.

use std::time::Duration;

use orchestra_core::rng::Rng;

use super::Mutant;

/// How likely faults are while they happen. Probabilities are per call, 0.0 to 1.0; counts are per run.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// A call of the store fails, and had no effect.
    pub store_refused: f64,
    /// A commit times out before it happened.
    pub store_lost_request: f64,
    /// A commit times out after it happened.
    pub store_lost_reply: f64,
    /// Another writer changes an object just before a commit to it.
    pub store_rival: f64,
    /// A watch breaks, per event.
    pub watch_cut: f64,
    /// An event of a watch, and all after it, is late by up to a second.
    pub watch_late: f64,
    /// How often the store forgets its history.
    pub compactions: u32,
    /// How often a process hears nothing of the store for up to [`freeze`](Self::freeze).
    pub freezes: u32,
    /// How long a process hears nothing at most.
    pub freeze: Duration,
    /// A call of a runtime fails, and had no effect.
    pub runtime_failed: f64,
    /// The reply to a call of a runtime is lost; the effect is there or not.
    pub runtime_unknown: f64,
    /// A call of a runtime takes up to ten seconds.
    pub runtime_slow: f64,
    /// An event of a runtime is lost.
    pub event_lost: f64,
    /// An event of a runtime comes twice.
    pub event_twice: f64,
    /// How often the control plane dies and is started again.
    pub control_crashes: u32,
    /// How often an agent dies and is started again; what it runs goes on.
    pub agent_crashes: u32,
    /// How often a container's process ends by itself: well, badly, or for want of memory.
    pub exits: u32,
    /// How often a process hangs, until it is started again or the faults are over.
    pub hangs: u32,
    /// How often a node loses its power: processes and agent are gone, and come back only by a restart.
    pub power_losses: u32,
    /// How often a node can't reach the store for a while.
    pub partitions: u32,
    /// How far the clock of a node is off, at most.
    pub clock_skew: Duration,
}

/// What one run of the simulation is like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How many nodes, 1 to 8.
    pub nodes: usize,
    /// How many Deployments.
    pub deployments: usize,
    /// How many pods without an owner.
    pub bare_pods: usize,
    /// For how long users act and faults happen.
    pub chaos: Duration,
    /// How many things users do in that time.
    pub actions: usize,
    /// Whether there are requests.
    pub traffic: bool,
    /// What goes wrong.
    pub faults: Faults,
    /// A defect that the checkers must find.
    pub mutant: Option<Mutant>,
    /// Whether the outcome has every line of the trace, not only the last ones.
    pub whole_trace: bool,
}

impl Options {
    /// The options that follow from `seed`: one of eight kinds of trouble, of random strength.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let rng = Rng::seeded(seed ^ 0x6f70_7469_6f6e_7321);
        let between = |low: u64, high: u64| low + rng.below(high - low + 1);
        let count = |low: u64, high: u64| usize::try_from(between(low, high)).unwrap_or(usize::MAX);
        let mut options = Self {
            nodes: count(2, 8),
            deployments: count(1, 3),
            bare_pods: count(0, 2),
            chaos: Duration::from_secs(between(120, 360)),
            actions: count(3, 12),
            traffic: true,
            faults: Faults::default(),
            mutant: None,
            whole_trace: false,
        };
        let all = seed % 8 >= 5;
        for kind in 1..=4 {
            if all || seed % 8 == kind {
                add_faults(&mut options.faults, kind, &rng);
            }
        }
        options
    }

    /// Nothing goes wrong but what users do.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.faults == Faults::default()
    }
}

/// Adds one kind of trouble: 1: processes and the control plane, 2: the store, 3: runtimes and agents, 4: nodes.
fn add_faults(faults: &mut Faults, kind: u64, rng: &Rng) {
    let up_to = |most: u32| u32::try_from(rng.below(u64::from(most) + 1)).unwrap_or(most);
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let rate = |most: f64| most * (rng.below(1000) as f64 / 1000.0);
    match kind {
        1 => {
            faults.exits = up_to(8);
            faults.hangs = up_to(3);
            faults.control_crashes = up_to(5);
        }
        2 => {
            faults.store_refused = rate(0.02);
            faults.store_lost_request = rate(0.01);
            faults.store_lost_reply = rate(0.02);
            faults.store_rival = rate(0.02);
            faults.watch_cut = rate(0.01);
            faults.watch_late = rate(0.05);
            faults.compactions = up_to(10);
            faults.freezes = up_to(2);
            faults.freeze = Duration::from_secs(20);
        }
        3 => {
            faults.runtime_failed = rate(0.05);
            faults.runtime_unknown = rate(0.05);
            faults.runtime_slow = rate(0.05);
            faults.event_lost = rate(0.1);
            faults.event_twice = rate(0.1);
            faults.agent_crashes = up_to(6);
        }
        _ => {
            faults.power_losses = up_to(2);
            faults.partitions = up_to(3);
        }
    }
}
