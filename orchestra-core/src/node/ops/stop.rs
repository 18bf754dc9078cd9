//! Stopping a container.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{CALL_LIMIT, Job, bounded, hook};
use crate::node::agent::Shared;
use crate::node::apply::Note;
use crate::runtime::{ContainerId, RuntimeError};

/// Runs the preStop hook, sends the stop signal, and has the container killed at `deadline`, but not before
/// `floor` after the signal.
pub(super) async fn stop(
    shared: &Arc<Shared>,
    job: &Job,
    name: &str,
    id: &ContainerId,
    deadline: Instant,
    floor: Duration,
    with_hook: bool,
) -> Result<(), RuntimeError> {
    if let (true, Some(pod), Some(sandbox)) = (with_hook, &job.pod, &job.sandbox)
        && let Some(container) = pod.spec.container(name)
        && let Some(handler) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref())
    {
        let limit = deadline.saturating_duration_since(Instant::now());
        let ran = Box::pin(hook::run(shared, sandbox, container, id, handler, limit));
        if let Err(message) = ran.await {
            let note = Note::warning("FailedPreStopHook", format!("container {name}: {message}"));
            shared.tell(pod, &note);
        }
    }
    let grace = deadline.saturating_duration_since(Instant::now()).max(floor);
    let call = shared.runtime.stop_container(id, grace);
    bounded(grace + CALL_LIMIT, name, "stop the container", call).await
}
