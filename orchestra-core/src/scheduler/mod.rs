//! Where pods go: the [`Scheduler`] trait, the default [`Pipeline`] of filters and scores, and the [`View`] of
//! the cluster that both decide on. Plain synchronous code: no I/O, no clock, no tasks.
//!
//! Which of these do I want?
//! - *Another preference or another rule* beside Kubernetes' own: a closure or a [`Score`] or [`Filter`] added to
//!   the default with [`Pipeline::builder`].
//! - *Another way to decide altogether*: implement [`Scheduler`]; a whole one takes a dozen lines.
//! - *To run one*, in a test or a program of your own: build a [`View`], call [`schedule`].
//! - *To keep pods until they can be placed*: [`PodQueue`].
//!
//! ```
//! # use std::sync::Arc;
//! # use orchestra_core::model::{Node, ObjectMeta, Pod, Uid};
//! # use orchestra_core::scheduler::{Outcome, Pipeline, View, schedule};
//! let mut view = View::new();
//! let mut node = Node { metadata: ObjectMeta::named("worker"), ..Node::default() };
//! node.status.allocatable.insert("pods".into(), "10".parse()?);
//! view.node_changed(&Arc::new(node));
//!
//! let mut pod = Pod { metadata: ObjectMeta::named("web"), ..Pod::default() };
//! pod.metadata.uid = Uid::from("1");
//! let decisions = schedule(&mut Pipeline::kubernetes(), &mut view, [Arc::new(pod)]);
//! assert!(matches!(&decisions[0].outcome, Outcome::Assigned(node) if &**node == "worker"));
//! # Ok::<(), String>(())
//! ```

mod batch;
mod by_uid;
mod decision;
mod diagnosis;
mod explain;
mod gang;
mod groups;
mod numbered;
mod pipeline;
mod plugin;
pub(crate) mod plugins;
mod points;
mod preemption;
mod queue;
mod reads;
mod rebalance;
#[cfg(test)]
mod testing;
mod unit;
mod view;
mod what_if;

use std::fmt;

pub use batch::Batch;
pub use decision::{AssignError, Decision, Outcome, UNDECIDED, schedule};
pub use diagnosis::{
    Diagnosis, Help, MAX_HELP, MAX_REMEDIES, NodeReport, Rejection, Remedy, ScorePart, Shortage, explain,
};
pub use explain::{Explanation, MAX_REASONS, Reason, Verdict};
pub use pipeline::{Evaluation, MAX_WEIGHT, Pipeline, PipelineBuilder};
pub use plugin::{Filter, Score};
pub use plugins::{
    BalancedAllocation, BestFit, Fragmentation, HostPorts, ImageLocality, LeastAllocated, MostAllocated,
    NodeAffinityFilter, NodeAffinityScore, RequestedToCapacityRatio, ResourceFit, TaintFilter, TaintScore,
    Unschedulable, VolumeBinding,
};
pub use points::Points;
pub use preemption::Room;
pub use queue::PodQueue;
pub use reads::{Change, Reads};
pub use rebalance::{DEFAULT_MOVES, Move, Objective, Rebalance, RebalancePlan};
pub use unit::{Pending, Unit};
pub(crate) use view::storage::Choice as VolumeChoice;
pub use view::{NodeId, NodeView, PodInfo, TypicalPods, View};
pub(crate) use what_if::Decider;
pub use what_if::{Cause, Forecast, MAX_DIAGNOSED, Placement, WhatIf, WhatIfError};

/// Decides which pods go to which nodes.
///
/// # Contract
/// - [`schedule`](Self::schedule) takes units from the batch until there are none, and assigns or defers each of
///   their pods. It returns; it does not block, wait or do I/O, and it reads no clock.
/// - Every decision is in the view as soon as it is made, so the next one is made on what is really left. An
///   assignment that does not fit is refused by the batch, so no scheduler can overcommit a node.
/// - Equal input gives equal decisions: the same scheduler, seed, view and pods. What a scheduler keeps between
///   two calls may make it faster, not change its answers.
/// - Pods come in order: the highest priority first, then the oldest, then by name. A scheduler may look at a
///   unit and come back to it later in the same batch; what it leaves undecided is tried again.
///
/// The default is [`Pipeline`]. The suite `orchestra_testkit::scheduler_contract` tests implementations.
///
/// ```
/// use orchestra_core::scheduler::{Batch, NodeView, Scheduler};
///
/// /// The cheapest node that can take the pod.
/// #[derive(Debug)]
/// struct Cheapest;
///
/// impl Scheduler for Cheapest {
///     fn schedule(&mut self, batch: &mut Batch<'_>) {
///         let price = |node: &NodeView<'_>| node.label("price").and_then(|p| p.parse().ok()).unwrap_or(u64::MAX);
///         while let Some(unit) = batch.next() {
///             batch.place(&unit, |batch, pod| {
///                 let best = batch.feasible(pod).min_by_key(price).map(|node| node.id());
///                 best.ok_or_else(|| batch.explain(pod))
///             });
///         }
///     }
/// }
/// ```
pub trait Scheduler: fmt::Debug + Send + 'static {
    /// Decides about the pods of a batch.
    fn schedule(&mut self, batch: &mut Batch<'_>);

    /// What it makes of every node of `view` for `pod`: one report for each, in any order. [`explain`] asks.
    ///
    /// Without one of its own, what Kubernetes' hard constraints say, and no scores.
    fn explain(&mut self, view: &mut View, pod: &PodInfo) -> Vec<NodeReport> {
        diagnosis::by_constraints(view, pod)
    }
}

const _: fn(&mut dyn Scheduler) = |_| {};
