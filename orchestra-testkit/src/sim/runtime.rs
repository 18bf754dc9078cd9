//! A host's runtime as its agent sees it: slow, sometimes failing, sometimes silent about what it did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStats, EventStream, ExecOptions, ExecSession,
    ImageInfo, ImageSpec, LogOptions, LogStream, OnPull, RegistryAuth, Runtime, RuntimeError, RuntimeEvent,
    RuntimeInfo, SandboxId, SandboxSpec, SandboxStatus,
};
use tokio::sync::mpsc;

use super::Mutant;
use super::event::Ground;
use super::image::Image;
use super::machine::Machine;
use super::process::Process;

/// How long a call takes at most when the runtime is slow.
const SLOW: Duration = Duration::from_secs(10);

/// One agent's way to the runtime of its host.
#[derive(Clone, Debug)]
pub(crate) struct FaultyRuntime {
    machine: Arc<Machine>,
    process: Arc<Process>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Trouble(&'static str);

impl FaultyRuntime {
    pub(crate) fn new(machine: &Arc<Machine>, process: &Arc<Process>) -> Self {
        Self { machine: Arc::clone(machine), process: Arc::clone(process) }
    }

    /// The way there. `change`: what is to be changed, if anything.
    async fn call(&self, operation: &'static str, change: Option<&str>) -> Result<(), RuntimeError> {
        let world = &self.machine.world;
        world.seam().await;
        let faults = &world.options.faults;
        if world.strikes(faults.runtime_slow) {
            tokio::time::sleep(world.up_to(SLOW)).await;
        }
        self.lives().await;
        if let Some(subject) = change {
            world.called(self.machine.index, operation, subject);
        }
        let subject = || change.unwrap_or("host").to_owned();
        if world.strikes(faults.runtime_failed) {
            world.note(format_args!("node-{} fault: {operation} fails", self.machine.index));
            let source = Box::new(Trouble("the runtime has a bad moment"));
            return Err(RuntimeError::Failed { subject: subject(), operation, transient: true, source });
        }
        if change.is_some() && world.strikes(faults.runtime_unknown / 2.0) {
            world.note(format_args!("node-{} fault: {operation} is lost", self.machine.index));
            return Err(unknown(&subject(), operation));
        }
        Ok(())
    }

    /// The way back.
    async fn reply(&self, operation: &'static str, change: Option<&str>) -> Result<(), RuntimeError> {
        let world = &self.machine.world;
        world.seam().await;
        self.lives().await;
        if let Some(subject) = change.filter(|_| world.strikes(world.options.faults.runtime_unknown / 2.0)) {
            world.note(format_args!("node-{} fault: the reply to {operation} is lost", self.machine.index));
            return Err(unknown(subject, operation));
        }
        Ok(())
    }

    /// Goes on only if agent and host live.
    async fn lives(&self) {
        self.process.goes_on().await;
        if !self.machine.is_powered() {
            std::future::pending::<()>().await;
        }
    }

    /// A mutant runs a container twice.
    fn start_again(&self, id: &ContainerId) {
        let parts: Vec<&str> = id.0.rsplitn(3, '/').collect();
        if let [attempt, name, sandbox] = parts[..]
            && let Some(status) = self.machine.sandbox(&SandboxId(sandbox.into()))
        {
            let attempt = attempt.parse().unwrap_or(0) + 1;
            let what = Ground::Started { sandbox: sandbox.to_owned(), container: name.to_owned(), attempt };
            self.machine.world.ground(self.machine.index, &status.pod_uid, &what);
        }
    }
}

fn unknown(subject: &str, operation: &'static str) -> RuntimeError {
    let source = Box::new(Trouble("no answer"));
    RuntimeError::OutcomeUnknown { subject: subject.to_owned(), operation, source }
}

fn image_info(image: &ImageSpec) -> ImageInfo {
    ImageInfo::new(format!("sim:{}", image.name), image.name.as_str(), 1 << 20)
}

#[async_trait]
impl Runtime for FaultyRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.call("info", None).await?;
        let mut info = RuntimeInfo::default();
        info.name = "simulated".to_owned();
        info.cpu_milli = 4000;
        info.memory = 8 << 30;
        info.os = "linux".to_owned();
        info.architecture = "amd64".to_owned();
        Ok(info)
    }

    async fn pull_image(
        &self,
        image: &ImageSpec,
        _: Option<&RegistryAuth>,
        _: OnPull<'_>,
    ) -> Result<ImageInfo, RuntimeError> {
        self.call("pull_image", Some(&image.name)).await?;
        tokio::time::sleep(self.machine.world.up_to(Duration::from_millis(500))).await;
        self.lives().await;
        if Image::parse(&image.name).missing {
            let why = "the simulated registry does not have it".to_owned();
            return Err(RuntimeError::ImageNotFound { image: image.name.clone(), why });
        }
        self.machine.add_image(&image.name);
        self.reply("pull_image", Some(&image.name)).await?;
        Ok(image_info(image))
    }

