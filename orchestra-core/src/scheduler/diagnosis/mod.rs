//! What a scheduler makes of every node for one pod, and what would help it.

mod help;
mod remedy;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use help::{MAX_HELP, MAX_REMEDIES};
pub use remedy::{Help, Remedy, Shortage};

use super::{Outcome, Pipeline, PodInfo, Scheduler, View, schedule};
use crate::model::Pod;

/// What a filter said against a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The filter's name.
    pub plugin: Arc<str>,
    /// What it said, as in `insufficient cpu`.
    pub text: Cow<'static, str>,
}

impl Rejection {
    /// A rejection by the filter `plugin`.
    #[must_use]
    pub fn new(plugin: impl Into<Arc<str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin: plugin.into(), text: text.into() }
    }
}

/// What one score gives a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScorePart {
    /// The score's name.
    pub plugin: Arc<str>,
    /// How much it weighs.
    pub weight: u8,
    /// What it adds to the node's sum: its points, 0 to 100, times its weight.
    pub points: f64,
}

impl ScorePart {
    /// What the score `plugin` of this weight adds to a node's sum.
    #[must_use]
    pub fn new(plugin: impl Into<Arc<str>>, weight: u8, points: f64) -> Self {
        Self { plugin: plugin.into(), weight, points }
    }
}

/// What a scheduler makes of one node for one pod.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeReport {
    /// The node's name.
    pub node: Arc<str>,
    /// Every filter that is against it; the first is the one that an [`Explanation`](super::Explanation) counts. Empty
    /// where the node can take the pod.
    pub rejections: Vec<Rejection>,
    /// Of a node that can take the pod: what its scores are.
    pub scores: Vec<ScorePart>,
}

impl NodeReport {
    /// A report about the node called `node`.
    #[must_use]
    pub fn new(node: impl Into<Arc<str>>, rejections: Vec<Rejection>, scores: Vec<ScorePart>) -> Self {
        Self { node: node.into(), rejections, scores }
    }

    /// Whether the node can take the pod.
    #[must_use]
    pub fn is_feasible(&self) -> bool {
        self.rejections.is_empty()
    }

    /// The sum of its scores.
    #[must_use]
    pub fn points(&self) -> f64 {
        self.scores.iter().map(|score| score.points).sum()
    }
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.node)?;
        for (i, rejection) in self.rejections.iter().enumerate() {
            write!(f, "{}{} ({})", if i == 0 { "" } else { ", " }, rejection.text, rejection.plugin)?;
        }
        if !self.is_feasible() {
            return Ok(());
        }
        write!(f, "{:.1}", self.points())?;
        for (i, score) in self.scores.iter().enumerate() {
            write!(f, "{} {:.1} {}", if i == 0 { " =" } else { " +" }, score.points, score.plugin)?;
        }
        Ok(())
    }
}

/// What a scheduler would do with a pod now, and why: every node's report, and what would help a pod that waits.
///
/// Displays as `default/web: 0/2 nodes: 2 insufficient cpu; 1 node would fit if 500m more cpu were free`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The node that the pod is on, or was given to; the reports are then those without it.
    pub on: Option<Arc<str>>,
    /// What would be decided if it came now.
    pub outcome: Outcome,
    /// One report a node: first those that can take the pod, the best first, then the others by name.
    pub nodes: Vec<NodeReport>,
    /// What would help, where it would wait: what opens most nodes first. Each stands for itself.
    pub help: Vec<Help>,
}

impl Diagnosis {
    /// How many nodes can take the pod.
    #[must_use]
    pub fn feasible(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_feasible()).count()
    }

    /// The report about the node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeReport> {
        self.nodes.iter().find(|node| &*node.node == name)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = &self.pod.metadata;
        write!(f, "{}/{}: ", meta.namespace, meta.name)?;
        if let Some(node) = &self.on {
            write!(f, "is on {node}; anew ")?;
        }
        match &self.outcome {
            Outcome::Assigned(node) => {
                write!(f, "goes to {node}, one of {} nodes that can take it", self.feasible())?;
            }
            Outcome::Preempting { node, victims } => {
                write!(f, "goes to {node} when {} of lower priority left", pods(victims.len()))?;
            }
            Outcome::Pending(why) => write!(f, "{why}")?,
        }
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

/// What `scheduler` would do with `pod` now, with every node's report, and what would help where it would wait. The view
/// is afterwards as before.
///
/// A pod that is on a node is judged as if it were not there yet. Slower than a decision, for it keeps every verdict
/// and tries what would help: a few evaluations of all nodes, a few dozen at most ([`MAX_REMEDIES`]).
///
/// ```
/// # use std::sync::Arc;
/// # use orchestra_core::model::{Container, Node, Pod, PodSpec, Uid};
/// # use orchestra_core::scheduler::{Pipeline, View, explain};
/// let mut view = View::new();
/// view.node_changed(&Arc::new(Node::new("small").capacity("cpu", "1").capacity("pods", "10")));
/// let mut pod = Pod::new("web").namespace("default").spec(PodSpec::new(Container::new("main", "web").request("cpu", "2")));
/// pod.metadata.uid = Uid::from("1");
///
/// let diagnosis = explain(&mut Pipeline::kubernetes(), &mut view, &Arc::new(pod));
/// assert_eq!(
///     diagnosis.to_string(),
///     "default/web: 0/1 nodes: 1 insufficient cpu; no node is large enough: 2 cpu is requested, the largest has 1",
/// );
/// assert_eq!(diagnosis.nodes[0].to_string(), "small: insufficient cpu (NodeResourcesFit)");
/// ```
pub fn explain(scheduler: &mut dyn Scheduler, view: &mut View, pod: &Arc<Pod>) -> Diagnosis {
    let uid = &pod.metadata.uid;
    let on = view.node_of(uid).cloned().or_else(|| pod.node_name.clone());
    // Judged as if it were not there: neither in the view, nor bound by what it says itself.
    let mut unbound = Arc::clone(pod);
    if unbound.node_name.is_some() {
        Arc::make_mut(&mut unbound).node_name = None;
    }
    view.what_if(|view| {
        view.take_out(uid);
        let info = view.pod_info(&unbound);
        let mut nodes = scheduler.explain(view, &info);
        nodes.sort_by(|a, b| {
            let order = b.is_feasible().cmp(&a.is_feasible());
            order.then_with(|| b.points().total_cmp(&a.points())).then_with(|| a.node.cmp(&b.node))
        });
        let decide = |view: &mut View| schedule(scheduler, view, [Arc::clone(&unbound)]).pop();
        let decided = view.what_if(decide).map(|decision| decision.outcome);
        let outcome = decided.unwrap_or_else(|| Outcome::Pending(super::UNDECIDED.into()));
        let help = match outcome {
            Outcome::Pending(_) => help::find(scheduler, view, &unbound, &nodes),
            _ => Vec::new(),
        };
        Diagnosis { pod: Arc::clone(pod), on, outcome, nodes, help }
    })
}

/// What Kubernetes' hard constraints say of every node: what is known of a scheduler that doesn't explain itself.
pub(super) fn by_constraints(view: &mut View, pod: &PodInfo) -> Vec<NodeReport> {
    Pipeline::constraints().report(view, pod)
}

#[cfg(test)]
mod tests;
