//! Planning for a pod that is to end: out of the balancers, then the containers, then the rest.

use std::time::Duration;

use tokio::time::Instant;

use super::{Plan, View};
use crate::model::{Pod, bounded_seconds};
use crate::node::action::{Action, OpKey};
use crate::node::memory::{Memory, Observed, Role, Run, roles};
use crate::runtime::{ContainerStatus, SandboxState};

/// What a pod gets that was taken out of the store, or deleted without grace: the signal, a second, the kill.
const FORCED_GRACE: Duration = Duration::from_secs(1);

/// The least time from the stop signal to the kill, also where a preStop hook used up the grace: Kubernetes' 2 s.
const MIN_STOP_GRACE: Duration = Duration::from_secs(2);

/// Why a pod ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not in the store any more: nobody wants it here.
    Gone,
    /// It was deleted.
    Deleted { grace: Duration },
    /// The agent stops all its pods.
    Shutdown { grace: Duration },
    /// It failed; what runs of it is stopped.
    Failed { grace: Duration, reason: &'static str, message: String },
    /// Its containers have ended for good; what is left are sidecars.
    Finished { grace: Duration },
}

/// A pod's own time to end.
pub(super) fn grace(pod: &Pod) -> Duration {
    bounded_seconds(pod.spec.termination_grace_period_seconds).max(FORCED_GRACE)
}

/// How soon after the stop signal a container is killed at the earliest.
pub(super) fn stop_floor(grace: Duration) -> Duration {
    grace.min(MIN_STOP_GRACE)
}

/// Whether the pod ends, and why.
pub(crate) fn ending(view: &View<'_>) -> Option<Ending> {
    let Some(pod) = view.pod else { return Some(Ending::Gone) };
    let own = grace(pod);
    if pod.is_terminating() {
        let asked = pod.metadata.deletion_grace_period_seconds.map(bounded_seconds);
        return Some(Ending::Deleted { grace: asked.unwrap_or(own).max(FORCED_GRACE) });
    }
    if view.shutdown {
        return Some(Ending::Shutdown { grace: own });
    }
    if pod.is_terminal() {
        return Some(Ending::Finished { grace: own });
    }
    if let Some(seconds) = pod.spec.active_deadline_seconds
        && let Some(start) = pod.status.start_time
        && view.now.wall >= start + Duration::from_secs(seconds)
    {
        let message = format!("the pod was active for longer than its deadline of {seconds} s");
        return Some(Ending::Failed { grace: own, reason: "DeadlineExceeded", message });
    }
    let memory = view.memory;
    let exit = |name: &str| match memory.run(name) {
        Run::Over(end) => Some(end.terminated.exit_code),
        _ => None,
    };
    let is_last = |role: Role, code| !role.restarts(pod.spec.restart_policy, code);
    // One that ended well with an earlier sandbox has not failed: it runs again in the next.
    let failed = |name: &str| exit(name).is_some_and(|code| code != 0 && is_last(Role::Init, code));
    let failed_init = roles(&pod.spec).find(|(c, role)| {
        *role == Role::Init && !memory.initialized && !memory.container(&c.name).succeeded && failed(&c.name)
    });
    if let Some((container, _)) = failed_init {
        let message = format!("init container {} failed and is not restarted", container.name);
        return Some(Ending::Failed { grace: own, reason: "", message });
    }
    let over = |name: &str| exit(name).is_some_and(|code| is_last(Role::Main, code));
    let finished = !memory.containers.is_empty() && pod.spec.containers.iter().all(|c| over(&c.name));
    finished.then_some(Ending::Finished { grace: own })
}

impl Ending {
    pub(crate) fn grace(&self) -> Duration {
        match self {
            Self::Gone => FORCED_GRACE,
            Self::Deleted { grace }
            | Self::Shutdown { grace }
            | Self::Failed { grace, .. }
            | Self::Finished { grace } => *grace,
        }
    }

    /// Whether balancers may still be sending requests. One that is gone from the store is gone from them too,
    /// and what is left of a finished one serves nobody.
    fn drains(&self) -> bool {
        !matches!(self, Self::Gone | Self::Finished { .. })
    }

    /// Whether the stopped sandbox is kept, so that logs can be read, until the pod is deleted.
    fn keeps_sandbox(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Finished { .. })
    }
}

