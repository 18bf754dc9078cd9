//! What was decided, and how a batch of decisions is made.

use std::sync::Arc;

use smallvec::SmallVec;

use super::unit::{Pending, Unit, order, read_ahead};
use super::{Batch, Explanation, PodInfo, Scheduler, View};
use crate::model::{GpuRequest, Pod};

/// What was decided about one pod.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decision {
    /// The pod, as it was when the decision was made. Where it was given GPUs, with the annotation
    /// [`GPU_DEVICES`](crate::model::GPU_DEVICES), which is to be stored along with the binding.
    pub pod: Arc<Pod>,
    /// The gang that it was decided about with, if any.
    pub gang: Option<Arc<str>>,
    /// The decision.
    pub outcome: Outcome,
}

/// What the explanation of a pod says that a scheduler took no decision about.
pub const UNDECIDED: &str = "the scheduler did not decide";

/// A decision about a pod.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The pod goes to the node of this name. In the view it is there already.
    Assigned(Arc<str>),
    /// The pod waits.
    Pending(Explanation),
    /// The pod will go to a node when others have left it; see [`Batch::preempt`]. In the view it is there already, and
    /// so are they, until they are gone.
    Preempting {
        /// The node's name.
        node: Arc<str>,
        /// Those that must leave; none for a pod of a gang that waits for those that must leave for others of it.
        victims: Vec<Arc<Pod>>,
    },
}

/// Why an assignment was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignError {
    /// There is no such node.
    #[error("pod {pod} was given to a node that is not there")]
    UnknownNode {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The node has not enough left, or a host port is taken.
    #[error("pod {pod} does not fit on node {node}: {lacking}")]
    DoesNotFit {
        /// Namespace and name of the pod.
        pod: String,
        /// The node's name.
        node: Arc<str>,
        /// The resource it lacks.
        lacking: String,
    },
    /// A pod that was to leave is not on the node, or its priority is not lower.
    #[error("pod {victim} can't be made to leave node {node} for pod {pod}: {why}")]
    NoVictim {
        /// Namespace and name of the pod.
        pod: String,
        /// The node's name.
        node: Arc<str>,
        /// Namespace and name of the other pod.
        victim: String,
        /// Why not.
        why: &'static str,
    },
    /// The batch has a decision about this pod already, or the pod is not of this batch.
    #[error("pod {pod} is not waiting for a decision in this batch")]
    NotWaiting {
        /// Namespace and name of the pod.
        pod: String,
    },
}

impl From<AssignError> for Explanation {
    fn from(error: AssignError) -> Self {
        Self::note(error.to_string())
    }
}

/// Lets `scheduler` decide about `pods` on `view`: one decision for each pod, in the order in which they were
/// taken (the highest priority first, then the oldest, then by name).
///
/// Assigned pods are in the view when this returns, as assumed; see [`View`]. Pods that must not be placed stay
/// pending without being shown to the scheduler: those with scheduling gates, those being deleted or ended, and
/// those that are on a node already.
pub fn schedule<P: Into<Pending>>(
    scheduler: &mut dyn Scheduler,
    view: &mut View,
    pods: impl IntoIterator<Item = P>,
) -> Vec<Decision> {
    let mut pending: Vec<Pending> = pods.into_iter().map(Into::into).collect();
    read_ahead(&pending);
    pending.sort_by(|a, b| a.order().cmp(&b.order()));

    let count = pending.iter().map(|p| p.pods.len()).sum();
    let mut pods: Vec<Arc<Pod>> = Vec::with_capacity(count);
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(count);
    let mut units = Vec::with_capacity(pending.len());
    // Its gang, and whether it is given GPUs.
    let mut more: Vec<(Option<Arc<str>>, bool)> = Vec::with_capacity(count);
    for Pending { pods: mut members, gang } in pending {
        // So that no member can have another leave.
        members.sort_by(|a, b| order(a).cmp(&order(b)));
        let name = gang.as_ref().map(|gang| Arc::clone(&gang.name));
        let mut unit = Unit { pods: SmallVec::with_capacity(members.len()), gang };
        for pod in members {
            let mut info = view.pod_info(&pod);
            more.push((name.clone(), info.class().gpus != GpuRequest::None));
            info.slot = u32::try_from(pods.len()).unwrap_or(u32::MAX);
            let kept_back = why_kept_back(view, &info).map(Outcome::Pending);
            if kept_back.is_none() {
                unit.pods.push(info);
            }
            outcomes.push(kept_back);
            pods.push(pod);
        }
        if !unit.pods.is_empty() {
            units.push(unit);
        }
    }
    let mut batch = Batch::new(view, units, outcomes);
    scheduler.schedule(&mut batch);
    let undecided = || Outcome::Pending(Explanation::note(UNDECIDED));
    let outcomes = batch.into_outcomes().into_iter().map(|o| o.unwrap_or_else(undecided));
    let decisions = pods.into_iter().zip(more).zip(outcomes);
    let decision = |((pod, (gang, gpus)), outcome)| {
        let pod = if gpus { with_gpus(view, pod, &outcome) } else { pod };
        Decision { pod, gang, outcome }
    };
    decisions.map(decision).collect()
}

/// The pod that was decided about, with the GPUs it was given.
fn with_gpus(view: &View, pod: Arc<Pod>, outcome: &Outcome) -> Arc<Pod> {
    let placed = matches!(outcome, Outcome::Assigned(_)).then(|| view.pod(&pod.metadata.uid)).flatten();
    placed.map_or(pod, Arc::clone)
}

fn why_kept_back(view: &View, info: &PodInfo) -> Option<Explanation> {
    let pod = info.pod();
    if let Some(gate) = pod.spec.scheduling_gates.first() {
        return Some(Explanation::note(format!("waits for scheduling gate {}", gate.name)));
    }
    if pod.is_terminating() || pod.is_terminal() {
        return Some(Explanation::note("has ended or is being deleted"));
    }
    let node = pod.node_name.as_ref().or_else(|| view.node_of_info(info))?;
    Some(Explanation::note(format!("is on node {node} already")))
}
