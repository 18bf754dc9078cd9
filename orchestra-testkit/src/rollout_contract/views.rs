//! Views that no run of the model leads to.

use std::time::Duration;

use orchestra_core::model::{IntOrPercent, Timestamp};
use orchestra_core::rng::Rng;
use orchestra_core::rollout::{Budget, FAIL_AFTER_RESTARTS, PROMOTE, ReplicaSetView, Rollout, RolloutView};

/// How many random views are tried.
const VIEWS: u64 = 4_000;

const NAMES: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

/// Every view gets an answer, whatever its numbers: the largest there are, none at all, pods that are many more or
/// fewer than their set is told to have, times before the beginning and after the end. It is the same one each
/// time, and asks for no more pods of a version than there may be of all, or than that version has.
pub(super) fn answers_every_view(rollout: &dyn Rollout) {
    for seed in 0..VIEWS {
        let rng = Rng::seeded(seed);
        let view = random_view(&rng);
        let now = time(&rng);
        let step = rollout.step(&view, now);
        let told = || format!("seed {seed}, at {now:?}: {view:?} gave {step:?}");
        assert_eq!(step, rollout.step(&view, now), "it is not pure: {}", told());
        let all = || std::iter::once(&view.new).chain(&view.old);
        for (name, size) in &step.sizes {
            let set = all().find(|set| set.name == *name);
            let set = set.unwrap_or_else(|| panic!("it names {name}, which is not there: {}", told()));
            let most = view.ceiling().max(set.occupied());
            assert!(*size <= most, "{name} shall have {size} pods, {most} may be: {}", told());
        }
        let known = |name: &String| all().any(|set| set.name == *name);
        assert!(step.held_back.iter().all(known), "it holds back what is not there: {}", told());
        let rollback = step.rollback_to.is_none_or(|to| view.old.iter().any(|old| old.revision == to));
        assert!(rollback, "it goes back to what is not there: {}", told());
    }
}

fn random_view(rng: &Rng) -> RolloutView<'static> {
    let newest = if rng.chance(0.1) { u64::MAX } else { 9 };
    let mut view = RolloutView::new("shop/web", set(NAMES[0], newest, rng));
    view.replicas = number(rng);
    view.budget = if rng.chance(0.5) {
        Budget { surge: number(rng), unavailable: number(rng) }
    } else {
        Budget::resolve(share(rng), share(rng), view.replicas)
    };
    view.old = (1..4).map(|i| set(NAMES[i], i as u64, rng)).take(index(rng, 4)).collect();
    view.memory = [
        "",
        "full=1",
        "full=9223372036854775807",
        "switched=5",
        "step=1 since=7",
        "step=99 since=0",
        "step=18446744073709551615 since=-9223372036854775808",
        "\u{1f98a} =",
    ][index(rng, 8)];
    view.min_ready = wait(rng);
    view.progress_deadline = rng.chance(0.7).then(|| wait(rng));
    view.progressed_at = time(rng);
    view.paused = rng.chance(0.2);
    view.done = rng.chance(0.2);
    view.undone = rng.chance(0.2);
    view.undo_on_failure = rng.chance(0.5);
    if rng.chance(0.3) {
        let value =
            ["9", "9:1", "9:18446744073709551615", "9:-1", "18446744073709551615", ":"][index(rng, 6)];
        view.annotations.insert(PROMOTE.into(), value.into());
    }
    if rng.chance(0.3) {
        let value = ["0", "1", "4294967295", "4294967296", "never"][index(rng, 5)];
        view.annotations.insert(FAIL_AFTER_RESTARTS.into(), value.into());
    }
    view
}

/// The numbers of a status are those of another moment than the size: nothing is said to go together.
fn set<'a>(name: &'a str, revision: u64, rng: &Rng) -> ReplicaSetView<'a> {
    let mut set = ReplicaSetView::new(name, revision);
    set.exists = rng.chance(0.9);
    set.size = number(rng);
    set.pods = number(rng);
    set.ready = number(rng).min(set.pods);
    set.available = number(rng).min(set.ready);
    set.settling = number(rng).min(set.available);
    set.terminating = number(rng);
    set.crashing = number(rng).min(set.pods);
    set.restarts = number(rng);
    set.sized_for = rng.chance(0.5).then(|| number(rng));
    set.held_back = rng.chance(0.2);
    set.completed = rng.chance(0.5);
    set
}

fn number(rng: &Rng) -> u32 {
    match rng.below(10) {
        0 => u32::MAX,
        1 => u32::MAX - u32::try_from(rng.below(3)).unwrap_or_default(),
        2 => u32::MAX / 2 + u32::try_from(rng.below(3)).unwrap_or_default(),
        3 | 4 => 0,
        _ => u32::try_from(rng.below(20)).unwrap_or_default(),
    }
}

/// `maxSurge` may be more than all there is, and what is stored may be anything.
fn share(rng: &Rng) -> IntOrPercent {
    match rng.below(6) {
        0 => IntOrPercent::Int(u32::MAX),
        1 => IntOrPercent::Percent(u32::MAX),
        2 => IntOrPercent::Percent(100 + u32::try_from(rng.below(900)).unwrap_or_default()),
        3 => IntOrPercent::Int(number(rng)),
        _ => IntOrPercent::Percent(u32::try_from(rng.below(101)).unwrap_or_default()),
    }
}

fn time(rng: &Rng) -> Timestamp {
    Timestamp::from_micros(match rng.below(8) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 0,
        3 => -1,
        _ => 10_000_000,
    })
}

fn wait(rng: &Rng) -> Duration {
    [Duration::ZERO, Duration::from_secs(600), Duration::MAX][index(rng, 3)]
}

fn index(rng: &Rng, bound: u64) -> usize {
    usize::try_from(rng.below(bound)).unwrap_or_default()
}
