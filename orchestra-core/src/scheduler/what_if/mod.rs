//! What would happen if: a scheduler's decisions in a cluster that is not so.

mod forecast;
mod run;

use std::fmt;
use std::sync::Arc;

pub use forecast::{Cause, Forecast, Placement};
pub(crate) use run::Decider;
pub(super) use run::One;

use super::{Pending, Scheduler, View};
use crate::model::{Node, Pod};

/// How many pods that stay pending are diagnosed by a [`WhatIf::explained`]; the others have their explanation alone.
pub const MAX_DIAGNOSED: usize = 64;

/// One thing that is supposed.
#[derive(Clone, Debug)]
enum Supposition {
    Node(Arc<Node>),
    NodeGone(String),
    Cordon {
        node: String,
        cordoned: bool,
    },
    Drain(String),
    Pods(Pending),
    /// Its namespace and name.
    PodGone(String, String),
}

/// Why a supposition makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhatIfError {
    /// There is no such node.
    #[error("what if node {node} were not as it is: there is no such node; add it before, or name another")]
    NoNode {
        /// The node's name.
        node: String,
    },
    /// There is no such pod.
    #[error("what if pod {pod} were not there: there is no such pod, neither on a node nor waiting")]
    NoPod {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The pod is there already.
    #[error("what if pod {pod} came: it is on node {node} already; give the new one another name and uid")]
    PodExists {
        /// Namespace and name of the pod.
        pod: String,
        /// The node's name.
        node: Arc<str>,
    },
}

/// A cluster that is not so: nodes and pods more or less than there are, in the order in which they are named.
/// [`run`](Self::run) answers where pods would go.
///
/// - Pods of a node that goes, or is drained, look for another place. Cordoned nodes keep theirs.
/// - Pods that come, and those named as [`pending`](Self::pending), look for a place.
/// - Who would be preempted by them leaves at once, and looks for another place too.
///
/// All of it happens in the view itself and is taken back, change by change: what it costs follows what is supposed,
/// not the size of the cluster. Nothing is written, and nobody is told.
///
/// ```
/// # use std::sync::Arc;
/// # use orchestra_core::model::{Container, Node, Pod, PodSpec, Uid};
/// # use orchestra_core::scheduler::{Pipeline, View, WhatIf, schedule};
/// let node = |name: &str| Node::new(name).capacity("cpu", "2").capacity("pods", "10");
/// let pod = |name: &str| {
///     let mut pod = Pod::new(name).spec(PodSpec::new(Container::new("main", "web").request("cpu", "2")));
///     pod.metadata.uid = Uid::from(name);
///     Arc::new(pod)
/// };
/// let mut view = View::new();
/// view.node_changed(&Arc::new(node("old")));
/// let mut scheduler = Pipeline::kubernetes();
/// schedule(&mut scheduler, &mut view, [pod("web")]);
///
/// let forecast = WhatIf::new().node(node("new")).drain("old").run(&mut scheduler, &mut view)?;
/// assert_eq!(forecast.to_string(), "1 placed, 0 pending");
/// assert_eq!(forecast.placements()[0].to_string(), "/web: old -> new");
/// assert_eq!(view.len(), 1);
/// # Ok::<(), orchestra_core::scheduler::WhatIfError>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct WhatIf {
    suppositions: Vec<Supposition>,
    pending: Vec<Pending>,
    explained: bool,
}

impl WhatIf {
    /// The cluster as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// If this node were there; one of the same name is replaced.
    pub fn node(self, node: Node) -> Self {
        self.suppose(Supposition::Node(Arc::new(node)))
    }

    /// If there were `count` more nodes like `node`: called as it is with `-0`, `-1` and so on behind. Labels whose value
    /// is its name have the new names.
    pub fn nodes_like(self, node: &Node, count: usize) -> Self {
        (0..count).fold(self, |what_if, i| {
            let (mut more, name) = (node.clone(), format!("{}-{i}", node.metadata.name));
            for (_, value) in more.metadata.labels.iter_mut().filter(|(_, v)| **v == node.metadata.name) {
                value.clone_from(&name);
            }
            more.metadata.name = name;
            what_if.node(more)
        })
    }

    /// If this node were gone, and its pods had to go elsewhere.
    pub fn without_node(self, name: impl Into<String>) -> Self {
        self.suppose(Supposition::NodeGone(name.into()))
    }

    /// If this node took no more pods.
    pub fn cordon(self, name: impl Into<String>) -> Self {
        self.suppose(Supposition::Cordon { node: name.into(), cordoned: true })
    }

    /// If this node took pods again.
    pub fn uncordon(self, name: impl Into<String>) -> Self {
        self.suppose(Supposition::Cordon { node: name.into(), cordoned: false })
    }

    /// If this node took no more pods, and those on it had to go elsewhere. Disruption budgets are not asked; a
    /// [`Rebalance`](super::Rebalance) does.
    pub fn drain(self, name: impl Into<String>) -> Self {
        self.suppose(Supposition::Drain(name.into()))
    }

    /// If this pod came; one that names its node is there without being asked for. Where it has no uid, it gets one of its
    /// namespace and name.
    pub fn pod(self, mut pod: Pod) -> Self {
        if pod.metadata.uid.is_empty() {
            let uid = format!("what-if/{}/{}", pod.metadata.namespace, pod.metadata.name);
            pod.metadata.uid = uid.as_str().into();
        }
        self.suppose(Supposition::Pods(Arc::new(pod).into()))
    }

    /// If these pods came, which are placed together or not at all.
    pub fn gang(self, gang: Pending) -> Self {
        self.suppose(Supposition::Pods(gang))
    }

    /// If this pod were not there: on its node, or waiting.
    pub fn without_pod(self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        self.suppose(Supposition::PodGone(namespace.into(), name.into()))
    }

    /// Pods that wait in the cluster as it is, and would be tried again.
    pub fn pending<P: Into<Pending>>(mut self, pods: impl IntoIterator<Item = P>) -> Self {
        self.pending.extend(pods.into_iter().map(Into::into));
        self
    }

    /// With a [`Diagnosis`](super::Diagnosis) of pods that stay pending, [`MAX_DIAGNOSED`] of them at most.
    pub fn explained(mut self) -> Self {
        self.explained = true;
        self
    }

    /// What `scheduler` would do. The view is afterwards as before.
    ///
    /// # Errors
    /// [`WhatIfError`], where something is supposed of what is not there.
    pub fn run(&self, scheduler: &mut dyn Scheduler, view: &mut View) -> Result<Forecast, WhatIfError> {
        self.run_then(scheduler, view, |_, _| ()).map(|(forecast, ())| forecast)
    }

    /// The same, and what `look` sees in the view as it would be then.
    ///
    /// # Errors
    /// [`WhatIfError`], where something is supposed of what is not there.
    pub fn run_then<R>(
        &self,
        scheduler: &mut dyn Scheduler,
        view: &mut View,
        look: impl FnOnce(&View, &Forecast) -> R,
    ) -> Result<(Forecast, R), WhatIfError> {
        self.decided_by(&mut run::One(scheduler), view, look)
    }

    fn suppose(mut self, supposition: Supposition) -> Self {
        self.suppositions.push(supposition);
        self
    }
}

impl fmt::Debug for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhatIf").field("suppositions", &self.suppositions.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
