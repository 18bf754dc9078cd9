//! Starting a run of a container.

use std::sync::Arc;
use std::time::Duration;

use super::{CALL_LIMIT, Job, bounded, hook, image, with_addresses};
use crate::model::{Container, Pod, bounded_seconds};
use crate::node::action::StartError;
use crate::node::agent::Shared;
use crate::node::apply::Note;
use crate::node::env::{Sources, environment, service_env};
use crate::node::error::chain;
use crate::node::security::{check_user, ignored};
use crate::node::spec::container_spec;
use crate::node::volumes::{Means, MountError, check_served, mounts};
use crate::runtime::{ContainerId, ContainerSpec, RuntimeError, SandboxId, SandboxStatus};

/// How long a postStart hook may take. Kubernetes lets it run for ever, and the container hang with it.
const POST_START_LIMIT: Duration = Duration::from_secs(600);

/// Pulls, creates and starts, and runs the postStart hook. Whatever of that was done before is found done.
pub(super) async fn start(
    shared: &Arc<Shared>,
    job: &Job,
    name: &str,
    attempt: u32,
) -> Result<(), StartError> {
    let (Some(pod), Some(sandbox)) = (&job.pod, &job.sandbox) else {
        return Err(refused("the pod or its sandbox is gone"));
    };
    let Some(container) = pod.spec.container(name) else { return Err(refused("there is no such container")) };
    // Done and gone before a turn is waited for: on a busy node many wait.
    let spec = Box::pin(prepare(shared, pod, sandbox, container, attempt)).await?;
    let id = create_and_start(shared, &sandbox.id, &spec).await?;
    if attempt == 0 {
        tell_ignored(shared, pod, container, &spec);
    }
    let Some(handler) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
        return Ok(());
    };
    let ran = Box::pin(hook::run(shared, sandbox, container, &id, handler, POST_START_LIMIT));
    if let Err(message) = ran.await {
        let grace = bounded_seconds(pod.spec.termination_grace_period_seconds);
        let call = shared.runtime.stop_container(&id, grace);
        let stopped = bounded(grace + CALL_LIMIT, name, "stop after a failed postStart hook", call).await;
        if let Err(error) = stopped {
            tracing::warn!(container = name, error = chain(&error), "a container outlives its failed hook");
        }
        return Err(StartError::PostStart { message });
    }
    Ok(())
}

/// Makes the image present and resolves what the container is to be.
async fn prepare(
    shared: &Arc<Shared>,
    pod: &Pod,
    sandbox: &SandboxStatus,
    container: &Container,
    attempt: u32,
) -> Result<ContainerSpec, StartError> {
    let pod = with_addresses(shared, pod, Some(sandbox));
    let sources = shared.sources(&pod).await.map_err(|error| refused(&chain(&error)))?;
    check_served(&pod, &sources).map_err(|error| StartError::Config { message: error.to_string() })?;
    let user = image::ensure(shared, &pod, container, &sources).await?;
    let spec = resolve(shared, &pod, container, attempt, &sources).await?;
    check_user(&pod, container, &spec, user)
        .map_err(|error| StartError::Config { message: error.to_string() })?;
    Ok(spec)
}

/// Tells people what the container asked for and does not have.
fn tell_ignored(shared: &Shared, pod: &Pod, container: &Container, spec: &ContainerSpec) {
    let Some(info) = shared.info.get() else { return };
    let ignored = ignored(pod, container, spec, info);
    if !ignored.is_empty() {
        let (name, runtime) = (&container.name, &info.name);
        let message = format!("container {name}: runtime {runtime} does not enforce {}", ignored.join(", "));
        shared.tell(pod, &Note::warning("NotEnforced", message));
    }
}

async fn resolve(
    shared: &Arc<Shared>,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    sources: &Sources,
) -> Result<ContainerSpec, StartError> {
    let config = |message: String| StartError::Config { message };
    let services = if pod.spec.enable_service_links == Some(false) {
        Vec::new()
    } else {
        service_env(&shared.services.in_namespace(&pod.metadata.namespace))
    };
    let env = environment(pod, container, sources, &services).map_err(|error| config(error.to_string()))?;
    let mounts =
        mounts(&Means::of(&*shared.volumes, pod, shared.info.get()), pod, container, sources, &env).await;
    let mounts = mounts.map_err(|error| match error {
        MountError::Config(error) => config(error.to_string()),
        MountError::Files(_) => StartError::Create { message: error.message(), outcome_unknown: false },
    })?;
    Ok(container_spec(pod, container, attempt, env, mounts))
}

async fn create_and_start(
    shared: &Arc<Shared>,
    sandbox: &SandboxId,
    spec: &ContainerSpec,
) -> Result<ContainerId, StartError> {
    let _turn = shared.turns.to_start().await;
    let call = shared.runtime.create_container(sandbox, spec);
    let created = bounded(CALL_LIMIT, &spec.name, "create the container", call).await;
    let id = created.map_err(|error| failed(&error))?;
    let call = shared.runtime.start_container(&id);
    bounded(CALL_LIMIT, &spec.name, "start the container", call).await.map_err(|error| failed(&error))?;
    Ok(id)
}

fn refused(why: &str) -> StartError {
    StartError::Create { message: why.to_owned(), outcome_unknown: false }
}

fn failed(error: &RuntimeError) -> StartError {
    let message = chain(error);
    match error {
        RuntimeError::Start { .. } => StartError::Run { message },
        _ => StartError::Create { message, outcome_unknown: error.outcome_unknown() },
    }
}
