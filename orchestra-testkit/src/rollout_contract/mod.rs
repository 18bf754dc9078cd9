//! What every [`Rollout`] must do, as a test to run on yours.
//!
//! The suite runs the rollout in a small model of a deployment ([`Fleet`]): replica sets that follow their sizes in
//! random order, pods that become ready in random order, new revisions and undoing in the middle, versions that never
//! become ready or crash soon after, pods that fail, scaling. After every event it checks the numbers.
//!
//! ```
//! use orchestra_core::rollout::{RollingUpdate, Recreate};
//! use orchestra_testkit::rollout_contract::{self, Promises};
//!
//! rollout_contract::run(&RollingUpdate::new());
//! rollout_contract::run_with(&Recreate::new(), Promises::default().without_floor());
//! ```

mod fleet;
mod views;

pub use fleet::{Event, Fleet};

use orchestra_core::model::IntOrPercent;
use orchestra_core::rng::Rng;
use orchestra_core::rollout::{Phase, Rollout};

/// How many random histories each part of the suite runs. Enough that each known mistake shows in every run; the
/// whole suite takes about a second in a debug build.
const SEEDS: u64 = 60;

/// How many revisions an undo goes back over: more than nine, so that comparing them as text shows.
const REVISIONS: usize = 13;

/// For how many events a version that crashes is watched: a dozen pods each come up and crash several times.
const CRASHING: u32 = 300;

/// What a rollout promises beyond the common contract.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Promises {
    /// At least `replicas - maxUnavailable` pods stay available and in traffic.
    pub floor: bool,
    /// At most `replicas + maxSurge` pods exist; else at most twice the desired ones for each version there is.
    pub ceiling: bool,
}

impl Default for Promises {
    fn default() -> Self {
        Self { floor: true, ceiling: true }
    }
}

impl Promises {
    /// It gives up availability in between, as `Recreate` does.
    #[must_use]
    pub fn without_floor(mut self) -> Self {
        self.floor = false;
        self
    }

    /// It starts new versions beside the old one, as blue/green does.
    #[must_use]
    pub fn without_ceiling(mut self) -> Self {
        self.ceiling = false;
        self
    }
}

/// Runs the suite on a rollout that keeps to its budget on both sides.
///
/// # Panics
/// Where the contract is broken; the message has the seed and the history.
pub fn run(rollout: &dyn Rollout) {
    run_with(rollout, Promises::default());
}

/// Runs the suite on a rollout that promises less.
///
/// # Panics
/// Where the contract is broken; the message has the seed and the history.
pub fn run_with(rollout: &dyn Rollout, promises: Promises) {
    views::answers_every_view(rollout);
    for seed in 0..SEEDS {
        keeps_its_bounds_and_ends(rollout, promises, seed);
        survives_faults_and_scaling(rollout, promises, seed);
        a_dead_version_fails_and_costs_nothing(rollout, promises, seed);
        a_crashing_version_costs_nothing(rollout, promises, seed);
    }
    goes_back_over_many_revisions(rollout, promises);
}

fn random_fleet<'r>(rollout: &'r dyn Rollout, promises: Promises, rng: &Rng) -> Fleet<'r> {
    let share = |rng: &Rng| match rng.below(3) {
        0 => IntOrPercent::Percent(u32::try_from(rng.below(101)).unwrap_or_default()),
        1 => IntOrPercent::Percent(25),
        _ => IntOrPercent::Int(u32::try_from(rng.below(4)).unwrap_or_default()),
    };
    let replicas = u32::try_from(1 + rng.below(12)).unwrap_or_default();
    Fleet::new(rollout, promises, replicas, share(rng), share(rng), rng.fork())
}

/// S26 at every event, without faults, over rollouts that begin while others are under way; and each last one ends.
fn keeps_its_bounds_and_ends(rollout: &dyn Rollout, promises: Promises, seed: u64) {
    let rng = Rng::seeded(seed);
    let mut fleet = random_fleet(rollout, promises, &rng);
    fleet.settle(Phase::Complete);
    for _ in 0..4 {
        fleet.new_version(true);
        fleet.play(rng.below(60));
        if rng.chance(0.3) {
            fleet.undo_to_random();
            fleet.play(rng.below(30));
        }
        if rng.chance(0.5) {
            fleet.settle(Phase::Complete);
        }
    }
    fleet.settle(Phase::Complete);
}

/// With pods that fail, scaling, pausing and bad versions, the rollout itself never plans to give up pods that are
/// needed; and once that stops, a good version is rolled out.
fn survives_faults_and_scaling(rollout: &dyn Rollout, promises: Promises, seed: u64) {
    let rng = Rng::seeded(seed ^ 0x5eed);
    let mut fleet = random_fleet(rollout, promises, &rng).with_faults();
    fleet.settle(Phase::Complete);
    for _ in 0..6 {
        fleet.new_version(rng.chance(0.6));
        fleet.play(rng.below(40));
        fleet.scale(u32::try_from(rng.below(15)).unwrap_or_default());
        fleet.play(rng.below(40));
        fleet.pause(rng.chance(0.3));
    }
    fleet.pause(false);
    fleet.new_version(true);
    let mut fleet = fleet.without_faults();
    fleet.settle(Phase::Complete);
    let replicas = fleet.replicas();
    fleet.scale(replicas + 3);
    fleet.settle(Phase::Complete);
    fleet.scale(0);
    fleet.settle(Phase::Complete);
}

/// A version whose pods never become ready is said to have failed, the old pods stay, and a good one then goes through.
fn a_dead_version_fails_and_costs_nothing(rollout: &dyn Rollout, promises: Promises, seed: u64) {
    let rng = Rng::seeded(seed ^ 0xdead);
    let mut fleet = random_fleet(rollout, promises, &rng).without_undo();
    fleet.settle(Phase::Complete);
    fleet.new_version(false);
    fleet.settle(Phase::Failed);
    assert!(
        !promises.floor || fleet.serving() >= fleet.floor(),
        "seed {seed}: a bad version cost old pods\n{fleet}"
    );
    fleet.new_version(true);
    fleet.settle(Phase::Complete);
}

/// A version whose pods become ready and crash, before they can be counted on, takes no old pods with it, however many
/// of them are ready at once; and a good one then goes through.
fn a_crashing_version_costs_nothing(rollout: &dyn Rollout, promises: Promises, seed: u64) {
    let rng = Rng::seeded(seed ^ 0xc7a5);
    let mut fleet = random_fleet(rollout, promises, &rng).with_settling().without_undo();
    fleet.settle(Phase::Complete);
    fleet.crashing_version();
    for _ in 0..CRASHING {
        fleet.play(1);
        assert!(
            !promises.floor || fleet.serving() >= fleet.floor(),
            "seed {seed}: a version that crashes cost old pods\n{fleet}"
        );
    }
    fleet.new_version(true);
    fleet.settle(Phase::Complete);
}

/// S27: undoing to a revision, over more than nine of them, ends with that revision's pods only.
fn goes_back_over_many_revisions(rollout: &dyn Rollout, promises: Promises) {
    let rng = Rng::seeded(27);
    let mut fleet = random_fleet(rollout, promises, &rng);
    fleet.settle(Phase::Complete);
    for _ in 0..REVISIONS {
        fleet.new_version(true);
        fleet.settle(Phase::Complete);
    }
    for _ in 0..REVISIONS {
        let version = fleet.undo_to_random();
        fleet.settle(Phase::Complete);
        assert_eq!(
            fleet.running_version(),
            Some(version),
            "another version than the one gone back to runs\n{fleet}"
        );
    }
}
