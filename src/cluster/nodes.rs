//! The agents of the nodes in this process.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use orchestra_core::client::Client;
use orchestra_core::controller::MetricsBoard;
use orchestra_core::drain::Gates;
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::node::{HostVolumes, NodeAgent, NodeHandle, Routes, UsageMeter, VolumeFiles};
use orchestra_core::rng::Rng;
use orchestra_core::runtime::RuntimeError;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;

use super::{ClusterError, NodeOptions};

/// Of a node's grace its agent renews the lease so many times: one renewal that fails, or two, are forgiven.
const RENEWALS_IN_GRACE: u32 = 5;

/// How long the agent of a dropped cluster may take to end: its tasks end at their next await, or never.
const LAST_CALLS: Duration = Duration::from_millis(200);

/// How long killing a node's pods may take: whoever drops a cluster waits for it.
const WIPE_LIMIT: Duration = Duration::from_secs(10);

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
    pub(super) meter: Option<UsageMeter>,
    /// Where the cluster's names are served, and their domain.
    #[cfg(feature = "dns")]
    pub(super) dns: Option<(std::net::SocketAddr, String)>,
    /// Whether pods that run when the cluster is dropped are left running.
    pub(super) leaves_pods: bool,
    pub(super) running: BTreeMap<String, Arc<Running>>,
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
    /// Keeps others from its directory of volumes while it is held.
    _lock: Option<File>,
}

impl Running {
    /// Ends the node, with its pods or without, and waits until nothing of it is left that holds its runtime.
    pub(super) async fn end(&self, stop_pods: bool) {
        self.agent.shutdown(stop_pods).await;
        self.tasks.shutdown().await;
    }

    /// Kills all that runs there.
    async fn kill(&self) -> Result<(), RuntimeError> {
        let runtime = &self.options.runtime;
        for sandbox in runtime.list().await? {
            runtime.stop_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// Ends the node and kills all that runs there, on whatever tokio runtime: the node's own may be gone or stand still.
    async fn wipe(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.kill().await?;
        // What the agent is just doing may come to something yet.
        let _stands_still = tokio::time::timeout(LAST_CALLS, self.end(false)).await;
        self.kill().await?;
        for sandbox in self.options.runtime.list().await? {
            self.options.runtime.remove_sandbox(&sandbox.id).await?;
        }
        if let Some(root) = &self.options.data_dir {
            let volumes = HostVolumes::new(root);
            for pod in volumes.pods().await? {
                volumes.remove(&pod).await?;
            }
        }
        Ok(())
    }
}

/// How many directories clusters of this process have made for nodes that named none: tells them apart, whatever the seeds are.
static OWN_DIRS: AtomicUsize = AtomicUsize::new(0);

/// Locks the directory of a node's volumes: what another agent keeps there this one would take for left over, and
/// remove. Where no lock can be had, for want of room or of a file system that has them, there is none.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] where another has it.
fn lock(root: &Path) -> std::io::Result<Option<File>> {
    let open = || {
        std::fs::create_dir_all(root)?;
        File::options().write(true).create(true).truncate(false).open(root.join("lock"))
    };
    let locked = open().map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
    match locked {
        Ok(file) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let why = format!("another node keeps its volumes in {}; give each its own", root.display());
            Err(std::io::Error::new(ErrorKind::ResourceBusy, why))
        }
        Err(TryLockError::Error(error)) => {
            tracing::warn!(dir = %root.display(), %error, "a directory of volumes was not locked");
            Ok(None)
        }
    }
}

impl Nodes {
    pub(super) fn start(&mut self, mut node: NodeOptions) -> std::io::Result<()> {
        let tasks = self.tasks.child();
        let routes = self.routes.get_or_insert_with(|| Routes::new(&self.caches));
        let root = node.data_dir.get_or_insert_with(|| {
            let number = OWN_DIRS.fetch_add(1, Ordering::Relaxed);
            let own = format!("orchestra-{}-{number}-{}", std::process::id(), self.rng.suffix(5));
            let own = std::env::temp_dir().join(own);
            self.own_dirs.push(own.clone());
            own
        });
        let lock = lock(root)?;
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
        let meter = || UsageMeter::new(&self.caches, self.metrics.clone(), self.usage_every);
        self.meter.get_or_insert_with(meter).measure(agent.handle());
        let running = Running { agent, options: node, tasks, _lock: lock };
        self.running.insert(running.options.name.clone(), Arc::new(running));
        Ok(())
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

    /// Kills all that runs on the nodes, and waits for it. For when nothing can be awaited: on a thread of its own.
    pub(super) fn wipe(&mut self) {
        let wiping = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut nodes = JoinSet::new();
                for node in std::mem::take(&mut self.running).into_values() {
                    nodes.spawn(
                        async move { tell(&node, tokio::time::timeout(WIPE_LIMIT, node.wipe()).await) },
                    );
                }
                nodes.join_all().await;
                self.remove_own_dirs().await;
            });
            std::io::Result::Ok(())
        };
        let wiped = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("orchestra-drop".to_owned());
            thread.spawn_scoped(scope, wiping).map(std::thread::ScopedJoinHandle::join)
        });
        if !matches!(wiped, Ok(Ok(Ok(())))) {
            tracing::error!(
                "the pods of a dropped cluster may be left: there was no thread to kill them from"
            );
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
        node.end(false).await;
        node.kill().await?;
        self.lost.insert(name.to_owned(), node.options.clone());
        Ok(())
    }
}

/// Tells where pods of a dropped cluster may be left.
fn tell(node: &Running, wiped: Result<Result<(), Box<dyn Error + Send + Sync>>, Elapsed>) {
    let name = &node.options.name;
    match wiped {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(node = name, error, "pods of a dropped cluster may be left"),
        Err(late) => tracing::error!(node = name, %late, "pods of a dropped cluster may be left"),
    }
}
