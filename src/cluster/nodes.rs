//! The agents of the nodes in this process.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::client::Client;
use orchestra_core::controller::MetricsBoard;
use orchestra_core::drain::Gates;
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::node::{NodeAgent, NodeHandle, Routes, measure_usage};
use orchestra_core::rng::Rng;

use super::{ClusterError, NodeOptions};

/// Of a node's grace its agent renews the lease so many times: one renewal that fails, or two, are forgiven.
const RENEWALS_IN_GRACE: u32 = 5;

/// What agents are made with, and those that run.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) client: Client,
    pub(super) caches: Caches,
    pub(super) gates: Gates,
    pub(super) recorder: Recorder,
    pub(super) rng: Rng,
    pub(super) metrics: MetricsBoard,
    pub(super) usage_every: Duration,
    pub(super) grace: Duration,
    pub(super) tasks: Tasks,
    pub(super) routes: Option<Routes>,
    /// Where the cluster's names are served, and their domain.
    #[cfg(feature = "dns")]
    pub(super) dns: Option<(std::net::SocketAddr, String)>,
    pub(super) running: BTreeMap<String, Running>,
    /// Nodes that were crashed, to be started again.
    pub(super) lost: BTreeMap<String, NodeOptions>,
    /// The directories of volumes that no user named.
    pub(super) own_dirs: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) agent: NodeAgent,
    pub(super) options: NodeOptions,
    pub(super) tasks: Tasks,
}

impl Running {
    /// Ends the node, with its pods or without, and waits until nothing of it is left that holds its runtime.
    pub(super) async fn end(self, stop_pods: bool) {
        self.agent.shutdown(stop_pods).await;
        self.tasks.shutdown().await;
    }
}

impl Nodes {
    pub(super) fn start(&mut self, mut node: NodeOptions) {
        let tasks = self.tasks.child();
        let routes = self.routes.get_or_insert_with(|| Routes::new(&self.caches));
        let root = node.data_dir.get_or_insert_with(|| {
            let own = format!("orchestra-{}-{}", std::process::id(), self.rng.suffix(5));
            let own = std::env::temp_dir().join(own);
            self.own_dirs.push(own.clone());
            own
        });
        let agent =
            NodeAgent::builder(node.name.as_str(), &self.client, &self.caches, Arc::clone(&node.runtime))
                .with_options(|options| {
                    options.capacity = node.capacity.clone();
                    options.labels = node.labels.clone();
                    options.taints = node.taints.clone();
                    options.lease_period = self.grace / RENEWALS_IN_GRACE;
                })
                .root(root.clone())
                .gates(&self.gates)
                .recorder(&self.recorder)
                .routes(routes)
                .tasks(&tasks);
        #[cfg(feature = "dns")]
        let agent = match &self.dns {
            Some((server, domain)) => agent.dns(vec![*server], domain.as_str()),
            None => agent,
        };
        let agent = agent.start();
        measure_usage(
            Arc::clone(&node.runtime),
            &self.caches,
            self.metrics.clone(),
            self.usage_every,
            &tasks,
        );
        self.running.insert(node.name.clone(), Running { agent, options: node, tasks });
    }

    /// Removes the directories that are this cluster's own, when nothing runs any more.
    pub(super) async fn remove_own_dirs(&mut self) {
        let dirs = std::mem::take(&mut self.own_dirs);
        let removing = tokio::task::spawn_blocking(move || {
            for dir in dirs {
                match std::fs::remove_dir_all(&dir) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        tracing::warn!(dir = %dir.display(), %error, "a directory of volumes was not removed");
                    }
                    _ => {}
                }
            }
        });
        if let Err(error) = removing.await {
            tracing::warn!(%error, "directories of volumes were not removed");
        }
    }

    /// What the nodes that run are asked through, in the order of their names.
    pub(super) fn handles(&self) -> Vec<NodeHandle> {
        self.running.values().map(|node| node.agent.handle().clone()).collect()
    }

    /// Ends a node as if its host had lost power: its agent is gone, and so is all that ran there.
    pub(super) async fn crash(&mut self, name: &str) -> Result<(), ClusterError> {
        let node = self.running.remove(name).ok_or_else(|| ClusterError::NoNode(name.to_owned()))?;
        node.tasks.cancel();
        node.agent.shutdown(false).await;
        node.tasks.shutdown().await;
        for sandbox in node.options.runtime.list().await? {
            node.options.runtime.stop_sandbox(&sandbox.id).await?;
        }
        self.lost.insert(name.to_owned(), node.options);
        Ok(())
    }
}
