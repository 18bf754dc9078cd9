//! From what the engine says to what the contract says. Pure, but for the termination message.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use orchestra_core::model::Timestamp;
use orchestra_core::runtime::{
    ContainerId, ContainerState, ContainerStatus, SandboxId, SandboxState, SandboxStatus,
};

use crate::core::{Core, Found};
use crate::labels::{self, PodRef};
use crate::message;

/// A time of the engine; it writes the year 1 for "never".
pub(crate) fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok()).filter(|time| *time > Timestamp::EPOCH)
}

/// The name of a container without the slash that the engine puts before it.
fn name(details: &ContainerInspectResponse) -> Arc<str> {
    details.name.as_deref().unwrap_or_default().trim_start_matches('/').into()
}

/// The address of a running sandbox.
pub(crate) fn ip(core: &Core, sandbox: &Found) -> Option<IpAddr> {
    if !sandbox.is_running() {
        return None;
    }
    let mode = sandbox.details.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    if mode == Some("host") {
        return Some(core.host_address);
    }
    let networks = sandbox.details.network_settings.as_ref()?.networks.as_ref()?;
    // Podman calls the network that it has for `bridge` by another name.
    let named = networks.get(mode?).into_iter().chain(networks.values().filter(|_| networks.len() == 1));
    named.filter_map(|network| network.ip_address.as_ref()?.parse().ok()).next()
}

fn state(found: &Found, messages: Option<&Path>, id: &str) -> ContainerState {
    let Some(state) = &found.details.state else { return ContainerState::Unknown };
    let started_at = time(state.started_at.as_ref());
    match found.phase() {
        ContainerStateStatusEnum::CREATED => ContainerState::Created,
        ContainerStateStatusEnum::RUNNING
        | ContainerStateStatusEnum::PAUSED
        | ContainerStateStatusEnum::RESTARTING
        | ContainerStateStatusEnum::STOPPING => match started_at {
            Some(started_at) => ContainerState::Running { started_at },
            None => ContainerState::Unknown,
        },
        _ => ContainerState::Exited {
            exit_code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
            // The engine does not tell a signal from an exit code above 128.
            signal: None,
            oom_killed: state.oom_killed == Some(true),
            started_at,
            // The engine notes a start after it has happened: a program may have ended before it.
            finished_at: time(state.finished_at.as_ref()).max(started_at).unwrap_or(Timestamp::EPOCH),
            message: messages.map(|dir| message::read(dir, id)).unwrap_or_default(),
        },
    }
}

fn container(core: &Core, found: &Found) -> Option<ContainerStatus> {
    let (run, attempt, image) = labels::run(&found.labels)?;
    let id = name(&found.details);
    let state = state(found, core.state_dir.as_deref(), &id);
    let mut status = ContainerStatus::new(ContainerId(id), run, attempt, image.into());
    status.image_id = found.details.image.clone().unwrap_or_default();
    status.created_at = time(found.details.created.as_ref()).unwrap_or(Timestamp::EPOCH);
    status.state = state;
    Some(status)
}

/// A sandbox of a pod; without its container, which somebody removed, where `sandbox` is `None`.
pub(crate) fn sandbox(
    core: &Core,
    pod: &PodRef,
    sandbox: Option<&Found>,
    containers: &[&Found],
) -> SandboxStatus {
    let id = SandboxId(Arc::clone(&pod.sandbox));
    let (namespace, name) = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
    let mut status = SandboxStatus::new(id, namespace, name, pod.uid.clone(), pod.attempt);
    status.state = match sandbox {
        Some(found) if found.is_running() => SandboxState::Ready,
        _ => SandboxState::NotReady,
    };
    status.ip = sandbox.and_then(|found| ip(core, found));
    core.note_address(&status.id.0, status.ip);
    let oldest = sandbox.into_iter().chain(containers.iter().copied());
    let oldest = oldest.filter_map(|found| time(found.details.created.as_ref())).min();
    status.created_at = oldest.unwrap_or(Timestamp::EPOCH);
    status.containers = containers.iter().filter_map(|found| container(core, found)).collect();
    status.containers.sort_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
    // Collected, they have room for four, and they are kept.
    status.containers.shrink_to_fit();
    status
}
