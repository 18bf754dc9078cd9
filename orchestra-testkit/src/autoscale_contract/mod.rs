//! What every [`Autoscaler`] must do, as a test to run on yours.
//!
//! The suite shows the autoscaler random situations: such that nobody meant, with the largest numbers and time that
//! runs backwards, and for one that goes by the spec's metrics ordinary ones, with pods that all run and a load.
//! Each follows from its seed, so the same ones are tried each time.
//!
//! ```
//! use orchestra_core::autoscale::{Autoscaler, HorizontalAutoscaler, ScaleDecision, ScaleView};
//! use orchestra_core::model::Timestamp;
//! use orchestra_testkit::autoscale_contract::{self, Promises};
//!
//! autoscale_contract::run(&HorizontalAutoscaler::new());
//!
//! /// Always three, whatever the load.
//! #[derive(Debug)]
//! struct Three;
//!
//! impl Autoscaler for Three {
//!     fn replicas(&self, view: &ScaleView<'_>, _now: Timestamp) -> ScaleDecision {
//!         if view.is_switched_off() {
//!             return ScaleDecision::unknown(view, "ScalingDisabled", "the target is scaled to zero");
//!         }
//!         ScaleDecision::to(view, 3, "Three", "three are enough")
//!     }
//! }
//!
//! autoscale_contract::run_with(&Three, Promises::default().without_metrics());
//! ```

mod extremes;
mod load;

use orchestra_core::autoscale::Autoscaler;
use orchestra_core::rng::Rng;

/// How many situations that nobody meant are tried. Enough that each known mistake shows many times over.
const EXTREMES: u64 = 4_000;

/// How many loads each property is tried on; the whole suite takes about a second in a debug build.
const LOADS: u64 = 500;

/// What an autoscaler promises beyond the common contract.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Promises {
    /// It goes by the metrics of the spec: it keeps to the spec's tolerance and windows, never scales down by what
    /// it does not know, and more load never means fewer replicas.
    pub metrics: bool,
}

impl Default for Promises {
    fn default() -> Self {
        Self { metrics: true }
    }
}

impl Promises {
    /// It goes by something else than the spec's metrics: the time of day, a queue of its own.
    #[must_use]
    pub fn without_metrics(mut self) -> Self {
        self.metrics = false;
        self
    }
}

/// Runs the suite on an autoscaler that goes by the metrics of the spec.
///
/// # Panics
/// Where the contract is broken: the message says which part of it, and the situation with its seed.
pub fn run(autoscaler: &dyn Autoscaler) {
    run_with(autoscaler, Promises::default());
}

/// Runs the suite on an autoscaler that promises less.
///
/// # Panics
/// Where the contract is broken: the message says which part of it, and the situation with its seed.
pub fn run_with(autoscaler: &dyn Autoscaler, promises: Promises) {
    for seed in 0..EXTREMES {
        extremes::answers_every_view(autoscaler, seed);
    }
    if promises.metrics {
        for seed in 0..LOADS {
            load::near_enough_changes_nothing(autoscaler, seed);
            load::what_is_not_known_never_scales_down(autoscaler, seed);
            load::more_load_never_means_fewer_replicas(autoscaler, seed);
            load::twice_the_target_asks_for_more(autoscaler, seed);
            load::the_window_holds_it_and_only_so_long(autoscaler, seed);
        }
    }
}

/// A random number in `0..bound`, as an index.
fn index(rng: &Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap_or_default()
}

/// A random number in `from..to`.
fn between(rng: &Rng, from: i64, to: i64) -> i64 {
    from + i64::try_from(rng.below(from.abs_diff(to))).unwrap_or_default()
}
