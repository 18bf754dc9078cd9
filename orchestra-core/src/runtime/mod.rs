//! Where containers run: the [`Runtime`] contract.
//!
//! Which runtime do I want? Plain processes (`orchestra-process`) need nothing on the host; Docker Engine
//! (`orchestra-docker`) isolates; the simulated one of `orchestra-testkit` runs ten thousand pods in a test.

mod error;
mod progress;
mod registry_auth;
mod spec;
mod state;
mod stream;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

pub use error::RuntimeError;
pub use progress::{OnPull, PullProgress};
pub use registry_auth::RegistryAuth;
pub use spec::{
    ContainerLimits, ContainerSpec, DEFAULT_GRACE, ImageSpec, MemoryVolume, Mount, MountSource, PortMapping,
    SandboxSpec, Seccomp,
};
pub use state::{
    ContainerId, ContainerState, ContainerStats, ContainerStatus, Feature, ImageInfo, RuntimeEvent,
    RuntimeInfo, SandboxId, SandboxState, SandboxStatus,
};
pub use stream::{
    AttachSession, EventStream, ExecOptions, ExecOutput, ExecSession, LogChunk, LogOptions, LogSource,
    LogStream, MAX_EXEC_OUTPUT, TarStream,
};

/// Runs containers on one host.
///
/// The granularity is that of Kubernetes' Container Runtime Interface: a *sandbox* is what the containers of
/// one pod share (network, address), and holds *containers*.
///
/// # Contract
/// - **Idempotent.** Identities are derived from the spec (cluster, pod uid, sandbox attempt; container name
///   and attempt): a `run_sandbox` or `create_container` that is repeated finds the first one and returns its
///   id. `start` of a running container, `stop` of a stopped one, `remove` of one that is gone all succeed.
/// - **True on return.** After `start_container` the process runs or has run; after `stop_*` it is dead;
///   after `remove_*` nothing of it is left.
/// - **Outcome unknown.** [`RuntimeError::OutcomeUnknown`] says that the effect may have happened; repeating
///   the call, or [`list`](Self::list), finds out. Any other error says that it did not happen.
/// - **Cancel-safe.** A dropped future leaves the effect done or not done, as with an unknown outcome.
/// - **Concurrent.** All methods may be called at once; calls on one sandbox are made one after another.
/// - **Own things only.** Only what bears the runtime's cluster id is listed, stopped or removed.
/// - **Survives.** Containers outlive the value, and are found again by `list` from a new one with the same
///   cluster id.
///
/// Checked by `orchestra_testkit::runtime_contract`.
#[async_trait]
pub trait Runtime: Debug + Send + Sync + 'static {
    /// What this runtime is, and how much its host has.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// Makes an image present, and says which one it is. `progress` is told how far that has come, as often as the runtime
    /// learns of it.
    ///
    /// # Errors
    /// [`RuntimeError::ImageNotFound`], or a transient failure to fetch it.
    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&RegistryAuth>,
        progress: OnPull<'_>,
    ) -> Result<ImageInfo, RuntimeError>;

    /// The image, where it is present.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    async fn image(&self, image: &ImageSpec) -> Result<Option<ImageInfo>, RuntimeError>;

    /// All images that are present.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError>;

    /// Removes an image; nothing where it is not there.
    ///
    /// # Errors
    /// Where it is in use, or the runtime fails.
    async fn remove_image(&self, image: &ImageSpec) -> Result<(), RuntimeError>;

    /// Creates and starts the sandbox of a pod: after it, the pod has its address.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError>;

    /// Kills what still runs in the sandbox, at once, and gives up its address. Containers that shall end
    /// in peace are stopped before.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError>;

    /// Removes the sandbox and all its containers, their logs and files. What still runs in it is killed, as by
    /// [`stop_sandbox`](Self::stop_sandbox).
    ///
    /// # Errors
    /// See [`RuntimeError`].
    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError>;

    /// Creates a container in a running sandbox.
    ///
    /// # Errors
    /// [`RuntimeError::ImageNotFound`] where its image is not present; see [`RuntimeError`].
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError>;

    /// Starts a created container. A container runs once: one that has exited is not started again.
    ///
    /// # Errors
    /// [`RuntimeError::Start`] where its program can't be run; see [`RuntimeError`].
    async fn start_container(&self, container: &ContainerId) -> Result<(), RuntimeError>;

    /// Sends the stop signal, waits up to `grace`, then kills. Returns when the container is dead.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError>;

    /// Removes a container that does not run, with its log and files.
    ///
    /// # Errors
    /// [`RuntimeError::InUse`] where it still runs; see [`RuntimeError`].
    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError>;

    /// All sandboxes of this cluster with their containers, from the ground truth, ordered by id.
    ///
    /// # Errors
    /// Where the runtime does not answer. A failed list never means "nothing there".
    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError>;

    /// One sandbox with its containers; `None` where there is none.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<SandboxStatus>, RuntimeError>;

    /// Where a port of the pod can be reached from this host. Nobody else guesses.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where the sandbox is gone.
    async fn address(&self, sandbox: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError>;

    /// Reads a container's log, also after it exited.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where the container is gone.
    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<LogStream, RuntimeError>;

    /// Runs a further program inside a running container.
    ///
    /// # Errors
    /// [`RuntimeError::Start`] where the program can't be run, from here or from the session's end; see [`RuntimeError`].
    async fn exec(&self, container: &ContainerId, options: &ExecOptions)
    -> Result<ExecSession, RuntimeError>;

    /// Connects to the program of a running container: its output from now on and, with `stdin`, its input. A runtime that does not
    /// have this follows the container's log, and has no input.
    ///
    /// # Errors
    /// [`RuntimeError::Unsupported`] where the container's spec, or the runtime, has no input for it; see [`RuntimeError`].
    async fn attach(&self, container: &ContainerId, stdin: bool) -> Result<AttachSession, RuntimeError> {
        attach_by_log(self, container, stdin).await
    }

    /// Reads a file, or a directory with all in it, out of a container, also one that has ended: a tar archive, whose paths begin with
    /// the last part of `path`. A link that is asked for is given as that.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] where there is no such container or path, [`RuntimeError::Unsupported`] where the runtime can't.
    async fn read_files(&self, container: &ContainerId, path: &str) -> Result<TarStream, RuntimeError> {
        Err(copies_nothing(container, path))
    }

    /// Unpacks a tar archive into a directory of a container, which exists. Nothing gets out of the container's own file system.
    ///
    /// # Errors
    /// As [`read_files`](Self::read_files). What came before the archive broke off stays.
    async fn write_files(
        &self,
        container: &ContainerId,
        directory: &str,
        _archive: TarStream,
    ) -> Result<(), RuntimeError> {
        Err(copies_nothing(container, directory))
    }

    /// What all running containers of this cluster use now, in one call.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    async fn stats(&self) -> Result<Vec<ContainerStats>, RuntimeError>;

    /// What happens to containers from now on. Events are hints: whoever lost the stream lists and compares.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    async fn events(&self) -> Result<EventStream, RuntimeError>;
}

const _: fn(&dyn Runtime) = |_| {};

/// [`Runtime::attach`] for a runtime that keeps a log of what its containers write, and has no input for them.
///
/// # Errors
/// [`RuntimeError::Unsupported`] where input is asked for, and what the log says.
pub async fn attach_by_log<R: Runtime + ?Sized>(
    runtime: &R,
    container: &ContainerId,
    stdin: bool,
) -> Result<AttachSession, RuntimeError> {
    if stdin {
        let why = "this runtime connects nobody to its standard input: use exec".to_owned();
        return Err(RuntimeError::Unsupported { subject: container.to_string(), why });
    }
    let output = runtime.logs(container, &LogOptions::default().tail(0).follow()).await?;
    Ok(AttachSession { output, stdin: None, resize: None })
}

/// What a runtime says that copies no files: `path` was to be read or written.
#[must_use]
pub fn copies_nothing(container: &ContainerId, path: &str) -> RuntimeError {
    let why = format!("this runtime copies no files ({path}): run `tar` in the container by exec");
    RuntimeError::Unsupported { subject: container.to_string(), why }
}
