//! What came of it, in a few lines.

use std::collections::BTreeSet;
use std::time::Duration;

use orchestra::model::GPU_MILLI;
use orchestra::scheduler::View;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// The counts.
#[derive(Default)]
pub(crate) struct Summary {
    placed: usize,
    pending: usize,
    decisions: u32,
    took: Duration,
}

impl Summary {
    /// Runs a decision, and counts the CPU time it takes.
    pub(crate) fn timed<R>(&mut self, decide: impl FnOnce() -> R) -> R {
        let before = cpu();
        let decided = decide();
        self.took += cpu().saturating_sub(before);
        self.decisions += 1;
        decided
    }

    pub(crate) fn count(&mut self, lines: &[Value]) {
        self.placed = lines.iter().filter(|line| !line["node"].is_null()).count();
        self.pending = lines.len() - self.placed;
    }

    pub(crate) fn text(&self, view: &View) -> String {
        let mut text = format!("placed {}, pending {}\n", self.placed, self.pending);
        let resources: BTreeSet<String> =
            view.nodes().flat_map(|node| node.node().status.allocatable.keys().cloned()).collect();
        let shared = view.nodes().any(|node| node.used(GPU_MILLI) > 0).then(|| GPU_MILLI.to_owned());
        for resource in resources.into_iter().chain(shared) {
            let sum = |part: fn(&orchestra::scheduler::NodeView<'_>, &str) -> i64| -> i64 {
                view.nodes().map(|node| part(&node, &resource)).sum()
            };
            let (used, has) = (sum(|n, r| n.used(r)), sum(|n, r| n.allocatable(r)));
            if has > 0 {
                text.push_str(&format!("{resource}: {:.1} % allocated\n", percent(used, has)));
            }
        }
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 {
            let rate = f64::from(self.decisions) / seconds;
            text.push_str(&format!("{} decisions, {rate:.0} per CPU-second\n", self.decisions));
        }
        text
    }
}

#[allow(clippy::cast_precision_loss, reason = "a percentage with one digit")]
fn percent(part: i64, whole: i64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// The CPU time that this thread has used.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}