/// Whether nothing of the pod is left on the node.
pub(crate) fn is_clear(memory: &Memory) -> bool {
    matches!(memory.observed, Observed::Absent)
        && !memory.is_stale()
        && memory.leftovers.is_empty()
        && !memory.files
        && memory.busy.keys().all(|key| *key == OpKey::Status)
}

pub(super) fn end(view: &View<'_>, ending: &Ending, plan: &mut Plan) {
    let memory = view.memory;
    let starting = memory.busy.iter().filter(|(_, busy)| busy.brings_up).map(|(key, _)| key.clone());
    plan.cancel.extend(starting);
    if !plan.cancel.is_empty() || memory.is_busy(&OpKey::Sandbox) {
        // Whatever was begun shows in the next reading. A sandbox call is waited for.
        return;
    }
    if memory.is_stale() {
        return plan.observe(view);
    }
    let trouble = memory.sandbox_trouble.as_ref();
    if let Some(id) = memory.leftovers.first() {
        return plan.act_unless(view, trouble, Action::RemoveSandbox { id: id.clone() });
    }
    let Observed::Present(sandbox) = &memory.observed else {
        return leave(view, ending, plan);
    };
    let running: Vec<&ContainerStatus> = memory.running().collect();
    if !running.is_empty() {
        if ending.drains() && !memory.drained {
            let revision = view.pod.map(|p| p.metadata.resource_version).unwrap_or_default();
            plan.act(view, Action::Drain { revision, limit: view.drain_limit });
        } else {
            stop(view, ending, &running, plan);
        }
    } else if !ending.keeps_sandbox() {
        plan.act_unless(view, trouble, Action::RemoveSandbox { id: sandbox.id.clone() });
    } else if sandbox.state == SandboxState::Ready {
        plan.act_unless(view, trouble, Action::StopSandbox { id: sandbox.id.clone() });
    }
}

/// Stops the main and init containers at once; when they are gone, the sidecars, the last one first.
fn stop(view: &View<'_>, ending: &Ending, running: &[&ContainerStatus], plan: &mut Plan) {
    let sidecar = |run: &ContainerStatus| {
        let inits = view.pod.map(|p| p.spec.init_containers.as_slice()).unwrap_or_default();
        inits.iter().position(|c| c.is_sidecar() && c.name == *run.name)
    };
    let mains: Vec<_> = running.iter().filter(|run| sidecar(run).is_none()).collect();
    let last = running.iter().filter(|run| sidecar(run).is_some()).max_by_key(|run| sidecar(run));
    let now = if mains.is_empty() { Vec::from_iter(last) } else { mains };
    let since = view.memory.stopping_since.unwrap_or(view.now.instant);
    let deadline = since + ending.grace();
    for run in now {
        stop_one(view, ending, run, deadline, plan);
    }
}

fn stop_one(view: &View<'_>, ending: &Ending, run: &ContainerStatus, deadline: Instant, plan: &mut Plan) {
    let key = OpKey::Container(run.name.to_string());
    if let Some(busy) = view.memory.busy.get(&key) {
        if busy.deadline.is_none_or(|until| until <= deadline) {
            return;
        }
        // Deleted once more, with less time: the signal has been sent, the kill comes sooner.
        plan.cancel.push(key);
    } else if !plan.may_retry(view, view.memory.container(&run.name).stop_trouble.as_ref()) {
        return;
    }
    plan.actions.push(Action::Stop {
        container: run.name.to_string(),
        id: run.id.clone(),
        deadline,
        floor: stop_floor(ending.grace()),
        hook: !matches!(ending, Ending::Gone),
    });
}

/// No sandbox is left: what else is there goes too.
fn leave(view: &View<'_>, ending: &Ending, plan: &mut Plan) {
    let memory = view.memory;
    if memory.files && !ending.keeps_sandbox() {
        return plan.act_unless(view, memory.sandbox_trouble.as_ref(), Action::RemoveFiles);
    }
    match ending {
        Ending::Gone if is_clear(memory) => plan.actions.push(Action::Forget),
        Ending::Deleted { .. } if !memory.deleted => {
            plan.act_unless(view, memory.delete_trouble.as_ref(), Action::DeletePod);
        }
        _ => {}
    }
}
