//! What goes wrong.

use std::time::Duration;

/// A call of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SimOp {
    /// `info`, `image`, `images`, `list`, `sandbox`, `address`, `stats`, `logs`, `events`.
    Read,
    /// `pull_image`.
    Pull,
    /// `run_sandbox`.
    RunSandbox,
    /// `stop_sandbox`.
    StopSandbox,
    /// `remove_sandbox`.
    RemoveSandbox,
    /// `create_container`.
    Create,
    /// `start_container`.
    Start,
    /// `stop_container`.
    Stop,
    /// `remove_container`.
    Remove,
    /// `exec`.
    Exec,
}

/// How one call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// It fails and has no effect.
    Before,
    /// It has its effect, and its answer is lost.
    After,
    /// It does not answer until the faults end; then it is not known what became of it.
    Hang,
    /// It takes so much longer.
    Slow(Duration),
}

/// How often calls go wrong: probabilities from 0.0 to 1.0, each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SimFaults {
    /// That a call fails without an effect.
    pub before: f64,
    /// That a call's answer is lost. Reads have no effect: theirs fail.
    pub after: f64,
    /// That a call hangs.
    pub hang: f64,
    /// That a call is slow.
    pub slow: f64,
    /// By how much a slow call is slower, at most.
    pub slow_by: Duration,
    /// That an event is lost without a trace.
    pub lose_event: f64,
    /// That an event comes twice.
    pub repeat_event: f64,
}

impl SimFaults {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Each kind of fault of a call with the same probability, and events lost and repeated with it.
    #[must_use]
    pub fn all(probability: f64) -> Self {
        Self {
            before: probability,
            after: probability,
            hang: probability / 4.0,
            slow: probability,
            slow_by: Duration::from_secs(2),
            lose_event: probability,
            repeat_event: probability,
        }
    }
}
