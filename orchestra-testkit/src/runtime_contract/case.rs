//! What a check works with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, LogChunk, LogOptions, LogStream, Runtime,
    SandboxId, SandboxSpec, SandboxStatus,
};
use tokio::sync::Mutex;

use super::{Program, RuntimeUnderTest};

/// How long a condition may take to come true.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How long a program is given to end after its stop signal, where it shall.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// One check's runtime, in a cluster of its own.
pub struct Case<'a> {
    pub(super) subject: &'a dyn RuntimeUnderTest,
    pub(super) cluster: String,
    runtime: Mutex<Option<Arc<dyn Runtime>>>,
    next: AtomicU64,
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl<'a> Case<'a> {
    pub(super) async fn new(subject: &'a dyn RuntimeUnderTest, cluster: String) -> Self {
        let runtime = Mutex::new(Some(subject.open(&cluster).await));
        Self { subject, cluster, runtime, next: AtomicU64::new(0) }
    }

    pub(super) async fn runtime(&self) -> Arc<dyn Runtime> {
        let runtime = self.runtime.lock().await;
        Arc::clone(runtime.as_ref().expect("the runtime is open"))
    }

    /// Closes the runtime. Nobody may hold it.
    pub(super) async fn close(&self) {
        let runtime = self.runtime.lock().await.take();
        self.subject.close(runtime.expect("the runtime is open")).await;
    }

    pub(super) async fn open(&self) -> Arc<dyn Runtime> {
        *self.runtime.lock().await = Some(self.subject.open(&self.cluster).await);
        self.runtime().await
    }

    /// Removes all the check left.
    pub(super) async fn clean(self) -> Result<(), String> {
        let opened = self.runtime.into_inner();
        let runtime = match opened {
            Some(runtime) => runtime,
            None => self.subject.open(&self.cluster).await,
        };
        let mut problems = Vec::new();
        for sandbox in runtime.list().await.map_err(|error| error.to_string())? {
            if let Err(error) = runtime.remove_sandbox(&sandbox.id).await {
                problems.push(error.to_string());
            }
        }
        if !runtime.list().await.map_err(|error| error.to_string())?.is_empty() {
            problems.push("something is left of what was removed".to_owned());
        }
        self.subject.close(runtime).await;
        if problems.is_empty() { Ok(()) } else { Err(format!("cleaning up: {}", problems.join("; "))) }
    }

    /// A pod nobody else has.
    pub(super) fn pod(&self) -> SandboxSpec {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let name = format!("pod-{number}");
        SandboxSpec::new("default", name.as_str(), Uid::from(format!("{}-{name}", self.cluster)))
    }

    pub(super) fn program(&self, program: &Program) -> ContainerSpec {
        self.subject.container("main", program)
    }

    pub(super) async fn run_sandbox(&self) -> SandboxStatus {
        self.runtime().await.run_sandbox(&self.pod()).await.expect("run_sandbox")
    }

    /// Pulls the image of a container and creates it.
    pub(super) async fn create(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> ContainerId {
        let runtime = self.runtime().await;
        runtime.pull_image(&spec.image, None, &|_| {}).await.expect("pull_image");
        runtime.create_container(sandbox, spec).await.expect("create_container")
    }

    pub(super) async fn start(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> ContainerId {
        let id = self.create(sandbox, spec).await;
        self.runtime().await.start_container(&id).await.expect("start_container");
        id
    }

    /// A pod with one container that was started.
    pub(super) async fn run(&self, program: &Program) -> (SandboxId, ContainerId) {
        let sandbox = self.run_sandbox().await.id;
        let container = self.start(&sandbox, &self.program(program)).await;
        (sandbox, container)
    }

    pub(super) async fn sandbox(&self, id: &SandboxId) -> SandboxStatus {
        self.runtime().await.sandbox(id).await.expect("sandbox").expect("the sandbox exists")
    }

    pub(super) async fn container(&self, sandbox: &SandboxId, id: &ContainerId) -> ContainerStatus {
        let status = self.sandbox(sandbox).await;
        status.containers.into_iter().find(|container| container.id == *id).expect("the container exists")
    }

    /// Waits, on events, until a container has ended.
    pub(super) async fn ended(&self, sandbox: &SandboxId, id: &ContainerId) -> ContainerState {
        let runtime = self.runtime().await;
        let mut events = runtime.events().await.expect("events");
        let ended = async {
            loop {
                let state = self.container(sandbox, id).await.state;
                if state.is_over() {
                    return state;
                }
                events.next().await.expect("the runtime is there");
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.unwrap_or_else(|_| panic!("container {id} did not end"))
    }

    pub(super) async fn logs(&self, id: &ContainerId, options: &LogOptions) -> LogStream {
        self.runtime().await.logs(id, options).await.expect("logs")
    }

    /// Everything a container wrote until it ended.
    pub(super) async fn output(&self, id: &ContainerId) -> Vec<LogChunk> {
        let mut log = self.logs(id, &LogOptions { follow: true, ..LogOptions::default() }).await;
        read_to_end(&mut log).await
    }
}

pub(super) async fn read_to_end(log: &mut LogStream) -> Vec<LogChunk> {
    let mut chunks = Vec::new();
    while let Some(chunk) = next(log).await {
        chunks.push(chunk);
    }
    chunks
}

pub(super) async fn next(log: &mut LogStream) -> Option<LogChunk> {
    let next = tokio::time::timeout(DEADLINE, log.next()).await.expect("the log neither goes on nor ends");
    next.map(|chunk| chunk.expect("reading the log"))
}

/// The text of some chunks.
pub(super) fn text<'c>(chunks: impl IntoIterator<Item = &'c LogChunk>) -> String {
    chunks.into_iter().map(|chunk| String::from_utf8_lossy(&chunk.bytes).into_owned()).collect()
}
