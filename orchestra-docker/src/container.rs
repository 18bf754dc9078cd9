//! Containers: create, start, stop, remove.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{KillContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use orchestra_core::runtime::{ContainerId, ContainerSpec, MountSource, RuntimeError};

use crate::core::{Core, Created, Found};
use crate::labels::{self, ROLE_CONTAINER};
use crate::{error, message, pod_limits, podman, sandbox, seccomp, spec, status, volumes};

/// A container that exists.
pub(crate) async fn existing(core: &Core, id: &str) -> Result<Found, RuntimeError> {
    core.find(id, ROLE_CONTAINER).await?.ok_or_else(|| error::not_found("container", id))
}

/// Creates a container. Once begun it is waited for by who removes the sandbox, also where the caller went away: the engine
/// goes on, and what it makes would be left.
pub(crate) async fn create(
    core: &Arc<Core>,
    sandbox: &str,
    spec: &ContainerSpec,
) -> Result<ContainerId, RuntimeError> {
    let lock = core.locks.of(sandbox).read_owned().await;
    let (of_task, sandbox, spec) = (Arc::clone(core), sandbox.to_owned(), spec.clone());
    let subject = labels::container_name(&sandbox, &spec);
    let created = core.tasks.spawn(async move {
        let created = create_in(&of_task, &sandbox, &spec).await;
        drop(lock);
        created
    });
    created.await.unwrap_or_else(|error| {
        Err(RuntimeError::OutcomeUnknown { subject, operation: "create it", source: Box::new(error) })
    })
}

async fn create_in(core: &Core, sandbox: &str, spec: &ContainerSpec) -> Result<ContainerId, RuntimeError> {
    let of = sandbox::existing(core, sandbox).await?;
    let name = labels::container_name(sandbox, spec);
    if !of.is_running() {
        return Err(error::refused(&name, "create it", "its sandbox is stopped"));
    }
    let pod = labels::pod(&of.labels).ok_or_else(|| error::not_found("the pod of sandbox", sandbox))?;
    let seccomp = seccomp::profile(core.seccomp_profiles.as_deref(), spec, core.is_podman).await?;
    let message = core.state_dir.as_deref().map(|dir| message::create(dir, &name)).transpose()?;
    let uid = pod.uid.to_string();
    let held = volumes::of_sandbox(core, &of.details);
    let volumes = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Memory { volume } => {
            Some((volume.clone(), labels::volume_name(&core.cluster, &uid, volume)))
        }
        _ => None,
    });
    let shared = spec::Sandbox {
        docker_id: &of.docker_id,
        pod_name: &pod.name,
        ip: status::ip(core, &of),
        cgroup_parent: pod_limits::parent(&of),
        volumes: volumes.filter(|(_, name)| held.contains(name)).collect(),
    };
    let body =
        spec::container(spec, &shared, message.as_deref(), seccomp, labels::of_container(&of.labels, spec))?;
    core.members.comes(sandbox, &name);
    match core.create_or_find(&name, ROLE_CONTAINER, body).await {
        Ok(Created::New(docker_id)) => {
            core.members.came(sandbox, &name, &docker_id);
            core.created.note(&name, docker_id);
        }
        Ok(Created::Found(found)) => core.members.came(sandbox, &name, &found.docker_id),
        Err(error) => {
            if !error.outcome_unknown() {
                core.members.comes_not(sandbox, &name);
                core.state_dir.iter().for_each(|dir| message::remove(dir, &name));
            }
            return Err(error);
        }
    }
    Ok(ContainerId(name.into()))
}

/// Starts a container that was never started. The engine would start one that has ended a second time, so a start
/// whose caller went away is waited for by the next one.
pub(crate) async fn start(core: &Arc<Core>, id: &ContainerId) -> Result<(), RuntimeError> {
    // As with a creation, who removes the sandbox waits for it.
    let sandbox = labels::sandbox_of(&id.0).ok_or_else(|| error::not_found("container", &id.0))?;
    let of_sandbox = core.locks.of(sandbox).read_owned().await;
    let lock = core.locks.of(&id.0).write_owned().await;
    let (of_task, subject) = (Arc::clone(core), id.clone());
    let started = core.tasks.spawn(async move {
        let started = start_once(&of_task, &subject.0).await;
        drop((lock, of_sandbox));
        started
    });
    started.await.unwrap_or_else(|error| {
        let (subject, operation) = (id.to_string(), "start it");
        Err(RuntimeError::OutcomeUnknown { subject, operation, source: Box::new(error) })
    })
}

