//! The statuses of a pod's containers.

use super::{NodeFacts, is_init};
use crate::model::{
    Container, ContainerRunning, ContainerState, ContainerStatus, ContainerTerminated, ContainerWaiting,
    LastState, Pod, PodStatus,
};
use crate::node::memory::{Memory, Role, Run, roles};
use crate::node::plan::{Ending, View};
use crate::runtime;

/// Writes the statuses of all containers, in the spec's order.
pub(super) fn write(
    status: &mut PodStatus,
    view: &View<'_>,
    pod: &Pod,
    ending: Option<&Ending>,
    facts: NodeFacts<'_>,
) {
    let (mut inits, mut mains) = (Vec::new(), Vec::new());
    for (container, role) in roles(&pod.spec) {
        let stored = if is_init(role) { &status.init_container_statuses } else { &status.container_statuses };
        let stored = stored.iter().find(|s| s.name == container.name);
        let new = one(view, pod, container, role, ending, facts, stored);
        if is_init(role) { inits.push(new) } else { mains.push(new) }
    }
    status.init_container_statuses = inits;
    status.container_statuses = mains;
}

fn one(
    view: &View<'_>,
    pod: &Pod,
    container: &Container,
    role: Role,
    ending: Option<&Ending>,
    facts: NodeFacts<'_>,
    stored: Option<&ContainerStatus>,
) -> ContainerStatus {
    let memory = view.memory.container(&container.name);
    let run = view.memory.latest(&container.name);
    let id = |id: &str| if id.is_empty() { String::new() } else { format!("{}://{id}", facts.runtime) };
    let terminated = |end: &ContainerTerminated| ContainerTerminated {
        // Recalled from the store it has its prefix already.
        container_id: if end.container_id.contains("://") {
            end.container_id.clone()
        } else {
            id(&end.container_id)
        },
        ..end.clone()
    };
    let (state, last) = state(view, pod, container, role, ending);
    let state = match state {
        ContainerState::Terminated(end) => ContainerState::Terminated(terminated(&end)),
        state => state,
    };
    let is_running = matches!(state, ContainerState::Running(_));
    let serves = ending.is_none() || role == Role::Init;
    let kept = |known: Option<String>, of: fn(&ContainerStatus) -> &String| {
        known.unwrap_or_else(|| stored.map(of).cloned().unwrap_or_default())
    };
    ContainerStatus {
        name: container.name.clone(),
        state,
        last_state: LastState { terminated: last.map(|l| terminated(&l)), ..LastState::default() },
        ready: match role {
            Role::Init => memory.succeeded,
            Role::Sidecar | Role::Main => serves && view.memory.is_ready(container),
        },
        started: (is_running || memory.attempt.is_some())
            .then(|| is_running && view.memory.has_started(container)),
        restart_count: memory.attempt.unwrap_or(0).max(stored.map_or(0, |s| s.restart_count)),
        image: container.image.clone(),
        image_id: kept(run.map(|r| r.image_id.clone()), |s| &s.image_id),
        container_id: kept(run.map(|r| id(&r.id.0)), |s| &s.container_id),
        extra: stored.map(|s| s.extra.clone()).unwrap_or_default(),
    }
}

/// What the container is doing, and how it ended the last time.
fn state(
    view: &View<'_>,
    pod: &Pod,
    container: &Container,
    role: Role,
    ending: Option<&Ending>,
) -> (ContainerState, Option<ContainerTerminated>) {
    let memory = view.memory.container(&container.name);
    let run = view.memory.run(&container.name);
    if let Run::Running(run) = run {
        let started_at = match run.state {
            runtime::ContainerState::Running { started_at } => Some(started_at),
            _ => None,
        };
        let running = ContainerRunning { started_at, ..ContainerRunning::default() };
        return (ContainerState::Running(running), memory.previous.clone());
    }
    let ended = match run {
        Run::Over(ended) => Some(ended),
        _ => None,
    };
    let last = ended.map(|e| e.terminated.clone()).or_else(|| memory.previous.clone());
    if let Some(trouble) = memory.trouble.as_ref().filter(|_| ending.is_none()) {
        return (waiting(trouble.reason, &trouble.message), last);
    }
    let Some(ended) = ended else {
        let reason = if !is_init(role) && !view.memory.initialized && !pod.spec.init_containers.is_empty() {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        return (waiting(reason, &sandbox_trouble(view.memory)), last);
    };
    let again = ending.is_none() && role.restarts(pod.spec.restart_policy, ended.terminated.exit_code);
    match memory.restart {
        Some((at, delay)) if again && at > view.now.instant => {
            let seconds = delay.as_secs();
            let message = format!("back-off {seconds} s restarting container {}", container.name);
            (waiting("CrashLoopBackOff", &message), last)
        }
        _ => (ContainerState::Terminated(ended.terminated.clone()), memory.previous.clone()),
    }
}

fn sandbox_trouble(memory: &Memory) -> String {
    memory.sandbox_trouble.as_ref().map(|t| t.message.clone()).unwrap_or_default()
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState::Waiting(ContainerWaiting {
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..ContainerWaiting::default()
    })
}
