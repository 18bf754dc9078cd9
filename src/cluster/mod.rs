//! A cluster in this process.

mod builder;
#[cfg(feature = "dns")]
mod dns;
mod error;
mod node;
mod nodes;
mod plan;
mod pod;
#[cfg(feature = "net")]
mod traffic;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use orchestra_core::client::Client;
use orchestra_core::controller::{MetricsBoard, SchedulingDesk};
use orchestra_core::engine::Tasks;
use tokio::sync::Mutex;

pub use builder::ClusterBuilder;
pub use error::{BuildError, ClusterError};
pub use node::NodeOptions;
use nodes::Nodes;
pub use plan::ClusterWhatIf;
pub use pod::PodHandle;
#[cfg(feature = "net")]
pub use traffic::ProxyHandle;

/// A cluster: a store, the controllers, a data plane, and the nodes of this process.
///
/// It dereferences to its [`Client`], so objects are read and written on it directly. Two clusters in one
/// process do not meet.
///
/// # Ending
///
/// [`stop`](Self::stop) ends the pods too. [`leave`](Self::leave) ends everything but the pods: on a
/// [durable store](ClusterBuilder::data_dir) the next cluster finds them and takes them up.
///
/// Dropping the cluster leaves the pods likewise where the application chose the store. Where it chose none, the
/// objects are gone with the cluster and nobody could take the pods up: then they are killed, with all their
/// processes, before the drop returns, without being drained first. That is so in a panic, at an early return, while a
/// tokio runtime shuts down and after it. Only a process that is killed itself, aborts or calls
/// [`exit`](std::process::exit) leaves them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use orchestra::prelude::*;
///
/// let runtime = ProcessRuntime::builder("/var/lib/my-app/node").image("web:1", ProcessImage::new("/opt/web")).build()?;
/// let cluster = Cluster::builder().node(NodeOptions::new("here", runtime)).start().await?;
/// cluster.apply(Deployment::new("web").image("web:1").replicas(3).port(8080)).await?;
/// cluster.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Cluster {
    client: Client,
    /// Caches, data plane, agents: what must live while pods are drained.
    base: Tasks,
    /// The controllers: what would replace pods that are stopped.
    control: Tasks,
    nodes: Mutex<Nodes>,
    metrics: MetricsBoard,
    scheduling: SchedulingDesk,
    #[cfg(feature = "net")]
    data_plane: orchestra_net::DataPlane,
    #[cfg(feature = "dns")]
    dns: Option<orchestra_net::DnsServer>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Deref for Cluster {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Cluster {
    /// A cluster to be configured: on a memory store, with Kubernetes' scheduler and rollouts, without nodes.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    /// A client of the cluster, which can be kept and cloned.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where the application tells what autoscalers shall decide by beside CPU and memory.
    #[must_use]
    pub fn metrics(&self) -> &MetricsBoard {
        &self.metrics
    }

    /// Adds a node that runs in this process.
    ///
    /// # Errors
    /// [`ClusterError::DuplicateNode`] where a node of this name runs already, or was
    /// [crashed](Self::crash_node) and can be started again; [`ClusterError::NodeStart`] where another node keeps its
    /// volumes in the same directory.
    pub async fn add_node(&self, node: NodeOptions) -> Result<(), ClusterError> {
        let mut nodes = self.nodes.lock().await;
        if nodes.running.contains_key(&node.name) || nodes.lost.contains_key(&node.name) {
            return Err(ClusterError::DuplicateNode(node.name));
        }
        let name = node.name.clone();
        nodes.start(node).map_err(|source| ClusterError::NodeStart { node: name, source })
    }

    /// Waits until every node of this process has taken up what runs on it and is ready for pods.
    pub async fn ready(&self) {
        let nodes = self.nodes.lock().await.handles();
        for node in nodes {
            node.ready().await;
        }
    }

    /// Ends a node of this process as if its host had lost power: its agent is gone, and all that ran there. The
    /// cluster is not told; it has to notice. For tests and demonstrations.
    ///
    /// # Errors
    /// [`ClusterError::NoNode`], or a failure of its runtime.
    pub async fn crash_node(&self, name: &str) -> Result<(), ClusterError> {
        self.nodes.lock().await.crash(name).await
    }

    /// Starts a node again that was [crashed](Self::crash_node).
    ///
    /// # Errors
    /// [`ClusterError::NoNode`], and as [`add_node`](Self::add_node).
    pub async fn restart_node(&self, name: &str) -> Result<(), ClusterError> {
        let mut nodes = self.nodes.lock().await;
        let options = nodes.lost.get(name).ok_or_else(|| ClusterError::NoNode(name.to_owned()))?.clone();
        nodes.start(options).map_err(|source| ClusterError::NodeStart { node: name.to_owned(), source })?;
        nodes.lost.remove(name);
        Ok(())
    }

    /// Ends the cluster with all its pods: each is drained and stopped within its grace period. The objects
    /// stay in the store; a cluster that is started on it again runs them again.
    ///
    /// It goes on to its end by itself where this future is dropped, as long as the tokio runtime lives. Where that
    /// shuts down meanwhile, the pods that are left are killed.
    pub async fn stop(self) {
        #[allow(
            clippy::disallowed_methods,
            reason = "it ends the tasks that the engine tracks, and outlives its caller"
        )]
        let stopping = tokio::spawn(self.stop_all());
        if let Err(error) = stopping.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn stop_all(mut self) {
        self.nodes.get_mut().leaves_pods = false;
        self.end(true).await;
    }

    /// Ends the cluster and leaves its pods running, for the next one on the same store and runtimes.
    pub async fn leave(mut self) {
        self.nodes.get_mut().leaves_pods = true;
        self.end(false).await;
    }

    async fn end(&mut self, stop_pods: bool) {
        // First those who would replace what is stopped.
        self.control.shutdown().await;
        let running = &mut self.nodes.get_mut().running;
        let mut ending = tokio::task::JoinSet::new();
        for node in running.values().map(Arc::clone) {
            ending.spawn(async move { node.end(stop_pods).await });
        }
        while ending.join_next().await.is_some() {}
        running.clear();
        if stop_pods {
            self.nodes.get_mut().remove_own_dirs().await;
        }
        self.base.shutdown().await;
        if let Err(error) = self.client.store().close().await {
            tracing::warn!(%error, "the store did not close well");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control.cancel();
        self.base.cancel();
        let nodes = self.nodes.get_mut();
        if !nodes.leaves_pods && !nodes.running.is_empty() {
            nodes.wipe();
        }
    }
}
