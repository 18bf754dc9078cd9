//! How a request's body gets on, and what may be wrong with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::NetError;
use crate::http::Tap;

/// How long a body may be, and how much of that is left, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) longest: u64,
    pub(crate) left: u64,
}

/// How a request's body gets on, so that a slow client differs from a silent endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Passed>);

#[derive(Debug)]
struct Passed {
    tap: Tap,
    patience: Duration,
    frames: AtomicU64,
    starving: AtomicBool,
    fault: OnceLock<Fault>,
}

/// What is wrong with a request's body: with the client, not with the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client sent nothing of the rest for so long.
    Slow(Duration),
    /// The client broke off, or its framing is none.
    Broken,
    /// It is longer than this.
    TooLarge(u64),
}

impl Fault {
    /// The same, for people.
    pub(crate) fn error(self) -> NetError {
        match self {
            Self::Slow(limit) => NetError::SlowClient { limit },
            Self::Broken => NetError::BadRequest("its body broke off"),
            Self::TooLarge(limit) => NetError::BodyTooLarge { limit },
        }
    }
}

impl Progress {
    /// That of a body that has just begun; `tap` is told of its end, and `patience` is how long the client may send nothing.
    pub(crate) fn new(tap: Tap, patience: Duration) -> Self {
        let (frames, starving, fault) = Default::default();
        Self(Arc::new(Passed { tap, patience, frames, starving, fault }))
    }

    /// How long the client may send nothing while the next piece is waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// All of it has been read.
    pub(crate) fn ended(&self) {
        self.0.tap.body_ended();
    }

    /// How many pieces of it have passed.
    pub(crate) fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Whether it is the client that the next one is waited for from.
    pub(crate) fn starving(&self) -> bool {
        self.0.starving.load(Ordering::Relaxed)
    }

    /// What is wrong with it, where something is.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.fault.get().copied()
    }

    pub(crate) fn broken(&self, fault: Fault) {
        // The first one counts.
        let _first = self.0.fault.set(fault);
    }

    pub(crate) fn polled(&self, frame: bool) {
        self.0.frames.fetch_add(u64::from(frame), Ordering::Relaxed);
        self.0.starving.store(!frame, Ordering::Relaxed);
    }
}
