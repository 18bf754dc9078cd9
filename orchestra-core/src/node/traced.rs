//! Every call of a runtime, in a span and timed.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::Instrument;

use crate::runtime::{
    AttachSession, ContainerId, ContainerSpec, ContainerStats, EventStream, ExecOptions, ExecSession,
    ImageInfo, ImageSpec, LogOptions, LogStream, OnPull, RegistryAuth, Runtime, RuntimeError, RuntimeInfo,
    SandboxId, SandboxSpec, SandboxStatus, TarStream,
};

/// A runtime whose calls are spans and are timed.
#[derive(Debug)]
pub(super) struct Traced(Arc<dyn Runtime>);

impl Traced {
    pub(super) fn over(runtime: Arc<dyn Runtime>) -> Arc<dyn Runtime> {
        Arc::new(Self(runtime))
    }
}

/// Tells how long a call took, also of one that nobody waited for to its end.
struct Timer {
    started: Instant,
    operation: &'static str,
    result: &'static str,
}

impl Drop for Timer {
    fn drop(&mut self) {
        let (operation, result) = (self.operation, self.result);
        metrics::histogram!("orchestra_runtime_seconds", "operation" => operation, "result" => result)
            .record(self.started.elapsed());
    }
}

async fn traced<R>(
    operation: &'static str,
    subject: &str,
    call: impl Future<Output = Result<R, RuntimeError>>,
) -> Result<R, RuntimeError> {
    let mut timer = Timer { started: Instant::now(), operation, result: "dropped" };
    let result = call.instrument(tracing::debug_span!("runtime", operation, subject)).await;
    timer.result = if result.is_ok() { "ok" } else { "error" };
    result
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Runtime for Traced {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        traced("info", "", self.0.info()).await
    }

    async fn pull_image(
        &self,
        image: &ImageSpec,
        auth: Option<&RegistryAuth>,
        progress: OnPull<'_>,
    ) -> Result<ImageInfo, RuntimeError> {
        traced("pull_image", &image.name, self.0.pull_image(image, auth, progress)).await
    }

    async fn image(&self, image: &ImageSpec) -> Result<Option<ImageInfo>, RuntimeError> {
        traced("image", &image.name, self.0.image(image)).await
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        traced("images", "", self.0.images()).await
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), RuntimeError> {
        traced("remove_image", &image.name, self.0.remove_image(image)).await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        traced("run_sandbox", &spec.pod_name, self.0.run_sandbox(spec)).await
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        traced("stop_sandbox", &sandbox.0, self.0.stop_sandbox(sandbox)).await
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        traced("remove_sandbox", &sandbox.0, self.0.remove_sandbox(sandbox)).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        traced("create_container", &spec.name, self.0.create_container(sandbox, spec)).await
    }

    async fn start_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        traced("start_container", &container.0, self.0.start_container(container)).await
    }

    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        traced("stop_container", &container.0, self.0.stop_container(container, grace)).await
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        traced("remove_container", &container.0, self.0.remove_container(container)).await
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        traced("list", "", self.0.list()).await
    }

    async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<SandboxStatus>, RuntimeError> {
        traced("sandbox", &sandbox.0, self.0.sandbox(sandbox)).await
    }

    async fn address(&self, sandbox: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError> {
        traced("address", &sandbox.0, self.0.address(sandbox, port)).await
    }

    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        traced("logs", &container.0, self.0.logs(container, options)).await
    }

    async fn exec(
        &self,
        container: &ContainerId,
        options: &ExecOptions,
    ) -> Result<ExecSession, RuntimeError> {
        traced("exec", &container.0, self.0.exec(container, options)).await
    }

    async fn attach(&self, container: &ContainerId, stdin: bool) -> Result<AttachSession, RuntimeError> {
        traced("attach", &container.0, self.0.attach(container, stdin)).await
    }

    async fn read_files(&self, container: &ContainerId, path: &str) -> Result<TarStream, RuntimeError> {
        traced("read_files", &container.0, self.0.read_files(container, path)).await
    }

    async fn write_files(
        &self,
        container: &ContainerId,
        directory: &str,
        archive: TarStream,
    ) -> Result<(), RuntimeError> {
        traced("write_files", &container.0, self.0.write_files(container, directory, archive)).await
    }

    async fn stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        traced("stats", "", self.0.stats()).await
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        traced("events", "", self.0.events()).await
    }
}
