//! What came of a run.

use std::fmt;
use std::time::Duration;

use super::{Options, Violation};

/// What came of a run. It displays as all that is needed to live through a failure again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What the run was like.
    pub options: Options,
    /// The invariants that did not hold; the run ended soon after the first.
    pub violations: Vec<Violation>,
    /// How many things happened: commits, calls, faults.
    pub events: u64,
    /// A number that two equal runs share.
    pub trace_hash: u64,
    /// How much time passed for the cluster.
    pub simulated: Duration,
    /// The last things that happened; all of them where the options ask for that.
    pub trace: Vec<String>,
}

impl Outcome {
    /// Whether all invariants held.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_good() {
            return write!(f, "seed {} is good: {} events", self.seed, self.events);
        }
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\nseed {} failed:", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "{:#?}", self.options)?;
        write!(
            f,
            "run it again: ORCHESTRA_SEED={} cargo test -p orchestra-testkit --test simulation -- --nocapture one_seed",
            self.seed
        )
    }
}
