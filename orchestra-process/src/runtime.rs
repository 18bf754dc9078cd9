//! The runtime: the contract's methods, each handed to the part that does it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use orchestra_core::runtime::{
    AttachSession, ContainerId, ContainerSpec, ContainerStats, EventStream, ExecOptions, ExecSession,
    Feature, ImageInfo, ImageSpec, LogOptions, LogStream, OnPull, RegistryAuth, Runtime, RuntimeError,
    RuntimeEvent, RuntimeInfo, SandboxId, SandboxSpec, SandboxStatus, TarStream, attach_by_log,
    copies_nothing,
};
use tokio::sync::broadcast::error::RecvError;

use crate::builder::ProcessRuntimeBuilder;
use crate::container::Starting;
use crate::error::{failed, not_found};
use crate::image::ProcessImage;
use crate::state::{Container, Core};
use crate::{container, exec, launch, log, procfs, sandbox, stats};

/// Runs pods as plain processes of this host.
///
/// See the [crate's documentation](crate) for what a container gets. One value has its state directory for
/// itself; share it as `Arc<dyn Runtime>`. Dropping it leaves the containers running, for the next value that is
/// built on the same directory.
pub struct ProcessRuntime {
    core: Arc<Core>,
    keeper: Option<JoinHandle<()>>,
}

impl ProcessRuntime {
    /// Builds a runtime with its state in `root`, a directory that is created where need be.
    pub fn builder(root: impl Into<PathBuf>) -> ProcessRuntimeBuilder {
        ProcessRuntimeBuilder::new(root.into())
    }

    pub(crate) fn start(core: Arc<Core>, keeper: JoinHandle<()>) -> std::io::Result<Self> {
        // From here on a failure stops the keeper.
        let runtime = Self { core, keeper: Some(keeper) };
        sandbox::forward_adopted(&runtime.core)?;
        Ok(runtime)
    }

    /// Adds an image, or replaces it for containers that are created from now on.
    pub fn add_image(&self, name: impl Into<String>, image: ProcessImage) {
        self.core.images.register(name.into(), image);
    }

    fn container(&self, id: &ContainerId) -> Result<Arc<Container>, RuntimeError> {
        self.core.index().get(&id.0).ok_or_else(|| not_found("container", &id.0))
    }

    /// Does what may block where it may. What was begun is finished, also if the caller goes away.
    async fn block<R: Send + 'static>(
        &self,
        subject: &str,
        operation: &'static str,
        f: impl FnOnce(&Arc<Core>) -> Result<R, RuntimeError> + Send + 'static,
    ) -> Result<R, RuntimeError> {
        let core = Arc::clone(&self.core);
        match tokio::task::spawn_blocking(move || f(&core)).await {
            Ok(result) => result,
            Err(error) => {
                let subject = subject.to_owned();
                Err(RuntimeError::OutcomeUnknown { subject, operation, source: Box::new(error) })
            }
        }
    }
}

impl fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRuntime").field("root", &self.core.root).finish_non_exhaustive()
    }
}

