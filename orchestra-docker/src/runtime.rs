//! The runtime: the contract's methods, each handed to the part that does it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::runtime::{
    AttachSession, ContainerId, ContainerSpec, ContainerStats, EventStream, ExecOptions, ExecSession,
    ImageInfo, ImageSpec, LogOptions, LogStream, OnPull, RegistryAuth, Runtime, RuntimeError, RuntimeInfo,
    SandboxId, SandboxSpec, SandboxStatus, TarStream,
};

use crate::builder::DockerRuntimeBuilder;
use crate::core::Core;
use crate::files::ImageFiles;
use crate::{archive, attach, container, error, events, exec, image, logs, podman, sandbox, services, stats};

/// Starts at once for each CPU of the engine's host: with more its processes only wait for each other.
const STARTS_PER_CPU: usize = 4;

/// Runs pods on Docker Engine.
///
/// See the [crate's documentation](crate) for what a pod is there. Clones share one
/// connection. Dropping it leaves the containers running, for the next value with the same cluster id.
#[derive(Clone)]
pub struct DockerRuntime {
    core: Arc<Core>,
}

impl DockerRuntime {
    /// Configures a runtime for the containers of this cluster: an id of the application's choice, under which it
    /// finds them again.
    pub fn builder(cluster: impl Into<String>) -> DockerRuntimeBuilder {
        DockerRuntimeBuilder::new(cluster.into())
    }

    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Makes an image of files, without a registry; replaces the one of that name.
    ///
    /// # Errors
    /// [`RuntimeError::InvalidImage`] where the name is none, [`RuntimeError::Unsupported`] where Podman is given files with more than one
    /// variable or program, or what the engine says.
    pub async fn import_image(&self, name: &str, files: &ImageFiles) -> Result<(), RuntimeError> {
        if self.core.is_podman {
            podman::check_files(name, files)?;
        }
        image::import(&self.core.docker, name, files).await
    }

    /// Takes back the route of the [service network](DockerRuntimeBuilder::service_network), for all clusters of the
    /// engine's host.
    ///
    /// # Errors
    /// What the engine says. Without a service network nothing is done.
    pub async fn close_service_network(&self) -> Result<(), RuntimeError> {
        match self.core.service_network {
            Some(network) => services::close(&self.core, network).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for DockerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerRuntime").field("cluster", &self.core.cluster).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let host = self.core.docker.info().await;
        let host = host.map_err(|error| error::read("the engine", "ask what it is", error))?;
        let count = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        let mut info = RuntimeInfo::default();
        "docker".clone_into(&mut info.name);
        info.version = host.server_version.unwrap_or_default();
        info.cpu_milli = count(host.ncpu) * 1000;
        info.memory = count(host.mem_total);
        info.starts = usize::try_from(count(host.ncpu)).unwrap_or(1).max(1) * STARTS_PER_CPU;
        info.os = host.os_type.unwrap_or_default();
        info.architecture = match host.architecture.unwrap_or_default().as_str() {
            "x86_64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        // An engine on another host has no such directory here; then nobody knows.
        let root = host.docker_root_dir.filter(|_| !self.core.remote);
        let disk = root.and_then(|root| rustix::fs::statvfs(root).ok());
        info.storage = disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        info.kernel = host.kernel_version.unwrap_or_default();
        Ok(info)
    }

    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&RegistryAuth>,
        progress: OnPull<'_>,
    ) -> Result<ImageInfo, RuntimeError> {
        image::pull(&self.core, &image.name, auth, progress).await
    }

    async fn image(&self, image: &ImageSpec) -> Result<Option<ImageInfo>, RuntimeError> {
        image::present(&self.core, &image.name).await
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        image::list(&self.core.docker).await
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), RuntimeError> {
        image::remove(&self.core.docker, &image.name).await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        sandbox::run(&self.core, spec).await
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        sandbox::stop(&self.core, &sandbox.0).await
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        sandbox::remove(&self.core, &sandbox.0).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        container::create(&self.core, &sandbox.0, spec).await
    }

    async fn start_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        container::start(&self.core, container).await
    }

    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        container::stop(&self.core, &container.0, grace).await
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        container::remove(&self.core, &container.0).await
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        sandbox::list(&self.core).await
    }

    async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<SandboxStatus>, RuntimeError> {
        sandbox::get(&self.core, &sandbox.0).await
    }

    async fn address(&self, sandbox: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError> {
        sandbox::address(&self.core, sandbox, port).await
    }

    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        logs::read(&self.core, container, options).await
    }

    async fn exec(
        &self,
        container: &ContainerId,
        options: &ExecOptions,
    ) -> Result<ExecSession, RuntimeError> {
        exec::start(&self.core, container, options).await
    }

    async fn attach(&self, container: &ContainerId, stdin: bool) -> Result<AttachSession, RuntimeError> {
        attach::start(&self.core, container, stdin).await
    }

    async fn read_files(&self, container: &ContainerId, path: &str) -> Result<TarStream, RuntimeError> {
        archive::read(&self.core, container, path).await
    }

    async fn write_files(
        &self,
        container: &ContainerId,
        directory: &str,
        archive: TarStream,
    ) -> Result<(), RuntimeError> {
        archive::write(&self.core, container, directory, archive).await
    }

    async fn stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        stats::read(&self.core).await
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        events::subscribe(&self.core).await
    }
}
