//! What can go wrong with a cluster as a whole.

use std::net::SocketAddr;

use orchestra_core::client::ClientError;
use orchestra_core::controller::AskError;
use orchestra_core::model::ObjectKey;
use orchestra_core::node::NodeError;
use orchestra_core::runtime::RuntimeError;
use orchestra_core::store::StoreError;

/// Why a cluster can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two nodes have one name.
    #[error("two nodes are called {0}; give each its own name")]
    DuplicateNode(String),
    /// The store can't be opened.
    #[error("the cluster's store can't be opened")]
    Store(#[from] StoreError),
    /// What every cluster has can't be written.
    #[error("the cluster's own objects can't be written")]
    Bootstrap(#[from] ClientError),
    /// The cluster's names can't be served where they were asked for.
    #[cfg(feature = "dns")]
    #[error("the cluster's DNS can't be served")]
    Dns(#[from] orchestra_net::NetError),
    /// A node can't be started.
    #[error("node {node} can't be started")]
    Node {
        /// The node.
        node: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A failure of an operation on a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// There is no such node in this process.
    #[error("there is no node {0} in this process")]
    NoNode(String),
    /// A node of this name is there already.
    #[error("there is a node {0} already; give the new one another name")]
    DuplicateNode(String),
    /// A node can't be started.
    #[error("node {node} can't be started")]
    NodeStart {
        /// The node.
        node: String,
        /// Why.
        source: std::io::Error,
    },
    /// A pod is on no node yet.
    #[error("{pod} is on no node yet{why}")]
    NotBound {
        /// The pod.
        pod: ObjectKey,
        /// `: ` and what the scheduler says, where it has said something.
        why: String,
    },
    /// A pod is on a node that this process does not run.
    #[error("{pod} is on node {node}, {why}")]
    NodeElsewhere {
        /// The pod.
        pod: ObjectKey,
        /// The node.
        node: String,
        /// Why the node can't be asked.
        why: &'static str,
    },
    /// A pod has no such container, or several where none was named.
    #[error("{pod} {why}; it has {containers}")]
    WhichContainer {
        /// The pod.
        pod: ObjectKey,
        /// What is wrong.
        why: String,
        /// The names of its containers, separated by commas.
        containers: String,
    },
    /// The node of a pod could not do what it was asked for.
    #[error("{pod}: failed to {operation}")]
    Pod {
        /// The pod.
        pod: ObjectKey,
        /// What was asked for.
        operation: &'static str,
        /// Why it failed.
        source: NodeError,
    },
    /// A port of a pod could not be connected to.
    #[error(
        "{pod}: failed to connect to {address}: does a container listen there, and not on its loopback address alone?"
    )]
    Connect {
        /// The pod.
        pod: ObjectKey,
        /// Where it was looked for.
        address: SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A node could not be asked what its pods use.
    #[error("node {node}: failed to measure its pods")]
    Stats {
        /// The node.
        node: String,
        /// Why it failed.
        source: NodeError,
    },
    /// The schedulers gave no answer.
    #[error(transparent)]
    Scheduling(#[from] AskError),
    /// Objects can't be read or written.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The runtime of a node failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The data plane failed.
    #[cfg(feature = "net")]
    #[error(transparent)]
    Net(#[from] orchestra_net::NetError),
}
