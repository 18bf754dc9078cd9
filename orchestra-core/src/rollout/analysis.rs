//! Judging a new version by more than its readiness.

use std::fmt;
use std::time::Duration;

use super::RolloutView;
use crate::model::Timestamp;

/// What an [`Analysis`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The new version is good.
    Pass,
    /// The new version is bad, and why.
    Fail(String),
    /// Not known yet: ask again after this time, 100 ms at least.
    Pending(Duration),
}

/// The shortest wait until an analysis is asked again: one that says "at once" must not make a busy loop.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// How often an analysis that passed is asked again while it watches: a version turns bad without any object changing.
const WATCH_EVERY: Duration = Duration::from_secs(10);

impl Verdict {
    /// When one that watches is to be asked again; `None`: it has failed.
    pub(super) fn ask_again(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Pass => Some(now + WATCH_EVERY),
            Self::Pending(wait) => Some(now + (*wait).max(SHORTEST_WAIT)),
            Self::Fail(_) => None,
        }
    }
}

/// Judges a new version while it is rolled out: by its error rate, its latency, a test run against it.
///
/// # Contract
/// Answers at once, from what it knows: whatever takes time (asking a metrics server) is done elsewhere, and its
/// result read here. It may be asked at any time and again after it answered: one that watches is asked every ten seconds.
pub trait Analysis: fmt::Debug + Send + Sync + 'static {
    /// What is known about the new version now.
    fn verdict(&self, view: &RolloutView<'_>, now: Timestamp) -> Verdict;
}

const _: fn(&dyn Analysis) = |_| {};

/// An [`Analysis`] by a closure; made by [`analysis_fn`].
pub struct AnalysisFn<F> {
    name: &'static str,
    verdict: F,
}

impl<F> fmt::Debug for AnalysisFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnalysisFn").field(&self.name).finish()
    }
}

impl<F> Analysis for AnalysisFn<F>
where
    F: Fn(&RolloutView<'_>, Timestamp) -> Verdict + Send + Sync + 'static,
{
    fn verdict(&self, view: &RolloutView<'_>, now: Timestamp) -> Verdict {
        (self.verdict)(view, now)
    }
}

/// An [`Analysis`] called `name`, by a closure.
///
/// ```
/// use orchestra_core::rollout::{Canary, Verdict, analysis_fn};
///
/// let canary = Canary::new().weight(10).analysis(analysis_fn("restarts", |view, _now| {
///     if view.new.restarts > 0 { Verdict::Fail("it crashed".into()) } else { Verdict::Pass }
/// }));
/// ```
#[must_use]
pub fn analysis_fn<F>(name: &'static str, verdict: F) -> AnalysisFn<F>
where
    F: Fn(&RolloutView<'_>, Timestamp) -> Verdict + Send + Sync + 'static,
{
    AnalysisFn { name, verdict }
}