async fn start_once(core: &Core, id: &str) -> Result<(), RuntimeError> {
    let docker_id = match core.created.take(id) {
        Some(docker_id) => docker_id,
        None => {
            let found = existing(core, id).await?;
            if found.phase() != ContainerStateStatusEnum::CREATED {
                return Ok(());
            }
            found.docker_id
        }
    };
    if core.is_podman {
        // It would start the sandbox again, too.
        let sandbox = labels::sandbox_of(id).unwrap_or_default();
        if !sandbox::existing(core, sandbox).await?.is_running() {
            core.created.note(id, docker_id);
            return Err(error::refused(id, "start it", "its sandbox is stopped"));
        }
    }
    let Err(error) = core.docker.start_container(&docker_id, None::<StartContainerOptions>).await else {
        return Ok(());
    };
    if is_about_the_program(&error) {
        let found = existing(core, id).await.ok();
        let config = found.as_ref().and_then(|found| found.details.config.as_ref());
        let entrypoint = config.and_then(|config| config.entrypoint.as_ref()).and_then(|words| words.first());
        let program = entrypoint.or_else(|| config.and_then(|config| config.cmd.as_ref()?.first()));
        let program = program.cloned().unwrap_or_default();
        return Err(RuntimeError::Start { subject: id.to_owned(), program, source: Box::new(error) });
    }
    Err(error::effect(id, "start it", error))
}

/// Whether the engine could not run the program: Docker answers with 400 then, as with nothing else at a start.
fn is_about_the_program(error: &Error) -> bool {
    let why = error::message(error);
    error::status(error) == Some(400)
        || [
            "executable file not found",
            "exec format error",
            "permission denied",
            "command that was not found",
        ]
        .iter()
        .any(|w| why.contains(w))
}

pub(crate) async fn stop(core: &Core, id: &str, grace: Duration) -> Result<(), RuntimeError> {
    let Some(found) = core.find(id, ROLE_CONTAINER).await?.filter(Found::is_running) else { return Ok(()) };
    let signal = found.details.config.as_ref().and_then(|config| config.stop_signal.clone());
    let signal = signal.filter(|signal| !signal.is_empty()).unwrap_or_else(|| "SIGTERM".to_owned());
    let options = KillContainerOptionsBuilder::default().signal(&signal).build();
    match core.docker.kill_container(&found.docker_id, Some(options)).await {
        Ok(()) => {}
        Err(error) if error::is_over(&error) => return Ok(()),
        Err(error) => return Err(error::effect(id, "stop it", error)),
    }
    let ended = tokio::time::timeout(grace, ended(core, &found.docker_id, grace));
    if ended.await.is_ok() {
        return Ok(());
    }
    sandbox::kill(core, &found.docker_id, id).await
}

/// Waits until a container does not run. An engine that goes away meanwhile does not end the wait: it is asked again.
pub(crate) async fn ended(core: &Core, docker_id: &str, limit: Duration) {
    while let Err(error) = wait(core, docker_id, limit).await {
        tracing::warn!(container = docker_id, %error, "waiting for its end");
        tokio::time::sleep(WAIT_AGAIN).await;
    }
}

/// Before the engine is asked again after it did not answer.
const WAIT_AGAIN: Duration = Duration::from_millis(200);

/// Waits until a container does not run, or is gone.
async fn wait(core: &Core, docker_id: &str, grace: Duration) -> Result<(), RuntimeError> {
    if core.is_podman {
        return podman::ended(core, docker_id).await;
    }
    let docker = core.docker.clone().with_timeout(grace + Duration::from_secs(60));
    let mut ends = std::pin::pin!(docker.wait_container(docker_id, None::<WaitContainerOptions>));
    match ends.next().await {
        // An exit code that is not zero is an error to the client.
        None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(Err(error)) if error::status(&error) == Some(404) => Ok(()),
        Some(Err(error)) => Err(error::read(docker_id, "wait for its end", error)),
    }
}

pub(crate) async fn remove(core: &Core, id: &str) -> Result<(), RuntimeError> {
    let Some(found) = core.find(id, ROLE_CONTAINER).await? else { return Ok(()) };
    core.end_if_forgotten(&found, id, id).await?;
    // Podman does not remove one that has ended as long as the program of an exec is left in it.
    let force = core.is_podman && found.phase() == ContainerStateStatusEnum::EXITED;
    core.remove(&found.docker_id, id, force).await?;
    if let Some(dir) = &core.state_dir {
        message::remove(dir, id);
    }
    Ok(())
}
