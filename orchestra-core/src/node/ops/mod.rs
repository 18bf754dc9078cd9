//! Carrying out a plan's actions. Each is a task of its own; what it came to is told to the pod's memory.

mod exec;
mod hook;
mod image;
mod probe;
mod start;
mod stop;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, Done, Seen};
use super::agent::Shared;
use super::error::chain;
use super::spec::sandbox_spec;
use super::volumes;
use crate::client::DeleteOptions;
use crate::model::{ObjectKey, Pod, Uid};
use crate::runtime::{RuntimeError, SandboxStatus};

/// How long one call of the runtime may take, pulls and stops aside. Real ones take milliseconds to a few seconds;
/// what takes longer is taken for lost, and its outcome for unknown.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(30);

/// One action, and what it is carried out on.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) uid: Uid,
    pub(crate) pod: Option<Arc<Pod>>,
    pub(crate) sandbox: Option<Arc<SandboxStatus>>,
    pub(crate) action: Action,
}

/// Waits for a runtime call, up to a limit.
pub(in crate::node) async fn bounded<R>(
    limit: Duration,
    subject: &str,
    operation: &'static str,
    call: impl Future<Output = Result<R, RuntimeError>>,
) -> Result<R, RuntimeError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(elapsed) => {
            let subject = subject.to_owned();
            Err(RuntimeError::OutcomeUnknown { subject, operation, source: Box::new(elapsed) })
        }
    }
}

/// Carries out a job; what it does in the pod's task is in boxes, and gone when that is over, as hundreds of jobs may wait at
/// once. Where it touched the runtime, it also reads how things are after it.
#[tracing::instrument(
    name = "operation",
    level = "debug",
    skip_all,
    fields(node = %shared.node, pod = %job.uid, operation = name(&job.action))
)]
pub(crate) async fn run(shared: &Arc<Shared>, job: Job) -> (Done, Option<Seen>) {
    metrics::counter!("orchestra_node_operations_total", "operation" => name(&job.action)).increment(1);
    // Taken before: what else is read meanwhile may show more than the answer.
    let serial = shared.next_serial();
    let done = carry_out(shared, &job).await;
    let seen = match &done {
        Done::SandboxRun(Ok(sandbox)) => {
            Some(Seen { serial, until: shared.next_serial(), result: Ok(Some(sandbox.clone())) })
        }
        // Nothing of it is left, and no other is run before this is known.
        Done::SandboxRemoved { id, result: Ok(()) } if job.sandbox.as_ref().is_some_and(|s| s.id == *id) => {
            Some(Seen { serial: shared.next_serial(), until: shared.next_serial(), result: Ok(None) })
        }
        Done::Observed
        | Done::SandboxStopped(_)
        | Done::SandboxRemoved { .. }
        | Done::Started { .. }
        | Done::Stopped { .. }
        | Done::Pruned(_) => Some(look(shared, &job).await),
        _ => None,
    };
    (done, seen)
}

async fn carry_out(shared: &Arc<Shared>, job: &Job) -> Done {
    match &job.action {
        Action::Observe | Action::Forget => Done::Observed,
        Action::RunSandbox { attempt } => run_sandbox(shared, job, *attempt).await,
        Action::StopSandbox { id } => {
            let call = shared.runtime.stop_sandbox(id);
            Done::SandboxStopped(bounded(CALL_LIMIT, &id.0, "stop the sandbox", call).await)
        }
        Action::RemoveSandbox { id } => {
            let _turn = shared.turns.to_remove().await;
            let call = shared.runtime.remove_sandbox(id);
            let result = bounded(CALL_LIMIT, &id.0, "remove the sandbox", call).await;
            Done::SandboxRemoved { id: id.clone(), result }
        }
        Action::RemoveContainer { id } => {
            let call = shared.runtime.remove_container(id);
            Done::Pruned(bounded(CALL_LIMIT, &id.0, "remove the container", call).await)
        }
        Action::Start { container, attempt } => {
            let result = Box::pin(start::start(shared, job, container, *attempt)).await;
            Done::Started { container: container.clone(), attempt: *attempt, result }
        }
        Action::Stop { container, id, deadline, floor, hook } => {
            let call = stop::stop(shared, job, container, id, *deadline, *floor, *hook);
            let result = Box::pin(call).await;
            Done::Stopped { container: container.clone(), result }
        }
        Action::Drain { revision, limit } => {
            let drained = shared.gates.drain_all(&job.uid, *revision);
            Done::Drained { acknowledged: tokio::time::timeout(*limit, drained).await.is_ok() }
        }
        Action::Probe { container, attempt, kind } => {
            let outcome = Box::pin(probe::check(shared, job, container, *attempt, *kind)).await;
            Done::Probed { container: container.clone(), attempt: *attempt, kind: *kind, outcome }
        }
        Action::RefreshVolumes => Done::VolumesRefreshed(Box::pin(refresh_volumes(shared, job)).await),
        Action::RemoveFiles => {
            Done::FilesRemoved(shared.volumes.remove(&job.uid).await.map_err(|error| chain(&error)))
        }
        Action::DeletePod => Done::PodDeleted(Box::pin(delete_pod(shared, job)).await),
    }
}

