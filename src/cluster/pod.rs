//! Looking into the pods of a cluster: logs, programs in containers, files, ports, usage.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::model::{ObjectKey, Pod};
use orchestra_core::node::{NodeError, NodeHandle, PodStats, PreviousRun};
use orchestra_core::runtime::{AttachSession, ExecOptions, ExecSession, LogOptions, LogStream, TarStream};
use tokio::net::TcpStream;

use super::{Cluster, ClusterError};

/// The annotation that says which container of a pod is meant where none is named: kubectl's.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// How long a pod may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A pod of the cluster, to be looked into. It is looked up at each call, on the node that it is bound to, which
/// has to be one of this process.
///
/// ```no_run
/// # async fn example(cluster: orchestra::Cluster) -> Result<(), Box<dyn std::error::Error>> {
/// use orchestra::prelude::*;
///
/// let pod = cluster.pod("web-0").namespace("shop").container("server");
/// let mut log = pod.logs(&LogOptions::default().tail(100).follow()).await?;
/// while let Some(line) = log.next().await {
///     print!("{}", line?.text());
/// }
/// let ls = pod.exec(&ExecOptions::new(["ls", "/data"])).await?.wait_with_output().await?;
/// println!("{} ({})", String::from_utf8_lossy(&ls.stdout), ls.exit_code);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked yet"]
pub struct PodHandle<'c> {
    pub(super) cluster: &'c Cluster,
    pub(super) key: ObjectKey,
    container: Option<String>,
}

