//! Placing the pods of a trace one by one.

use std::sync::Arc;
use std::time::Duration;

use orchestra::model::{GPU, GPU_MILLI, Pod, Uid};
use orchestra::rng::Rng;
use orchestra::scheduler::{Fragmentation, Outcome, Scheduler, View, schedule};
use rustix::time::{ClockId, clock_gettime};

use crate::trace::Trace;

/// What came of it. Parts of all GPUs are in percent.
pub(crate) struct Result {
    /// Given away when pods for 130 % of the GPUs have come.
    pub(crate) allocated: f64,
    /// The same, when they had come for 100 %.
    pub(crate) allocated_at_100: f64,
    /// What the trace's pods can't use of the GPUs at the end, on average.
    pub(crate) fragmented: f64,
    /// How many pods no node could take.
    pub(crate) failed: f64,
    /// CPU time for a decision, in microseconds.
    pub(crate) micros: f64,
}

/// Each pod is placed when it comes or never; none ends and none is moved.
#[allow(clippy::cast_precision_loss, reason = "thousandths of a few thousand GPUs")]
pub(crate) fn replay(trace: &Trace, seed: u64, scheduler: &mut dyn Scheduler) -> Result {
    let mut view = View::new();
    trace.nodes.iter().for_each(|node| {
        view.node_changed(node);
    });
    let all: i64 = view.nodes().map(|node| node.allocatable(GPU_MILLI)).sum();
    let (mut arrived, mut failed, mut at_100, mut took) = (0, 0, None, Duration::ZERO);
    let allocated =
        |view: &View| view.nodes().map(|node| node.used(GPU_MILLI)).sum::<i64>() as f64 * 100.0 / all as f64;
    let arrivals = arrivals(trace, all * 13 / 10, seed);
    for (number, template) in arrivals.iter().enumerate() {
        let mut pod = Pod::clone(template);
        pod.metadata.name = format!("pod-{number}");
        pod.metadata.uid = Uid::from(pod.metadata.name.as_str());
        arrived += demand(&pod);
        let before = cpu();
        let decision = schedule(scheduler, &mut view, [Arc::new(pod)]).remove(0);
        took += cpu().saturating_sub(before);
        failed += u32::from(!matches!(decision.outcome, Outcome::Assigned(_)));
        if arrived >= all && at_100.is_none() {
            at_100 = Some(allocated(&view));
        }
    }
    let score = Fragmentation::of(trace.typical()).measuring([GPU]);
    let fragments: f64 = view.nodes().map(|node| score.fragments(&node)).sum();
    Result {
        allocated: allocated(&view),
        allocated_at_100: at_100.unwrap_or_default(),
        fragmented: fragments * 100.0 / all as f64,
        failed: f64::from(failed),
        micros: took.as_secs_f64() * 1e6 / arrivals.len().max(1) as f64,
    }
}

/// The pods of the trace, and further ones drawn from it until they ask for `goal` thousandths of GPUs; or fewer, where they
/// ask for more. In random order.
fn arrivals(trace: &Trace, goal: i64, seed: u64) -> Vec<Arc<Pod>> {
    let rng = Rng::seeded(seed);
    let below = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap_or(0);
    let mut pods = trace.pods.clone();
    let mut asked: i64 = pods.iter().map(|pod| demand(pod)).sum();
    while asked < goal {
        let pod = Arc::clone(&trace.pods[below(trace.pods.len())]);
        asked += demand(&pod);
        pods.push(pod);
    }
    while asked > goal {
        let at = below(pods.len());
        let less = asked - demand(&pods[at]);
        if less < goal {
            break;
        }
        asked = less;
        pods.swap_remove(at);
    }
    for last in (1..pods.len()).rev() {
        pods.swap(last, below(last + 1));
    }
    pods
}

/// The thousandths of GPUs that a pod asks for.
fn demand(pod: &Pod) -> i64 {
    let request = pod.spec.gpus();
    i64::from(request.of_each()) * i64::try_from(request.devices()).unwrap_or(0)
}

/// The CPU time that this thread has used.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}
