//! The rollouts that ship, against the suite.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::time::Duration;

use orchestra_core::model::Timestamp;
use orchestra_core::rollout::{
    BlueGreen, Canary, CanaryStep, Recreate, RollingUpdate, Rollout, RolloutStep, RolloutView, Sizes,
    Verdict, analysis_fn,
};
use orchestra_testkit::rollout_contract::{self, Promises};

#[test]
fn rolling_update() {
    rollout_contract::run(&RollingUpdate::new());
    rollout_contract::run(&RollingUpdate::new().with_undo_on_failure());
}

#[test]
fn recreate() {
    rollout_contract::run_with(&Recreate::new(), Promises::default().without_floor());
}

#[test]
fn blue_green() {
    rollout_contract::run_with(&BlueGreen::new(), Promises::default().without_ceiling());
    let patient = BlueGreen::new().soak(Duration::from_secs(20)).keep_old(Duration::ZERO);
    rollout_contract::run_with(&patient, Promises::default().without_ceiling());
}

#[test]
fn canary() {
    rollout_contract::run(&Canary::new());
    let since = |view: &RolloutView<'_>, now: Timestamp| {
        if now.since(view.progressed_at) < Duration::from_secs(5) {
            Verdict::Pending(Duration::from_secs(1))
        } else {
            Verdict::Pass
        }
    };
    let canary = Canary::new()
        .weight(10)
        .pause(Duration::from_secs(30))
        .weight(50)
        .hold()
        .analysis(analysis_fn("wait", since));
    rollout_contract::run(&canary);
}

#[test]
fn a_canary_of_more_than_everything_is_everything() {
    rollout_contract::run(&Canary::new().then(CanaryStep::Weight(u32::MAX)).pause(Duration::from_secs(1)));
}

/// The example in the trait's documentation, with or without the mistake of adding without care.
#[derive(Debug)]
struct OneByOne {
    careful: bool,
}

impl Rollout for OneByOne {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        let next = view.new.available.checked_add(1);
        let next = if self.careful { next.unwrap_or(u32::MAX) } else { next.unwrap() }.min(view.replicas);
        let mut sizes = Sizes::of(view);
        sizes.shrink_new(view.replicas);
        sizes.grow_new(next);
        sizes.shrink_old(view.replicas - next);
        RolloutStep::judged(view, now).sized(&sizes)
    }
}

#[test]
fn the_documented_example() {
    rollout_contract::run(&OneByOne { careful: true });
}

#[test]
fn the_suite_finds_additions_that_overflow() {
    let suite = || rollout_contract::run(&OneByOne { careful: false });
    let panic = std::panic::catch_unwind(suite).expect_err("it is not total");
    let message = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(message.contains("Option::unwrap()"), "it failed otherwise: {message}");
}

/// Asks for everything at once.
#[derive(Debug)]
struct Greedy;

impl Rollout for Greedy {
    fn step(&self, view: &RolloutView<'_>, now: Timestamp) -> RolloutStep {
        RolloutStep::judged(view, now).scale(&view.new, u32::MAX)
    }
}

#[test]
fn the_suite_finds_sizes_beyond_all_bounds() {
    let panic = std::panic::catch_unwind(|| rollout_contract::run(&Greedy)).expect_err("it is greedy");
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(message.contains("shall have 4294967295 pods"), "it failed otherwise: {message}");
}
