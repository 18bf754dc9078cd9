//! What an agent is asked for: logs, programs in containers, usage, addresses.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::agent::Shared;
use super::error::NodeError;
use crate::model::{Pod, Uid};
use crate::runtime::{
    AttachSession, ContainerId, ContainerState, ContainerStats, ExecOptions, ExecSession, LogOptions,
    LogStream, SandboxStatus, TarStream,
};

/// Which run of a container a log is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreviousRun {
    /// The present one, or the last one where none runs.
    #[default]
    No,
    /// The one before.
    Yes,
}

/// What the containers of a pod use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PodStats {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its running containers, by name.
    pub containers: Vec<ContainerStats>,
}

impl PodStats {
    /// A pod of which no container runs.
    #[must_use]
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { pod, containers: Vec::new() }
    }
}

/// Asks the agent of a node. Clones are the same; they do not keep the agent running.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeHandle").field(&self.shared.node).finish()
    }
}

impl NodeHandle {
    /// The node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.shared.node
    }

    /// Waits until the agent has taken up what runs on its node, and the Node object says that it is ready.
    pub async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        // The sender lives as long as this handle.
        let _ended = ready.wait_for(|ready| *ready).await;
    }

    fn sandbox(&self, pod: &Uid) -> Result<Arc<SandboxStatus>, NodeError> {
        let slots = self.shared.lock();
        let sandbox = slots.get(pod).and_then(|slot| slot.memory.sandbox().cloned());
        sandbox.ok_or_else(|| NodeError::NoPod { node: self.shared.node.to_string(), pod: pod.clone() })
    }

    fn run(&self, pod: &Uid, container: &str, previous: PreviousRun) -> Result<ContainerId, NodeError> {
        let sandbox = self.sandbox(pod)?;
        let mut runs: Vec<_> = sandbox
            .containers
            .iter()
            .filter(|run| *run.name == *container && run.state != ContainerState::Created)
            .collect();
        runs.sort_by_key(|run| run.attempt);
        let last = runs.pop();
        let (found, what) = match previous {
            PreviousRun::No => (last, "no run yet"),
            PreviousRun::Yes => (runs.pop(), "no earlier run"),
        };
        found.map(|run| run.id.clone()).ok_or_else(|| NodeError::NoContainer {
            pod: pod.clone(),
            container: container.to_owned(),
            what,
        })
    }

    /// Reads the log of a container of a pod on this node.
    ///
    /// # Errors
    /// [`NodeError::NoPod`], [`NodeError::NoContainer`], or a failure of the runtime.
    pub async fn logs(
        &self,
        pod: &Uid,
        container: &str,
        options: &LogOptions,
        previous: PreviousRun,
    ) -> Result<LogStream, NodeError> {
        let id = self.run(pod, container, previous)?;
        Ok(self.shared.runtime.logs(&id, options).await?)
    }

    /// Runs a further program inside a running container.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn exec(
        &self,
        pod: &Uid,
        container: &str,
        options: &ExecOptions,
    ) -> Result<ExecSession, NodeError> {
        let id = self.run(pod, container, PreviousRun::No)?;
        Ok(self.shared.runtime.exec(&id, options).await?)
    }

    /// Connects to the program of a running container.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn attach(&self, pod: &Uid, container: &str, stdin: bool) -> Result<AttachSession, NodeError> {
        let id = self.run(pod, container, PreviousRun::No)?;
        Ok(self.shared.runtime.attach(&id, stdin).await?)
    }

    /// Reads files out of a container, as a tar archive.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn read_files(&self, pod: &Uid, container: &str, path: &str) -> Result<TarStream, NodeError> {
        let id = self.run(pod, container, PreviousRun::No)?;
        Ok(self.shared.runtime.read_files(&id, path).await?)
    }

    /// Unpacks a tar archive into a directory of a container.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn write_files(
        &self,
        pod: &Uid,
        container: &str,
        directory: &str,
        archive: TarStream,
    ) -> Result<(), NodeError> {
        let id = self.run(pod, container, PreviousRun::No)?;
        Ok(self.shared.runtime.write_files(&id, directory, archive).await?)
    }

    /// Where a port of a pod can be reached from this host.
    ///
    /// # Errors
    /// [`NodeError::NoPod`], or a failure of the runtime.
    pub async fn address(&self, pod: &Uid, port: u16) -> Result<SocketAddr, NodeError> {
        let sandbox = self.sandbox(pod)?;
        Ok(self.shared.runtime.address(&sandbox.id, port).await?)
    }

    /// What the pods of this node use now, ordered by pod.
    ///
    /// # Errors
    /// A failure of the runtime.
    pub async fn stats(&self) -> Result<Vec<PodStats>, NodeError> {
        let mut stats = self.shared.runtime.stats().await?;
        stats.sort_by(|a, b| (&a.pod_uid, &a.name).cmp(&(&b.pod_uid, &b.name)));
        let slots = self.shared.lock();
        let mut pods: Vec<PodStats> = Vec::new();
        for container in stats {
            if let Some(last) = pods.last_mut().filter(|p| p.pod.metadata.uid == container.pod_uid) {
                last.containers.push(container);
            } else if let Some(pod) = slots.get(&container.pod_uid).and_then(|slot| slot.pod.clone()) {
                pods.push(PodStats { pod, containers: vec![container] });
            }
        }
        Ok(pods)
    }
}
