//! The conditions of a pod.

use super::unready;
use crate::model::{Condition, ConditionStatus, Pod, PodPhase, PodStatus};
use crate::node::memory::{Role, roles};
use crate::node::plan::{Ending, View};

/// Why a pod is not ready whose agent stops all its pods.
const NODE_SHUTDOWN: &str = "NodeShutdown";

/// Whether what ran of the pod was stopped because its agent stopped all its pods.
pub(crate) fn was_stopped(pod: &Pod) -> bool {
    pod.condition("Ready").is_some_and(|ready| !ready.is_true() && ready.reason == NODE_SHUTDOWN)
}

/// Writes the agent's conditions; those of others stay.
pub(super) fn write(status: &mut PodStatus, view: &View<'_>, pod: &Pod, ending: Option<&Ending>) {
    let at = view.now.wall;
    let mut set = |type_: &str, holds: bool, reason: &str, message: String| {
        let mut condition = Condition::new(type_, holds, at);
        if !holds {
            condition = condition.reason(reason).message(message);
        }
        condition.set_in(&mut status.conditions);
    };
    let conditions = [
        initialized(view, pod),
        ("PodReadyToStartContainers", view.memory.ready_sandbox().is_some(), "", String::new()),
    ];
    for (type_, holds, reason, message) in conditions {
        set(type_, holds, reason, message);
    }
    if Condition::find(&status.conditions, "PodScheduled").is_none() {
        Condition::new("PodScheduled", true, at).set_in(&mut status.conditions);
    }
    let (ready, reason, message) = ready(status.phase, view, pod, ending);
    let containers = Condition::new("ContainersReady", ready, at).reason(reason).message(message.clone());
    containers.set_in(&mut status.conditions);
    let missing: Vec<&str> = pod
        .spec
        .readiness_gates
        .iter()
        .map(|gate| gate.condition_type.as_str())
        .filter(|gate| !Condition::find(&status.conditions, gate).is_some_and(Condition::is_true))
        .collect();
    let pod_ready = if ready && !missing.is_empty() {
        let message = format!("readiness gates that do not hold: {}", missing.join(", "));
        Condition::new("Ready", false, at).reason("ReadinessGatesNotReady").message(message)
    } else {
        Condition::new("Ready", ready, at).reason(reason).message(message)
    };
    pod_ready.set_in(&mut status.conditions);
}

/// A container ended and was started again: the pod was not ready in between, also where nobody wrote that down.
pub(super) fn interrupt(status: &mut PodStatus) {
    for condition in status.conditions.iter_mut().filter(|condition| condition.is_true()) {
        if matches!(condition.type_.as_str(), "Ready" | "ContainersReady") {
            condition.status = ConditionStatus::Unknown;
        }
    }
}

fn initialized(view: &View<'_>, pod: &Pod) -> (&'static str, bool, &'static str, String) {
    let waiting: Vec<String> = roles(&pod.spec)
        .filter(|(c, role)| match role {
            Role::Init => !view.memory.container(&c.name).succeeded,
            Role::Sidecar => !view.memory.has_started(c),
            Role::Main => false,
        })
        .map(|(c, _)| c.name.clone())
        .collect();
    let message = format!("containers with incomplete status: {}", waiting.join(", "));
    // Once latched it holds, whatever a sidecar does later; and a pod that ended was initialized or was not.
    let before = pod.condition("Initialized").is_some_and(Condition::is_true);
    let ended = view.memory.ready_sandbox().is_none() && pod.is_terminal() && before;
    let holds = view.memory.initialized || waiting.is_empty() || ended;
    ("Initialized", holds, "ContainersNotInitialized", message)
}

fn ready(
    phase: PodPhase,
    view: &View<'_>,
    pod: &Pod,
    ending: Option<&Ending>,
) -> (bool, &'static str, String) {
    match (phase, ending) {
        (PodPhase::Succeeded, _) => return (false, "PodCompleted", String::new()),
        (PodPhase::Failed, _) => return (false, "PodFailed", String::new()),
        (_, Some(Ending::Deleted { .. } | Ending::Gone)) => return (false, "PodTerminating", String::new()),
        (_, Some(Ending::Shutdown { .. })) => {
            return (false, NODE_SHUTDOWN, "the node's agent stops its pods".to_owned());
        }
        (_, Some(Ending::Failed { reason, message, .. })) => return (false, *reason, message.clone()),
        (_, Some(Ending::Finished { .. })) => return (false, "PodCompleted", String::new()),
        (_, None) => {}
    }
    let unready = unready(view.memory, pod);
    if unready.is_empty() {
        return (true, "", String::new());
    }
    (false, "ContainersNotReady", format!("containers with unready status: {}", unready.join(", ")))
}
