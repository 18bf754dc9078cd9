//! What the cluster's schedulers would do, and why.

use std::sync::Arc;

use orchestra_core::model::{Node, Object as _, Pod};
use orchestra_core::scheduler::{Diagnosis, Forecast, Pending, Rebalance, RebalancePlan, Scheduler, WhatIf};

use super::{Cluster, ClusterError, PodHandle};

impl Cluster {
    /// Why `pod` would go where it would go, or wait, if it came now: every node's report, and what would help. It need not
    /// be in the cluster; for one that is, ask [its handle](PodHandle::explain). Priority classes are not looked up here:
    /// what counts is `spec.priority`.
    ///
    /// ```no_run
    /// # async fn example(cluster: orchestra::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// use orchestra::prelude::*;
    ///
    /// let diagnosis = cluster.explain(Pod::new("whale").container(Container::new("main", "whale:1").request("cpu", "64"))).await?;
    /// println!("{diagnosis}");
    /// for node in &diagnosis.nodes {
    ///     println!("  {node}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClusterError::Scheduling`].
    pub async fn explain(&self, pod: Pod) -> Result<Diagnosis, ClusterError> {
        Ok(self.scheduling.explain(&Arc::new(self.admitted(pod))).await?)
    }

    /// What would happen if things were otherwise: a node more, a node less, other pods, another scheduler. Nothing is
    /// written. The pods that wait now are tried as well.
    ///
    /// ```no_run
    /// # async fn example(cluster: orchestra::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// let forecast = cluster.what_if().drain("node-3").run().await?;
    /// println!("{forecast}");
    /// for placement in forecast.placements() {
    ///     println!("  {placement}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn what_if(&self) -> ClusterWhatIf<'_> {
        ClusterWhatIf { cluster: self, what_if: WhatIf::new(), scheduler: None }
    }

    /// Which pods could be moved so that the cluster is used better, by their schedulers and within their disruption budgets.
    /// Nothing is moved: that is the application's decision.
    ///
    /// ```no_run
    /// # async fn example(cluster: orchestra::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// use orchestra::scheduler::Rebalance;
    ///
    /// let plan = cluster.rebalance(Rebalance::emptying_nodes().most_moves(10)).await?;
    /// println!("{plan}; empty then: {:?}", plan.emptied().collect::<Vec<_>>());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClusterError::Scheduling`].
    pub async fn rebalance(&self, rebalance: Rebalance) -> Result<RebalancePlan, ClusterError> {
        Ok(self.scheduling.rebalance(rebalance).await?)
    }

    /// The pod with what it would get when it is created.
    fn admitted(&self, mut pod: Pod) -> Pod {
        if pod.metadata.namespace.is_empty() {
            self.client.current_namespace().clone_into(&mut pod.metadata.namespace);
        }
        pod.set_defaults();
        pod
    }
}

impl PodHandle<'_> {
    /// Why the pod waits, or would go where it would go if it came now: every node's report, and what would help.
    ///
    /// # Errors
    /// [`ClusterError::Client`] where there is no such pod, and [`ClusterError::Scheduling`].
    pub async fn explain(&self) -> Result<Diagnosis, ClusterError> {
        let client = self.cluster.client.namespace(Arc::clone(&self.key.namespace));
        let pod = client.get::<Pod>(&self.key.name).await?;
        Ok(self.cluster.scheduling.explain(&pod).await?)
    }
}

/// Suppositions about a cluster, to be [run](Self::run); see [`WhatIf`].
#[derive(Debug)]
#[must_use = "nothing is asked yet"]
pub struct ClusterWhatIf<'c> {
    cluster: &'c Cluster,
    what_if: WhatIf,
    scheduler: Option<Box<dyn Scheduler>>,
}

impl ClusterWhatIf<'_> {
    /// If this node were there; one of the same name is replaced.
    pub fn node(self, node: Node) -> Self {
        self.with(|what_if| what_if.node(node))
    }

    /// If there were `count` more nodes like `node`, called as it is with `-0`, `-1` and so on behind.
    pub fn nodes_like(self, node: &Node, count: usize) -> Self {
        self.with(|what_if| what_if.nodes_like(node, count))
    }

    /// If this node were gone, and its pods had to go elsewhere.
    pub fn without_node(self, name: impl Into<String>) -> Self {
        self.with(|what_if| what_if.without_node(name))
    }

    /// If this node took no more pods.
    pub fn cordon(self, name: impl Into<String>) -> Self {
        self.with(|what_if| what_if.cordon(name))
    }

    /// If this node took pods again.
    pub fn uncordon(self, name: impl Into<String>) -> Self {
        self.with(|what_if| what_if.uncordon(name))
    }

    /// If this node took no more pods, and those on it had to go elsewhere.
    pub fn drain(self, name: impl Into<String>) -> Self {
        self.with(|what_if| what_if.drain(name))
    }

    /// If this pod came. Without a namespace it is of the client's.
    pub fn pod(self, pod: Pod) -> Self {
        let pod = self.cluster.admitted(pod);
        self.with(|what_if| what_if.pod(pod))
    }

    /// If these pods came, which are placed together or not at all.
    pub fn gang(self, gang: Pending) -> Self {
        self.with(|what_if| what_if.gang(gang))
    }

    /// If this pod were not there.
    pub fn without_pod(self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        self.with(|what_if| what_if.without_pod(namespace, name))
    }

    /// With a [`Diagnosis`] of pods that would wait.
    pub fn explained(self) -> Self {
        self.with(WhatIf::explained)
    }

    /// If this scheduler decided, in place of all those that the cluster has.
    pub fn scheduler(mut self, scheduler: impl Scheduler) -> Self {
        self.scheduler = Some(Box::new(scheduler));
        self
    }

    /// What would happen.
    ///
    /// # Errors
    /// [`ClusterError::Scheduling`], where something is supposed of what is not there, or the cluster is being stopped.
    pub async fn run(self) -> Result<Forecast, ClusterError> {
        Ok(self.cluster.scheduling.what_if(self.what_if, self.scheduler).await?)
    }

    fn with(mut self, suppose: impl FnOnce(WhatIf) -> WhatIf) -> Self {
        self.what_if = suppose(self.what_if);
        self
    }
}
