//! The contract's methods.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use orchestra_core::runtime::{
    AttachSession, ContainerId, ContainerSpec, ContainerState, ContainerStats, EventStream, ExecOptions,
    ExecSession, ImageInfo, ImageSpec, LogChunk, LogOptions, LogSource, LogStream, OnPull, RegistryAuth,
    Runtime, RuntimeError, RuntimeInfo, SandboxId, SandboxSpec, SandboxState, SandboxStatus, TarStream,
    attach_by_log, copies_nothing,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fault::SimOp;
use super::handle::SimRuntime;
use super::program::SimStop;
use super::record::SimWhat;
use super::world::{STOPPED_CODE, TERM, World};

/// The simulated host: large enough for any simulation that does not give its nodes a capacity.
const CPU_MILLI: u64 = 64_000;
const MEMORY: u64 = 256 << 30;
/// The size of every image.
const IMAGE_SIZE: u64 = 32 << 20;

fn not_found(what: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("{what} of the simulated runtime"))
}

fn image_not_found(image: &ImageSpec) -> RuntimeError {
    let why = "the simulated registry does not have it; add it with SimRuntime::image".to_owned();
    RuntimeError::ImageNotFound { image: image.name.clone(), why }
}

fn info(image: &ImageSpec) -> ImageInfo {
    ImageInfo::new(format!("sim:{}", image.name), image.name.as_str(), IMAGE_SIZE)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runtime for SimRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.begin(SimOp::Read, "the host").await?;
        let mut info = RuntimeInfo::default();
        "sim".clone_into(&mut info.name);
        env!("CARGO_PKG_VERSION").clone_into(&mut info.version);
        (info.cpu_milli, info.memory) = (CPU_MILLI, MEMORY);
        "linux".clone_into(&mut info.os);
        "amd64".clone_into(&mut info.architecture);
        "simulated".clone_into(&mut info.kernel);
        Ok(info)
    }

    async fn pull_image(
        &self,
        image: &ImageSpec,
        _: Option<&RegistryAuth>,
        _: OnPull<'_>,
    ) -> Result<ImageInfo, RuntimeError> {
        let lost = self.begin(SimOp::Pull, &image.name).await?;
        if image.name.is_empty() || image.name.contains(char::is_whitespace) {
            let why = "it is empty or has white space in it".to_owned();
            return Err(RuntimeError::InvalidImage { image: image.name.clone(), why });
        }
        let mut world = self.lock();
        if world.program(&image.name).is_none() {
            return Err(image_not_found(image));
        }
        world.present.insert(image.name.clone());
        drop(world);
        self.end(lost, SimOp::Pull, &image.name, info(image))
    }

    async fn image(&self, image: &ImageSpec) -> Result<Option<ImageInfo>, RuntimeError> {
        self.begin(SimOp::Read, &image.name).await?;
        Ok(self.lock().present.contains(&image.name).then(|| info(image)))
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.begin(SimOp::Read, "the images").await?;
        Ok(self.lock().present.iter().map(|name| info(&ImageSpec::from(name.as_str()))).collect())
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), RuntimeError> {
        self.begin(SimOp::Read, &image.name).await?;
        let mut world = self.lock();
        if world.containers.values().any(|c| c.spec.image == *image) {
            return Err(RuntimeError::InUse { subject: image.name.clone(), what: "the image".to_owned() });
        }
        world.present.remove(&image.name);
        Ok(())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        let lost = self.begin(SimOp::RunSandbox, &spec.pod_name).await?;
        let status = {
            let mut world = self.lock();
            let id = world.run_sandbox(spec, self.0.clock.now());
            world.status(&id).ok_or_else(|| not_found(&id.0))?
        };
        self.end(lost, SimOp::RunSandbox, &spec.pod_name, status)
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        let lost = self.begin(SimOp::StopSandbox, &sandbox.0).await?;
        self.lock().stop_sandbox(sandbox, self.0.clock.now());
        self.end(lost, SimOp::StopSandbox, &sandbox.0, ())
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        let lost = self.begin(SimOp::RemoveSandbox, &sandbox.0).await?;
        self.lock().remove_sandbox(sandbox, self.0.clock.now());
        self.end(lost, SimOp::RemoveSandbox, &sandbox.0, ())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        let lost = self.begin(SimOp::Create, &spec.name).await?;
        let id = {
            let mut world = self.lock();
            let found = world.sandboxes.get(sandbox).ok_or_else(|| not_found(&sandbox.0))?;
            if found.state != SandboxState::Ready {
                return Err(not_found(&format!("the stopped sandbox {sandbox}")));
            }
            let present = world.present.contains(&spec.image.name);
            let program = world.program(&spec.image.name).filter(|_| present);
            let program = program.ok_or_else(|| image_not_found(&spec.image))?;
            world.create(sandbox, spec, program, self.0.clock.now())
        };
        self.end(lost, SimOp::Create, &spec.name, id)
    }

    async fn start_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let lost = self.begin(SimOp::Start, &container.0).await?;
        {
            let mut world = self.lock();
            let found = world.containers.get(container).ok_or_else(|| not_found(&container.0))?;
            if !found.program.starts {
                return Err(RuntimeError::Start {
                    subject: container.to_string(),
                    program: found.spec.image.name.clone(),
                    source: "there is no such program".into(),
                });
            }
            if found.state == ContainerState::Created
                && world.sandboxes.get(&found.sandbox).is_none_or(|s| s.state != SandboxState::Ready)
            {
                return Err(not_found(&format!("the sandbox of {container}")));
            }
            world.start(container, Instant::now(), self.0.clock.now());
        }
        self.end(lost, SimOp::Start, &container.0, ())
    }

    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let lost = self.begin(SimOp::Stop, &container.0).await?;
        let kill_at = Instant::now() + grace;
        let runs = |world: &World| world.containers.get(container).is_some_and(|c| c.state.is_running());
        {
            let mut world = self.lock();
            if runs(&world) {
                world.record_of(container, self.0.clock.now(), SimWhat::StopSignal { grace });
                let stop = world.containers.get(container).map(|c| c.program.stop);
                if let Some(SimStop::Exits(after)) = stop {
                    world.exit_at(container, Instant::now() + after, STOPPED_CODE, Some(TERM));
                }
            }
        }
        self.0.happened.notify_waiters();
        loop {
            let happened = self.0.happened.notified();
            let due = {
                let mut world = self.lock();
                if !runs(&world) {
                    break;
                }
                if Instant::now() >= kill_at {
                    world.kill(container, self.0.clock.now());
                    break;
                }
                world.next_due().map_or(kill_at, |due| due.min(kill_at))
            };
            tokio::select! {
                biased;
                () = happened => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
        self.end(lost, SimOp::Stop, &container.0, ())
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        let lost = self.begin(SimOp::Remove, &container.0).await?;
        {
            let mut world = self.lock();
            if world.containers.get(container).is_some_and(|c| c.state.is_running()) {
                let what = "the container: it runs".to_owned();
                return Err(RuntimeError::InUse { subject: container.to_string(), what });
            }
            world.remove(container, self.0.clock.now());
        }
        self.end(lost, SimOp::Remove, &container.0, ())
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        self.begin(SimOp::Read, "the sandboxes").await?;
        let world = self.lock();
        Ok(world.sandboxes.keys().filter_map(|id| world.status(id)).collect())
    }

    async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<SandboxStatus>, RuntimeError> {
        self.begin(SimOp::Read, &sandbox.0).await?;
        Ok(self.lock().status(sandbox))
    }

    async fn address(&self, sandbox: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError> {
        self.begin(SimOp::Read, &sandbox.0).await?;
        let ip: Option<IpAddr> = self.lock().sandboxes.get(sandbox).and_then(|s| s.ip);
        ip.map(|ip| SocketAddr::new(ip, port)).ok_or_else(|| not_found(&sandbox.0))
    }

    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        self.begin(SimOp::Read, &container.0).await?;
        let world = self.lock();
        let found = world.containers.get(container).ok_or_else(|| not_found(&container.0))?;
        let at = match &found.state {
            ContainerState::Running { started_at } => Some(*started_at),
            ContainerState::Exited { started_at, .. } => *started_at,
            _ => None,
        };
        let Some(at) = at.filter(|at| options.since.is_none_or(|since| *at >= since)) else {
            return Ok(LogStream::new(stream::empty()));
        };
        let lines = &found.program.output;
        let from = options.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        let mut room = options.limit_bytes.unwrap_or(u64::MAX);
        let mut chunks = Vec::new();
        for line in &lines[from..] {
            let mut bytes = Bytes::from(format!("{line}\n"));
            bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            room -= bytes.len() as u64;
            if !bytes.is_empty() {
                chunks.push(Ok(LogChunk { source: LogSource::Stdout, at, bytes }));
            }
        }
        Ok(LogStream::new(stream::iter(chunks)))
    }

    async fn exec(
        &self,
        container: &ContainerId,
        options: &ExecOptions,
    ) -> Result<ExecSession, RuntimeError> {
        self.begin(SimOp::Exec, &container.0).await?;
        let world = self.lock();
        let found = world.containers.get(container).ok_or_else(|| not_found(&container.0))?;
        if !found.state.is_running() {
            return Err(not_found(&format!("a running {container}")));
        }
        // `true` and `false` are what they are called; anything else asks whether the container is well.
        let well = match options.command.first().map(String::as_str) {
            Some("true") => true,
            Some("false") => false,
            _ => found.is_well(Instant::now()),
        };
        // Nothing is written: the sender is dropped at once.
        let (_, output) = mpsc::channel(1);
        let code = i32::from(!well);
        Ok(ExecSession { output, stdin: None, resize: None, exit: Box::pin(async move { Ok(code) }) })
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
        self.begin(SimOp::Read, "what containers use").await?;
        let (now, wall) = (Instant::now(), self.0.clock.now());
        let world = self.lock();
        let running = world.containers.iter().filter(|(_, c)| c.state.is_running());
        let stats = running.filter_map(|(id, container)| {
            let uid = world.sandboxes.get(&container.sandbox)?.spec.pod_uid.clone();
            let mut stats =
                ContainerStats::new(id.clone(), std::sync::Arc::clone(&container.spec.name), uid, wall);
            let ran = container.started.map_or(Duration::ZERO, |started| now - started);
            let micros = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
            stats.cpu_nanos = micros.saturating_mul(container.program.cpu_milli);
            (stats.memory, stats.pids) = (container.program.memory, 1);
            Some(stats)
        });
        Ok(stats.collect())
    }

    async fn events(&self) -> Result<EventStream, RuntimeError> {
        self.begin(SimOp::Read, "the events").await?;
        let cursor = self.lock().next_event();
        let runtime = self.clone();
        Ok(EventStream::new(stream::unfold((runtime, cursor), |(runtime, mut cursor)| async move {
            loop {
                let happened = runtime.0.happened.notified();
                let due = {
                    let world = runtime.lock();
                    if let Some(event) = world.event(&mut cursor) {
                        drop(world);
                        return Some((event, (runtime.clone(), cursor)));
                    }
                    world.next_due()
                };
                match due {
                    None => happened.await,
                    Some(due) => tokio::select! {
                        biased;
                        () = happened => {}
                        () = tokio::time::sleep_until(due) => {}
                    },
                }
            }
        })))
    }
}