impl Drop for ProcessRuntime {
    fn drop(&mut self) {
        self.core.shutdown.cancel();
        self.core.tasks.close();
        self.core.keeper.stop();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the keeper thread has panicked");
        }
        self.core.cgroups.close();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runtime for ProcessRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let mut info = RuntimeInfo::default();
        "process".clone_into(&mut info.name);
        env!("CARGO_PKG_VERSION").clone_into(&mut info.version);
        info.cpu_milli = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64) * 1000;
        info.memory = procfs::total_memory().map_err(|error| failed("the host", "read its memory", error))?;
        std::env::consts::OS.clone_into(&mut info.os);
        info.architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        let disk = rustix::fs::statvfs(&self.core.root)
            .map_err(|error| failed("the host", "read the free space of its disk", error))?;
        info.storage = disk.f_bavail.saturating_mul(disk.f_frsize);
        info.ignores = [
            Feature::ReadOnlyRoot,
            Feature::ReadOnlyMounts,
            Feature::Privileged,
            Feature::Capabilities,
            Feature::NoNewPrivileges,
            Feature::Seccomp,
            Feature::PodLimits,
            Feature::MemoryVolumes,
        ]
        .into();
        if !launch::may_give_groups() {
            info.ignores.extend([Feature::FsGroup, Feature::SupplementalGroups]);
        }
        let limits = [("cpu", Feature::CpuLimit), ("memory", Feature::MemoryLimit)];
        let cgroups = &self.core.cgroups;
        info.ignores.extend(limits.into_iter().filter(|(c, _)| !cgroups.has(c)).map(|(_, limit)| limit));
        info.kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Ok(info)
    }

    async fn pull_image(
        &self,
        image: &ImageSpec,
        _: Option<&RegistryAuth>,
        _: OnPull<'_>,
    ) -> Result<ImageInfo, RuntimeError> {
        self.core.images.pull(image)
    }

    async fn image(&self, image: &ImageSpec) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(self.core.images.present(image)?.map(|(_, info)| info))
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(self.core.images.list())
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), RuntimeError> {
        let used = |container: &Arc<Container>| container.record.image == image.name;
        if self.core.index().all().iter().any(used) {
            return Err(RuntimeError::InUse { subject: image.name.clone(), what: "the image".to_owned() });
        }
        self.core.images.remove(image);
        Ok(())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        if spec.ports.is_empty() {
            // One short write to the page cache: less than the way to another thread and back.
            return sandbox::run(&self.core, spec);
        }
        let (subject, spec) = (spec.pod_name.to_string(), spec.clone());
        self.block(&subject, "run its sandbox", move |core| sandbox::run(core, &spec)).await
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        sandbox::stop(&self.core, &sandbox.0).await
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        sandbox::stop(&self.core, &sandbox.0).await?;
        let id = Arc::clone(&sandbox.0);
        self.block(&sandbox.0, "remove its sandbox", move |core| sandbox::remove(core, &id)).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        if container::is_quick(&self.core, &sandbox.0, spec) {
            return container::create(&self.core, &sandbox.0, spec);
        }
        let (id, spec) = (Arc::clone(&sandbox.0), spec.clone());
        self.block(&sandbox.0, "create a container", move |core| container::create(core, &id, &spec)).await
    }

    async fn start_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let of_start = self.container(container)?;
        let (starting, alone) = Starting::begin(&self.core);
        if alone && container::starts_quickly(&of_start) {
            // As tokio starts its processes. Of many at once each would keep the others' threads waiting.
            return container::start(&self.core, &of_start);
        }
        self.block(&container.0, "start it", move |core| {
            let _until_then = starting;
            container::start(core, &of_start)
        })
        .await
    }

    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        match self.container(container) {
            Ok(container) => container::stop(&container, grace).await,
            Err(_) => Ok(()),
        }
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let Ok(of_removal) = self.container(container) else { return Ok(()) };
        self.block(&container.0, "remove it", move |core| container::remove(core, &of_removal)).await
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        let sandboxes: Vec<_> = self.core.index().sandboxes.values().cloned().collect();
        Ok(sandboxes.iter().map(|sandbox| self.core.status(sandbox)).collect())
    }

    async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<SandboxStatus>, RuntimeError> {
        let sandbox = self.core.index().sandboxes.get(&sandbox.0).cloned();
        Ok(sandbox.map(|sandbox| self.core.status(&sandbox)))
    }

    async fn address(&self, sandbox: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError> {
        let found = self.core.index().sandboxes.get(&sandbox.0).cloned();
        match found.filter(|sandbox| !sandbox.is_stopped()) {
            Some(sandbox) => Ok(SocketAddr::new(IpAddr::V4(sandbox.record.ip), port)),
            None => Err(not_found("sandbox", &sandbox.0)),
        }
    }

    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        let (of_log, options) = (self.container(container)?, options.clone());
        self.block(&container.0, "read its log", move |core| {
            // What was written before this call shall be in what is read.
            if let Err(error) = of_log.log.ingest(core.now()) {
                tracing::warn!(container = %of_log.id(), %error, "output can't be moved into the log");
            }
            let id = Arc::clone(of_log.id());
            log::open(Arc::clone(&id), &of_log.log, &options)
                .map_err(|error| failed(&id, "read its log", error))
        })
        .await
    }

    async fn exec(
        &self,
        container: &ContainerId,
        options: &ExecOptions,
    ) -> Result<ExecSession, RuntimeError> {
        let (of_exec, options) = (self.container(container)?, options.clone());
        self.block(&container.0, "run a program in it", move |core| exec::exec(core, &of_exec, &options))
            .await
    }

    async fn attach(&self, container: &ContainerId, stdin: bool) -> Result<AttachSession, RuntimeError> {
        attach_by_log(self, container, stdin).await
    }

    async fn read_files(&self, container: &ContainerId, path: &str) -> Result<TarStream, RuntimeError> {
        Err(copies_nothing(container, path))
    }

    async fn write_files(
        &self,
        container: &ContainerId,
        directory: &str,
        _archive: TarStream,
    ) -> Result<(), RuntimeError> {
        Err(copies_nothing(container, directory))
    }

    async fn stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        self.block("the host", "read what containers use", stats::stats).await
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        let receiver = self.core.events.subscribe();
        let shutdown = self.core.shutdown.clone();
        Ok(EventStream::new(stream::unfold((receiver, shutdown), |(mut receiver, shutdown)| async move {
            let event = tokio::select! {
                biased;
                event = receiver.recv() => event,
                () = shutdown.cancelled() => return None,
            };
            match event {
                Ok(event) => Some((event, (receiver, shutdown))),
                Err(RecvError::Lagged(_)) => Some((RuntimeEvent::Lost, (receiver, shutdown))),
                Err(RecvError::Closed) => None,
            }
        })))
    }
}