fn name(action: &Action) -> &'static str {
    match action {
        Action::Observe => "observe",
        Action::RunSandbox { .. } => "run_sandbox",
        Action::Start { .. } => "start",
        Action::Stop { .. } => "stop",
        Action::Drain { .. } => "drain",
        Action::StopSandbox { .. } => "stop_sandbox",
        Action::RemoveSandbox { .. } => "remove_sandbox",
        Action::RemoveContainer { .. } => "remove_container",
        Action::Probe { .. } => "probe",
        Action::RefreshVolumes => "refresh_volumes",
        Action::RemoveFiles => "remove_files",
        Action::DeletePod => "delete_pod",
        Action::Forget => "forget",
    }
}

/// Reads how the pod's sandbox is now.
async fn look(shared: &Arc<Shared>, job: &Job) -> Seen {
    let serial = shared.next_serial();
    let result = match &job.sandbox {
        Some(sandbox) => {
            let call = shared.runtime.sandbox(&sandbox.id);
            bounded(CALL_LIMIT, &sandbox.id.0, "read the sandbox", call).await
        }
        // Its id is not known, if there is one.
        None => bounded(CALL_LIMIT, job.uid.as_str(), "list the sandboxes", shared.runtime.list())
            .await
            .map(|all| all.into_iter().filter(|s| s.pod_uid == job.uid).max_by_key(|s| s.attempt)),
    };
    Seen { serial, until: shared.next_serial(), result }
}

async fn run_sandbox(shared: &Arc<Shared>, job: &Job, attempt: u32) -> Done {
    let Some(pod) = &job.pod else { return Done::Observed };
    let _turn = shared.turns.to_start().await;
    let spec = sandbox_spec(pod, attempt, &shared.options.dns);
    let call = shared.runtime.run_sandbox(&spec);
    Done::SandboxRun(bounded(CALL_LIMIT, &pod.metadata.name, "run the sandbox", call).await)
}

async fn refresh_volumes(shared: &Arc<Shared>, job: &Job) -> Result<(), String> {
    let Some(pod) = &job.pod else { return Ok(()) };
    let pod = with_addresses(shared, pod, job.sandbox.as_deref());
    let sources = shared.sources(&pod).await.map_err(|error| chain(&error))?;
    let means = volumes::Means::of(&*shared.volumes, &pod, shared.info.get());
    volumes::refresh(&means, &pod, &sources).await.map_err(|error| chain(&error))
}

async fn delete_pod(shared: &Arc<Shared>, job: &Job) -> Result<(), crate::client::ClientError> {
    let Some(pod) = &job.pod else { return Ok(()) };
    let options = DeleteOptions::default().grace_period(0).uid(job.uid.clone());
    shared.client.delete_any(ObjectKey::of(&**pod), &options).await
}

/// The pod with the addresses it has got, which its stored status may not show yet.
pub(super) fn with_addresses(shared: &Shared, pod: &Pod, sandbox: Option<&SandboxStatus>) -> Pod {
    let mut pod = pod.clone();
    pod.status.pod_ip = sandbox.and_then(|s| s.ip).or(pod.status.pod_ip);
    pod.status.pod_ips = pod.status.pod_ip.map(Into::into).into_iter().collect();
    pod.status.host_ip = shared.options.address.or(pod.status.host_ip);
    pod
}