impl PodHandle<'_> {
    /// The pod of this name in another namespace.
    pub fn namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.key.namespace = namespace.into();
        self
    }

    /// Chooses a container, init containers included. Needed where the pod has several and its annotation
    /// `kubectl.kubernetes.io/default-container` names none.
    pub fn container(mut self, name: impl Into<String>) -> Self {
        self.container = Some(name.into());
        self
    }

    /// Reads the log of the container's present run, or of the last one where none runs. Each line comes with the
    /// time it was written at.
    ///
    /// # Errors
    /// [`ClusterError::Client`] where there is no such pod, [`ClusterError::NotBound`],
    /// [`ClusterError::NodeElsewhere`], [`ClusterError::WhichContainer`], and [`ClusterError::Pod`] where the
    /// container has not run yet or its runtime fails.
    pub async fn logs(&self, options: &LogOptions) -> Result<LogStream, ClusterError> {
        self.log(options, PreviousRun::No).await
    }

    /// Reads the log of the container's run before the present one.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn previous_logs(&self, options: &LogOptions) -> Result<LogStream, ClusterError> {
        self.log(options, PreviousRun::Yes).await
    }

    async fn log(&self, options: &LogOptions, previous: PreviousRun) -> Result<LogStream, ClusterError> {
        let (pod, node) = self.find().await?;
        let log = node.logs(&pod.metadata.uid, self.container_of(&pod)?, options, previous).await;
        log.map_err(|source| self.failed("read the log", source))
    }

    /// Runs a further program inside the running container.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn exec(&self, options: &ExecOptions) -> Result<ExecSession, ClusterError> {
        let (pod, node) = self.find().await?;
        let session = node.exec(&pod.metadata.uid, self.container_of(&pod)?, options).await;
        session.map_err(|source| self.failed("run a program", source))
    }

    /// Connects to the running container's own program: what it writes from now on and, with `stdin`, what it reads, where its spec
    /// says that it reads.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn attach(&self, stdin: bool) -> Result<AttachSession, ClusterError> {
        let (pod, node) = self.find().await?;
        let session = node.attach(&pod.metadata.uid, self.container_of(&pod)?, stdin).await;
        session.map_err(|source| self.failed("attach to it", source))
    }

    /// Copies a file, or a directory with all in it, out of the container: a tar archive, whose paths begin with the last part of `path`.
    ///
    /// # Errors
    /// As [`logs`](Self::logs); on runtimes that can't, run `tar` by [`exec`](Self::exec).
    pub async fn copy_from(&self, path: &str) -> Result<TarStream, ClusterError> {
        let (pod, node) = self.find().await?;
        let archive = node.read_files(&pod.metadata.uid, self.container_of(&pod)?, path).await;
        archive.map_err(|source| self.failed("copy files out of it", source))
    }

    /// Copies files into a directory of the container, which exists: a tar archive is unpacked there.
    ///
    /// # Errors
    /// As [`copy_from`](Self::copy_from).
    pub async fn copy_to(&self, directory: &str, archive: TarStream) -> Result<(), ClusterError> {
        let (pod, node) = self.find().await?;
        let copied = node.write_files(&pod.metadata.uid, self.container_of(&pod)?, directory, archive).await;
        copied.map_err(|source| self.failed("copy files into it", source))
    }

    /// Connects to a port of the pod, whether or not a Service leads there. What listens on the pod's loopback address alone is not reached.
    ///
    /// # Errors
    /// As [`logs`](Self::logs); [`ClusterError::Connect`] where nothing accepts within 10 s.
    pub async fn connect(&self, port: u16) -> Result<TcpStream, ClusterError> {
        let (pod, node) = self.find().await?;
        let address = node.address(&pod.metadata.uid, port).await;
        let address = address.map_err(|source| self.failed("find its address", source))?;
        let late = |_elapsed| io::Error::from(io::ErrorKind::TimedOut);
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let connected = connected.map_err(late).and_then(|connected| connected);
        connected.map_err(|source| ClusterError::Connect { pod: self.key.clone(), address, source })
    }

    /// What the pod's running containers use now; none where none runs.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn stats(&self) -> Result<PodStats, ClusterError> {
        let (pod, node) = self.find().await?;
        let stats = node.stats().await.map_err(|source| self.failed("measure it", source))?;
        let mine = stats.into_iter().find(|stats| stats.pod.metadata.uid == pod.metadata.uid);
        Ok(mine.unwrap_or(PodStats::new(pod)))
    }

    /// The pod, and the node that it is bound to.
    async fn find(&self) -> Result<(Arc<Pod>, NodeHandle), ClusterError> {
        let client = self.cluster.client.namespace(Arc::clone(&self.key.namespace));
        let pod = client.get::<Pod>(&self.key.name).await?;
        let Some(node) = pod.node_name.as_deref() else {
            let said = pod.condition("PodScheduled").map_or("", |condition| condition.message.as_str());
            let why = if said.is_empty() { String::new() } else { format!(": {said}") };
            return Err(ClusterError::NotBound { pod: self.key.clone(), why });
        };
        let nodes = self.cluster.nodes.lock().await;
        let handle = nodes.running.get(node).map(|running| running.agent.handle().clone());
        let handle = handle.ok_or_else(|| ClusterError::NodeElsewhere {
            pod: self.key.clone(),
            node: node.to_owned(),
            why: match nodes.lost.contains_key(node) {
                true => "which was lost and has not come back",
                false => "which this process does not run",
            },
        })?;
        drop(nodes);
        Ok((pod, handle))
    }

    fn container_of<'p>(&'p self, pod: &'p Pod) -> Result<&'p str, ClusterError> {
        let names = || {
            let all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
            all.map(|container| container.name.as_str())
        };
        let which = |why: String| ClusterError::WhichContainer {
            pod: self.key.clone(),
            why,
            containers: names().collect::<Vec<_>>().join(", "),
        };
        let named = self.container.as_deref().or_else(|| pod.metadata.annotations.value(DEFAULT_CONTAINER));
        match (named, &pod.spec.containers[..]) {
            (Some(name), _) if names().any(|known| known == name) => Ok(name),
            (Some(name), _) => Err(which(format!("has no container {name}"))),
            (None, [only]) => Ok(&only.name),
            (None, _) => Err(which("has several containers, of which one has to be named".to_owned())),
        }
    }

    fn failed(&self, operation: &'static str, source: NodeError) -> ClusterError {
        ClusterError::Pod { pod: self.key.clone(), operation, source }
    }
}

impl Cluster {
    /// The pod called `name`, in the client's namespace: its logs, programs in it, and what it uses.
    pub fn pod(&self, name: &str) -> PodHandle<'_> {
        PodHandle { cluster: self, key: self.client.key::<Pod>(name), container: None }
    }

    /// What the running containers of all pods use that are on nodes of this process, ordered by namespace and name.
    ///
    /// # Errors
    /// [`ClusterError::Stats`] where a node can't be asked.
    pub async fn stats(&self) -> Result<Vec<PodStats>, ClusterError> {
        let nodes = self.nodes.lock().await.handles();
        let mut pods = Vec::new();
        for node in nodes {
            let failed = |source| ClusterError::Stats { node: node.node_name().to_owned(), source };
            pods.extend(node.stats().await.map_err(failed)?);
        }
        pods.sort_by(|a, b| {
            let (a, b) = (&a.pod.metadata, &b.pod.metadata);
            (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
        });
        Ok(pods)
    }
}
