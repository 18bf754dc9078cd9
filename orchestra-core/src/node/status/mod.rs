//! What the store is told of a pod. Pure.

mod conditions;
mod containers;

use std::net::IpAddr;

pub(crate) use conditions::was_stopped;

use super::memory::{Memory, Role, Run, roles};
use super::plan::{Ending, View};
use crate::model::{ContainerState, Pod, PodPhase, PodStatus};

/// What a status needs to know of the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeFacts<'a> {
    pub(crate) host_ip: Option<IpAddr>,
    /// The runtime's name, as container ids begin with it.
    pub(crate) runtime: &'a str,
}

/// The status of `pod` as it is now, made from the one it has: what others wrote there stays.
pub(crate) fn status(view: &View<'_>, pod: &Pod, ending: Option<&Ending>, facts: NodeFacts<'_>) -> PodStatus {
    let mut status = pod.status.clone();
    status.observed_generation = pod.metadata.generation;
    status.start_time.get_or_insert(view.now.wall);
    status.host_ip = facts.host_ip.or(status.host_ip);
    status.pod_ip = view.memory.ready_sandbox().and_then(|s| s.ip);
    status.pod_ips = status.pod_ip.map(Into::into).into_iter().collect();
    status.qos_class.get_or_insert_with(|| pod.spec.qos_class());
    containers::write(&mut status, view, pod, ending, facts);
    if restarts(&status) != restarts(&pod.status) {
        conditions::interrupt(&mut status);
    }
    if !pod.is_terminal() {
        status.phase = phase(view.memory, pod, ending).max_by_age(pod.status.phase);
        match (status.phase, ending) {
            (PodPhase::Failed, Some(Ending::Failed { reason, message, .. })) => {
                (status.reason, status.message) = ((*reason).to_owned(), message.clone());
            }
            (PodPhase::Failed, Some(Ending::Shutdown { .. })) if view.memory.cut_short => {
                let message = "the node's agent stopped it before it had ended";
                (status.reason, status.message) = ("Terminated".to_owned(), message.to_owned());
            }
            _ => {}
        }
    }
    conditions::write(&mut status, view, pod, ending);
    status
}

fn restarts(status: &PodStatus) -> u32 {
    let all = status.init_container_statuses.iter().chain(&status.container_statuses);
    all.fold(0, |sum, container| sum.saturating_add(container.restart_count))
}

trait Age {
    fn max_by_age(self, other: Self) -> Self;
}

impl Age for PodPhase {
    /// The one that is further on: a phase never goes back.
    fn max_by_age(self, other: Self) -> Self {
        let age = |phase| match phase {
            Self::Unknown => 0,
            Self::Pending => 1,
            Self::Running => 2,
            Self::Succeeded | Self::Failed => 3,
        };
        if age(self) >= age(other) { self } else { other }
    }
}

/// The phase, as Kubernetes' node agent has it. It is terminal only when no process is left.
fn phase(memory: &Memory, pod: &Pod, ending: Option<&Ending>) -> PodPhase {
    let policy = pod.spec.restart_policy;
    let runs = memory.running().next().is_some();
    if let Some(Ending::Failed { .. }) = ending {
        return if runs { PodPhase::Pending } else { PodPhase::Failed };
    }
    let (mut waiting, mut going_on, mut failed) = (false, false, false);
    for container in &pod.spec.containers {
        match memory.run(&container.name) {
            Run::Never | Run::Created(_) => waiting = true,
            Run::Running(_) => going_on = true,
            Run::Over(ended) => {
                let code = ended.terminated.exit_code;
                going_on |= Role::Main.restarts(policy, code);
                failed |= code != 0;
            }
        }
    }
    // Kubernetes' rule for the shutdown of a node: who is told to end and does so well has not done all it was to do.
    failed |= memory.cut_short && matches!(ending, Some(Ending::Shutdown { .. }));
    if waiting {
        PodPhase::Pending
    } else if going_on || runs {
        PodPhase::Running
    } else if failed {
        PodPhase::Failed
    } else {
        PodPhase::Succeeded
    }
}

/// Whether a change of status is one that others act on, and so is written at once. The rest waits a little: a pod
/// that starts quickly is written once, when it runs, and not at each step.
pub(crate) fn is_important(old: &PodStatus, new: &PodStatus) -> bool {
    const STEPS: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];
    let holds = |status: &PodStatus, type_: &str| {
        crate::model::Condition::find(&status.conditions, type_).is_some_and(crate::model::Condition::is_true)
    };
    let told = |status: &PodStatus| {
        let all = status.init_container_statuses.iter().chain(&status.container_statuses);
        let facts = all.map(|c| {
            let reason = match &c.state {
                ContainerState::Waiting(w) => w.reason.clone(),
                ContainerState::Running(_) => String::new(),
                ContainerState::Terminated(t) => format!("{} {}", t.reason, t.exit_code),
            };
            let reason = if STEPS.contains(&reason.as_str()) { String::new() } else { reason };
            (c.restart_count, c.ready, reason)
        });
        facts.filter(|facts| *facts != (0, false, String::new())).collect::<Vec<_>>()
    };
    old.phase != new.phase
        || ["Ready", "ContainersReady"].iter().any(|type_| holds(old, type_) != holds(new, type_))
        || told(old) != told(new)
}

/// The container's place in its pod's status.
pub(crate) fn is_init(role: Role) -> bool {
    matches!(role, Role::Init | Role::Sidecar)
}

/// The containers of a pod that are not ready, by name.
pub(crate) fn unready(memory: &Memory, pod: &Pod) -> Vec<String> {
    let counts = |role| role != Role::Init;
    let unready = roles(&pod.spec).filter(|(c, role)| counts(*role) && !memory.is_ready(c));
    unready.map(|(c, _)| c.name.clone()).collect()
}