    async fn image(&self, image: &ImageSpec) -> Result<Option<ImageInfo>, RuntimeError> {
        self.call("image", None).await?;
        Ok(self.machine.has_image(&image.name).then(|| image_info(image)))
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.call("images", None).await?;
        Ok(Vec::new())
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), RuntimeError> {
        self.call("remove_image", Some(&image.name)).await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        self.call("run_sandbox", Some(&spec.pod_name)).await?;
        let status = self.machine.run_sandbox(spec);
        self.reply("run_sandbox", Some(&spec.pod_name)).await?;
        Ok(status)
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        self.call("stop_sandbox", Some(&sandbox.0)).await?;
        self.machine.tear_down(sandbox);
        self.reply("stop_sandbox", Some(&sandbox.0)).await
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        self.call("remove_sandbox", Some(&sandbox.0)).await?;
        self.machine.remove_sandbox(sandbox);
        self.reply("remove_sandbox", Some(&sandbox.0)).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        self.call("create_container", Some(&spec.name)).await?;
        if !self.machine.has_image(&spec.image.name) {
            let why = "it was not pulled".to_owned();
            return Err(RuntimeError::ImageNotFound { image: spec.image.name.clone(), why });
        }
        let created = self.machine.create(sandbox, spec);
        self.reply("create_container", Some(&spec.name)).await?;
        created.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {sandbox}")))
    }

    async fn start_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        self.call("start_container", Some(&container.0)).await?;
        let started = self.machine.start(container);
        if self.machine.world.mutates(Mutant::StartsTwice, 0.1) {
            self.start_again(container);
        }
        self.reply("start_container", Some(&container.0)).await?;
        if started { Ok(()) } else { Err(RuntimeError::NotFound(format!("container {container}"))) }
    }

    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.call("stop_container", Some(&container.0)).await?;
        self.machine.stop(container, grace);
        self.machine.over(container).await;
        self.reply("stop_container", Some(&container.0)).await
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        self.call("remove_container", Some(&container.0)).await?;
        if self.machine.remove(container) {
            let what = "it runs".to_owned();
            return Err(RuntimeError::InUse { subject: container.0.to_string(), what });
        }
        self.reply("remove_container", Some(&container.0)).await
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        self.call("list", None).await?;
        let all = self.machine.list();
        self.reply("list", None).await?;
        Ok(all)
    }

    async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<SandboxStatus>, RuntimeError> {
        self.call("sandbox", None).await?;
        let status = self.machine.sandbox(sandbox);
        self.reply("sandbox", None).await?;
        Ok(status)
    }

    async fn address(&self, sandbox: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError> {
        let ip = self.machine.sandbox(sandbox).and_then(|sandbox| sandbox.ip);
        let gone = || RuntimeError::NotFound(format!("sandbox {sandbox}"));
        ip.map(|ip| SocketAddr::new(ip, port)).ok_or_else(gone)
    }

    async fn logs(&self, _: &ContainerId, _: &LogOptions) -> Result<LogStream, RuntimeError> {
        Ok(LogStream::new(futures_util::stream::empty()))
    }

    async fn exec(&self, container: &ContainerId, _: &ExecOptions) -> Result<ExecSession, RuntimeError> {
        self.call("exec", None).await?;
        if !self.machine.state_of(container).is_some_and(|state: ContainerState| state.is_running()) {
            return Err(RuntimeError::NotFound(format!("container {container}")));
        }
        let (_, output) = mpsc::channel(1);
        let (machine, container) = (Arc::clone(&self.machine), container.clone());
        let exit = async move {
            match machine.answers(&container) {
                Some(ready) => Ok(i32::from(!ready)),
                None => std::future::pending().await,
            }
        };
        Ok(ExecSession { output, stdin: None, resize: None, exit: exit.boxed() })
    }

    async fn stats(&self) -> Result<Vec<ContainerStats>, RuntimeError> {
        self.call("stats", None).await?;
        Ok(Vec::new())
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        self.call("events", None).await?;
        let (world, events) = (Arc::clone(&self.machine.world), self.machine.listen());
        let stream = futures_util::stream::unfold((world, events), |(world, mut events)| async move {
            let event: RuntimeEvent = events.recv().await?;
            world.seam().await;
            Some((event, (world, events)))
        });
        Ok(EventStream::new(stream))
    }
}
