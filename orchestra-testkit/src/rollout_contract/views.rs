//! Views that no run of the model leads to.

use orchestra_core::model::Timestamp;
use orchestra_core::rng::Rng;
use orchestra_core::rollout::{Budget, ReplicaSetView, Rollout, RolloutView};

/// How many random views are tried.
const VIEWS: u64 = 2_000;

/// Every view gets an answer, whatever its numbers.
pub(super) fn answers_every_view(rollout: &dyn Rollout) {
    for seed in 0..VIEWS {
        let rng = Rng::seeded(seed);
        let names = ["web-1", "web-2", "web-3", "web-4"];
        let mut view = RolloutView::new("shop/web", set(names[0], 9, &rng));
        view.replicas = number(&rng);
        view.budget = Budget { surge: number(&rng), unavailable: number(&rng) };
        view.old = (1..4).map(|i| set(names[i], i as u64, &rng)).take(index(&rng, 4)).collect();
        view.memory =
            ["", "full=1", "switched=5", "step=1 since=7", "step=99 since=0", "\u{1f98a} ="][index(&rng, 6)];
        view.paused = rng.chance(0.2);
        view.undone = rng.chance(0.2);
        view.undo_on_failure = rng.chance(0.5);
        let step = rollout.step(&view, Timestamp::from_micros(10_000_000));
        let known = |name: &String| names.contains(&name.as_str());
        assert!(step.sizes.keys().all(known), "seed {seed}: {view:?} gave {step:?}");
    }
}

fn set<'a>(name: &'a str, revision: u64, rng: &Rng) -> ReplicaSetView<'a> {
    let mut set = ReplicaSetView::new(name, revision);
    set.exists = rng.chance(0.9);
    set.size = number(rng);
    set.pods = number(rng);
    set.ready = number(rng).min(set.pods);
    set.available = number(rng).min(set.ready);
    set.terminating = number(rng);
    set.restarts = number(rng);
    set.sized_for = rng.chance(0.5).then(|| number(rng));
    set.held_back = rng.chance(0.2);
    set.completed = rng.chance(0.5);
    set
}

fn number(rng: &Rng) -> u32 {
    match rng.below(8) {
        0 => u32::MAX,
        1 | 2 => 0,
        _ => u32::try_from(rng.below(20)).unwrap_or_default(),
    }
}

fn index(rng: &Rng, bound: u64) -> usize {
    usize::try_from(rng.below(bound)).unwrap_or_default()
}
