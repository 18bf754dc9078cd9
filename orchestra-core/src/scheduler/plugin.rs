//! What a pipeline is made of.

use std::fmt;
use std::marker::PhantomData;

use super::{NodeView, PodInfo, Points, Reads, Verdict, View};

/// Says which nodes may take a pod.
///
/// # Contract
/// - The answer follows from the pod, the node and what [`reads`](Self::reads) names, from nothing else.
/// - It is called often, so it is quick and allocates only to reject with a text of its own.
pub trait Filter: Send + Sync + 'static {
    /// Whether `pod` may run on `node`, which has what every decision so far left on it.
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict;

    /// What the answer depends on beside the pod's template. Undeclared is correct, and slower.
    fn reads(&self) -> Reads {
        Reads::ANYTHING
    }

    /// Whether `a` and `b` get the same answer on every node that there is or could be: then pods that differ in other
    /// things share the answers for one of them. Only asked of filters that read nothing but the node object
    /// ([`Reads::NODE`]). `false`, the default, is correct, and slower for pods that are all different.
    fn same(&self, _a: &PodInfo, _b: &PodInfo) -> bool {
        false
    }

    /// Answers that were kept are dropped when this number changes: for what the answer depends on beside the
    /// pod's template and [`reads`](Self::reads).
    fn version(&self, _pod: &PodInfo, _view: &View) -> u64 {
        0
    }
}

/// Says how good a node is for a pod.
///
/// # Contract
/// - Points are absolute: they follow from the pod, the node and what [`reads`](Self::reads) names, and not from
///   how other nodes score.
/// - It is called often, and only for nodes that passed the filters.
pub trait Score: Send + Sync + 'static {
    /// How good `node` is for `pod`: 0 to 100.
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points;

    /// What the points depend on beside the pod's template. Undeclared is correct, and slower.
    fn reads(&self) -> Reads {
        Reads::ANYTHING
    }

    /// Whether `a` and `b` get the same points on every node that there is or could be: then pods that differ in other
    /// things share the points of one of them. Only asked of scores that read nothing but the node object
    /// ([`Reads::NODE`]). `false`, the default, is correct, and slower for pods that are all different.
    fn same(&self, _a: &PodInfo, _b: &PodInfo) -> bool {
        false
    }

    /// Called when the scheduler meets a view, before the score is asked about its nodes: to have the view follow something
    /// that the score goes by, such as [typical pods](View::learn_typical_pods). It must not change nodes or pods.
    fn prepare(&self, _view: &mut View) {}

    /// Points that were kept are dropped when this number changes: for what they depend on beside the pod's
    /// template and [`reads`](Self::reads), such as a table of prices.
    fn version(&self, _pod: &PodInfo, _view: &View) -> u64 {
        0
    }
}

const _: fn(&dyn Filter, &dyn Score) = |_, _| {};

/// A closure that answers with an `R`, as a plugin.
pub(crate) struct Closure<F, R>(F, PhantomData<fn() -> R>);

impl<F, R> Closure<F, R> {
    pub(crate) fn new(closure: F) -> Self {
        Self(closure, PhantomData)
    }
}

impl<F, R> Filter for Closure<F, R>
where
    F: Fn(&PodInfo, &NodeView<'_>) -> R + Send + Sync + 'static,
    R: Into<Verdict> + 'static,
{
    fn check(&self, pod: &PodInfo, node: &NodeView<'_>) -> Verdict {
        (self.0)(pod, node).into()
    }
}

impl<F, R> Score for Closure<F, R>
where
    F: Fn(&PodInfo, &NodeView<'_>) -> R + Send + Sync + 'static,
    R: Into<Points> + 'static,
{
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        (self.0)(pod, node).into()
    }
}

impl fmt::Debug for dyn Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

impl fmt::Debug for dyn Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Score")
    }
}
