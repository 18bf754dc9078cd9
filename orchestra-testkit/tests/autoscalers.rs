//! The autoscaler that ships, against the suite; and the suite against mistakes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use orchestra_core::autoscale::{
    Autoscaler, HorizontalAutoscaler, Reading, ScaleDecision, ScaleHistory, ScaleView,
};
use orchestra_core::model::Timestamp;
use orchestra_testkit::autoscale_contract::{self, Promises};

#[test]
fn the_horizontal_autoscaler() {
    autoscale_contract::run(&HorizontalAutoscaler::new());
}

/// The example in the trait's documentation, with or without the mistake of forgetting that zero means off.
#[derive(Debug)]
struct OfficeHours {
    careful: bool,
}

impl Autoscaler for OfficeHours {
    fn replicas(&self, view: &ScaleView<'_>, now: Timestamp) -> ScaleDecision {
        if self.careful && view.is_switched_off() {
            return ScaleDecision::unknown(view, "ScalingDisabled", "the target is scaled to zero");
        }
        let hour = now.as_micros() / 3_600_000_000 % 24;
        let replicas = if (8..18).contains(&hour) { 3 } else { 1 };
        ScaleDecision::to(view, replicas, "OfficeHours", format!("hour {hour}"))
    }
}

#[test]
fn the_documented_example() {
    autoscale_contract::run_with(&OfficeHours { careful: true }, Promises::default().without_metrics());
}

#[test]
fn the_suite_finds_who_wakes_what_is_switched_off() {
    let promises = Promises::default().without_metrics();
    let message = message(|| autoscale_contract::run_with(&OfficeHours { careful: false }, promises));
    assert!(
        message.starts_with("assertion `left == right` failed: it wakes"),
        "it failed otherwise: {message}"
    );
}

#[test]
fn the_suite_knows_who_goes_by_the_metrics() {
    let message = message(|| autoscale_contract::run(&OfficeHours { careful: true }));
    assert!(message.contains("are near enough"), "it failed otherwise: {message}");
}

/// The horizontal autoscaler, with one mistake.
#[derive(Debug)]
struct Mistaken(Mistake);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    LeavesTheBounds,
    Counts,
    ForgetsTheWindow,
    WaitsForever,
    TakesSilenceForIdleness,
    IgnoresTolerance,
    NeverMoves,
    IsContrary,
    Overflows,
}

impl Autoscaler for Mistaken {
    fn replicas(&self, view: &ScaleView<'_>, now: Timestamp) -> ScaleDecision {
        let mut view = view.clone();
        if self.0 == Mistake::ForgetsTheWindow {
            view.history = ScaleHistory::default();
            view.history.wish(Timestamp::EPOCH, 0);
        }
        let mut spec = view.spec.clone();
        if self.0 == Mistake::IgnoresTolerance
            && let Some(behavior) = &mut spec.behavior
        {
            for rules in [&mut behavior.scale_up, &mut behavior.scale_down].into_iter().flatten() {
                rules.tolerance = None;
            }
        }
        view.spec = &spec;
        let current = view.current;
        let mut decision = HorizontalAutoscaler.replicas(&view, now);
        let on = !view.is_switched_off();
        let silent = on && view.readings.iter().all(|reading| matches!(reading, Reading::Missing(_)));
        match self.0 {
            Mistake::LeavesTheBounds => decision.replicas = decision.replicas.saturating_add(1),
            Mistake::Counts => decision.cause = format!("{:?}", std::thread::current().id()) + &stamp(),
            Mistake::WaitsForever if on => decision.replicas = view.clamp(decision.replicas.max(current)),
            Mistake::TakesSilenceForIdleness if silent => decision.replicas = view.clamp(0),
            Mistake::NeverMoves if on => decision.replicas = view.clamp(current),
            Mistake::IsContrary if on && decision.replicas > current.saturating_add(2) => {
                decision.replicas = view.clamp(current + 1);
            }
            Mistake::Overflows => decision.replicas = decision.replicas.min(current.checked_mul(2).unwrap()),
            _ => {}
        }
        decision
    }
}

/// Another one each time.
fn stamp() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// What the suite says; nothing where it is content.
fn message(suite: impl FnOnce() + std::panic::UnwindSafe) -> String {
    match std::panic::catch_unwind(suite) {
        Ok(()) => String::new(),
        Err(panic) => match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
        },
    }
}

#[test]
fn the_suite_finds_mistakes() {
    let found = |mistake| message(move || autoscale_contract::run(&Mistaken(mistake)));
    assert_eq!(found(Mistake::None), "");
    for (mistake, part) in [
        (Mistake::LeavesTheBounds, "the number is out of bounds"),
        (Mistake::Counts, "it is not pure"),
        (Mistake::Overflows, "Option::unwrap()"),
        (Mistake::ForgetsTheWindow, "it does not wait"),
        (Mistake::WaitsForever, "idle for longer than"),
        (Mistake::TakesSilenceForIdleness, "it scales down to"),
        (Mistake::IgnoresTolerance, "are near enough"),
        (Mistake::NeverMoves, "at twice their target"),
        (Mistake::IsContrary, "with more load"),
    ] {
        let message = found(mistake);
        assert!(message.contains(part), "{mistake:?}: {message}");
    }
}
