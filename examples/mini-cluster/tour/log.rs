//! What became of the requests.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Method;

/// How many failures are kept in words.
const SAMPLES: usize = 5;

/// What became of each request, by the phase in which it was due.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: usize,
    requests: Vec<Request>,
    samples: Vec<String>,
}

#[derive(Debug)]
struct Request {
    phase: usize,
    took: Duration,
    failed: bool,
}

/// Requests, summed up.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub total: usize,
    pub failed: usize,
    /// How long 99 of 100 took at most, and the slowest.
    pub p99: Duration,
    pub slowest: Duration,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The phase that goes on.
    pub(crate) fn phase(&self) -> usize {
        self.lock().phase
    }

    /// From now on requests are due in this phase.
    pub(crate) fn enter(&self, phase: usize) {
        self.lock().phase = phase;
    }

    /// A request of a phase has ended.
    pub(crate) fn add(
        &self,
        phase: usize,
        method: &Method,
        uri: &str,
        took: Duration,
        answer: anyhow::Result<()>,
    ) {
        let mut inner = self.lock();
        inner.requests.push(Request { phase, took, failed: answer.is_err() });
        if let Err(error) = answer
            && inner.samples.len() < SAMPLES
        {
            inner.samples.push(format!("{method} {uri}: {error:#}"));
        }
    }

    /// The requests that were due in a phase, or all of them.
    pub(crate) fn sum(&self, phase: Option<usize>) -> Sum {
        let inner = self.lock();
        let of_phase = inner.requests.iter().filter(|r| phase.is_none_or(|phase| r.phase == phase));
        let failed = of_phase.clone().filter(|r| r.failed).count();
        let mut took: Vec<Duration> = of_phase.map(|r| r.took).collect();
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent).div_ceil(100).saturating_sub(1));
        let [p99, slowest] = [99, 100].map(|percent| at(percent).copied().unwrap_or_default());
        Sum { total: took.len(), failed, p99, slowest }
    }

    /// The first failures, in words.
    pub(crate) fn samples(&self) -> Vec<String> {
        self.lock().samples.clone()
    }
}
