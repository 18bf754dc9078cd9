//! Planning for a pod that shall run.

use super::{Plan, View};
use crate::model::{Container, Pod};
use crate::node::action::{Action, OpKey};
use crate::node::memory::{Observed, Role, Run, roles};
use crate::node::probe::ProbeKind;
use crate::runtime::{SandboxState, SandboxStatus};

use super::ending::{grace, stop_floor};

/// How many ended runs of a container are kept beside the last one: the one that `logs --previous` shows.
const KEPT_RUNS: u32 = 1;

pub(super) fn run(view: &View<'_>, pod: &Pod, plan: &mut Plan) {
    wake_at_deadline(view, pod, plan);
    probe(view, pod, plan);
    if view.memory.is_stale() {
        // A sandbox that is being run is read when it runs. Before, its id is not known, and all would have to be listed.
        if view.memory.sandbox().is_none() && view.memory.is_busy(&OpKey::Sandbox) {
            return;
        }
        return plan.observe(view);
    }
    let trouble = view.memory.sandbox_trouble.as_ref();
    if let Some(id) = view.memory.leftovers.first() {
        plan.act_unless(view, trouble, Action::RemoveSandbox { id: id.clone() });
    }
    match &view.memory.observed {
        Observed::Unknown => {}
        Observed::Absent => {
            plan.act_unless(view, trouble, Action::RunSandbox { attempt: view.memory.next_sandbox });
        }
        Observed::Present(sandbox) if sandbox.state == SandboxState::NotReady => {
            plan.act_unless(view, trouble, Action::RemoveSandbox { id: sandbox.id.clone() });
        }
        Observed::Present(sandbox) => {
            containers(view, pod, plan);
            prune(view, sandbox, plan);
            if view.memory.volumes_stale {
                plan.act_unless(view, view.memory.volumes_trouble.as_ref(), Action::RefreshVolumes);
            }
        }
    }
}

/// Init containers one after the other, then all containers; sidecars in their place among the first, and kept up
/// from then on.
fn containers(view: &View<'_>, pod: &Pod, plan: &mut Plan) {
    let memory = view.memory;
    for container in &pod.spec.init_containers {
        if container.is_sidecar() {
            keep(view, pod, container, Role::Sidecar, plan);
            if !memory.initialized && !memory.has_started(container) {
                return;
            }
        } else if !memory.initialized && !memory.container(&container.name).succeeded {
            return keep(view, pod, container, Role::Init, plan);
        }
    }
    if memory.initialized {
        for container in &pod.spec.containers {
            keep(view, pod, container, Role::Main, plan);
        }
    }
}

/// Starts a container that does not run and should; stops one that is to be restarted.
fn keep(view: &View<'_>, pod: &Pod, container: &Container, role: Role, plan: &mut Plan) {
    let memory = view.memory.container(&container.name);
    if view.memory.is_busy(&OpKey::Container(container.name.clone())) {
        return;
    }
    match view.memory.run(&container.name) {
        Run::Running(run) => {
            if let Some(kill) = &memory.kill {
                let grace = kill.grace.unwrap_or_else(|| grace(pod));
                let (container, id) = (container.name.clone(), run.id.clone());
                let (deadline, floor) = (view.now.instant + grace, stop_floor(grace));
                let stop = Action::Stop { container, id, deadline, floor, hook: true };
                plan.act_unless(view, memory.stop_trouble.as_ref(), stop);
            }
        }
        Run::Created(run) => start(view, container, run.attempt, plan),
        Run::Never => start(view, container, memory.next, plan),
        Run::Over(ended) => {
            if role.restarts(pod.spec.restart_policy, ended.terminated.exit_code) {
                start(view, container, memory.next, plan);
            }
        }
    }
}

fn start(view: &View<'_>, container: &Container, attempt: u32, plan: &mut Plan) {
    let memory = view.memory.container(&container.name);
    if let Some((at, _)) = memory.restart.filter(|(at, _)| *at > view.now.instant) {
        plan.wake_at(at);
    } else {
        let container = container.name.clone();
        plan.act_unless(view, memory.trouble.as_ref(), Action::Start { container, attempt });
    }
}

/// Removes the runs that nobody will look at again, one at a time.
fn prune(view: &View<'_>, sandbox: &SandboxStatus, plan: &mut Plan) {
    let old = sandbox.containers.iter().find(|run| {
        let latest = view.memory.latest(&run.name).map_or(run.attempt, |latest| latest.attempt);
        run.attempt + KEPT_RUNS < latest && !run.state.is_running()
    });
    if let Some(run) = old {
        let remove = Action::RemoveContainer { id: run.id.clone() };
        plan.act_unless(view, view.memory.prune_trouble.as_ref(), remove);
    }
}

fn wake_at_deadline(view: &View<'_>, pod: &Pod, plan: &mut Plan) {
    if let (Some(seconds), Some(start)) = (pod.spec.active_deadline_seconds, pod.status.start_time) {
        let deadline = start + std::time::Duration::from_secs(seconds);
        plan.wake_at(view.now.instant + view.now.until(deadline));
    }
}

/// Asks what is due: the startup probe alone until it succeeds, then the two others.
fn probe(view: &View<'_>, pod: &Pod, plan: &mut Plan) {
    for (container, _) in roles(&pod.spec) {
        let memory = view.memory.container(&container.name);
        let Some((attempt, _)) = memory.running else { continue };
        if memory.kill.is_some() || view.memory.is_starting(&container.name) {
            continue;
        }
        let started = view.memory.has_started(container);
        for (&kind, state) in &memory.probes {
            let wanted = if kind == ProbeKind::Startup { !started } else { started };
            if !wanted || view.memory.is_busy(&OpKey::Probe(container.name.clone(), kind)) {
                continue;
            }
            if state.due() > view.now.instant {
                plan.wake_at(state.due());
            } else {
                plan.act(view, Action::Probe { container: container.name.clone(), attempt, kind });
            }
        }
    }
}
