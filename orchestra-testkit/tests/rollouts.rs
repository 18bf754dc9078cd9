//! The rollouts that ship, against the suite.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::time::Duration;

use orchestra_core::rollout::{BlueGreen, Canary, Recreate, RollingUpdate, Verdict, analysis_fn};
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
    let since = |view: &orchestra_core::rollout::RolloutView<'_>, now: orchestra_core::model::Timestamp| {
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
