//! Sandboxes: run, stop, remove, and list them with their containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{KillContainerOptionsBuilder, StartContainerOptions};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use orchestra_core::runtime::{ContainerLimits, RuntimeError, SandboxId, SandboxSpec, SandboxStatus};

use crate::core::{Core, Created, Found, IN_FLIGHT};
use crate::labels::{self, PodRef, ROLE_CONTAINER, ROLE_SANDBOX};
use crate::{container, error, helper, message, pod_limits, podman, spec, status, volumes};

pub(crate) async fn run(core: &Core, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
    let name = labels::sandbox_name(&core.cluster, spec);
    if spec.limits != ContainerLimits::default() {
        pod_limits::check(core, &name).await?;
    }
    let mut body =
        spec::sandbox(spec, &core.pause_image, &core.network, labels::of_sandbox(&core.cluster, &name, spec));
    let held = volumes::held(&core.cluster, spec);
    if core.is_podman {
        podman::make_volumes(core, &held).await?;
    }
    if let Some(host) = &mut body.host_config {
        host.mounts = Some(held);
        host.cgroup_parent = pod_limits::parent_of_sandbox(core, spec);
    }
    let remove_volumes = || {
        let volumes = &spec.memory_volumes;
        let names = volumes.iter().map(|volume| volumes::name(&core.cluster, spec, volume));
        volumes::remove(core, names.collect())
    };
    let created = core.create_or_find(&name, ROLE_SANDBOX, body).await;
    if core.is_podman && created.as_ref().is_err_and(|error| !error.outcome_unknown()) {
        remove_volumes().await?;
    }
    let (docker_id, is_new) = match created? {
        Created::New(docker_id) => {
            core.members.begin(&name, &docker_id);
            (Some(docker_id), true)
        }
        Created::Found(found) => {
            let created = found.phase() == ContainerStateStatusEnum::CREATED;
            (created.then_some(found.docker_id), false)
        }
    };
    if let Some(docker_id) = &docker_id {
        let started = core.docker.start_container(docker_id, None::<StartContainerOptions>).await;
        if let Err(error) = started {
            let why = error::message(&error).to_owned();
            let failed = error::effect(&name, "start its sandbox", error);
            if failed.outcome_unknown() {
                return Err(failed);
            }
            // What failed leaves nothing.
            if !is_new {
                core.end_forgotten(docker_id, &name).await?;
            }
            core.remove(docker_id, &name, true).await?;
            core.members.end(&name);
            remove_volumes().await?;
            let taken = ["port is already allocated", "address already in use"];
            if taken.iter().any(|word| why.contains(word)) {
                return Err(RuntimeError::InUse { subject: name, what: format!("a host port ({why})") });
            }
            return Err(failed);
        }
    }
    let missing = || error::not_found("sandbox", &name);
    match docker_id.filter(|_| is_new) {
        // Nothing can be in it yet.
        Some(docker_id) => {
            let found = core.by_docker_id(&docker_id).await?.ok_or_else(missing)?;
            group(core, &[found]).pop().ok_or_else(missing)
        }
        None => get(core, &name).await?.ok_or_else(missing),
    }
}

pub(crate) async fn get(core: &Core, id: &str) -> Result<Option<SandboxStatus>, RuntimeError> {
    let found = core.of_sandbox(id).await?;
    Ok(group(core, &found).pop())
}

/// Sandboxes that are looked at at once: most have two containers.
const SANDBOXES_IN_FLIGHT: usize = IN_FLIGHT / 2;

pub(crate) async fn list(core: &Core) -> Result<Vec<SandboxStatus>, RuntimeError> {
    let (mut sandboxes, mut helpers) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeSet::new());
    core.each(|summary| {
        let (Some(id), Some(mut labels)) = (summary.id, summary.labels) else { return };
        if let Some(sandbox) = labels.remove(labels::SANDBOX) {
            sandboxes.entry(sandbox).or_default().insert(id);
        } else if labels::has_role(&labels, labels::ROLE_HELPER) {
            helpers.insert(id);
        }
    })
    .await?;
    core.addresses.lock().unwrap_or_else(PoisonError::into_inner).clear();
    // A few at a time: what the engine says of a container is some 10 KB, of which little is kept.
    let looks = sandboxes.into_values().map(|ids| async {
        Ok::<_, RuntimeError>(group(core, &core.described(ids, |_gone| {}).await?).pop())
    });
    let looks = stream::iter(looks).buffered(SANDBOXES_IN_FLIGHT);
    let listed = looks.try_filter_map(|status| std::future::ready(Ok(status))).try_collect().await?;
    helper::remove_lost(core, &helpers).await;
    Ok(listed)
}

/// Puts containers to their sandboxes, ordered by id. Also those whose sandbox somebody removed have one.
fn group(core: &Core, found: &[Found]) -> Vec<SandboxStatus> {
    type Group<'a> = (PodRef, Option<&'a Found>, Vec<&'a Found>);
    let mut groups: BTreeMap<Arc<str>, Group<'_>> = BTreeMap::new();
    for found in found.iter().filter(|found| !found.is_leaving()) {
        let Some(pod) = labels::pod(&found.labels) else { continue };
        let group = groups.entry(Arc::clone(&pod.sandbox)).or_insert_with(|| (pod, None, Vec::new()));
        if found.has_role(ROLE_SANDBOX) {
            group.1 = Some(found);
        } else if found.has_role(ROLE_CONTAINER) {
            group.2.push(found);
        }
    }
    groups
        .values()
        .map(|(pod, sandbox, containers)| status::sandbox(core, pod, *sandbox, containers))
        .collect()
}

/// A sandbox that exists, with its container.
pub(crate) async fn existing(core: &Core, id: &str) -> Result<Found, RuntimeError> {
    core.find(id, ROLE_SANDBOX).await?.ok_or_else(|| error::not_found("sandbox", id))
}

pub(crate) async fn address(core: &Core, id: &SandboxId, port: u16) -> Result<SocketAddr, RuntimeError> {
    let known = core.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&id.0).copied();
    if let Some(ip) = known {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = existing(core, &id.0).await?;
    let ip = status::ip(core, &found).ok_or_else(|| error::not_found("the address of sandbox", &id.0))?;
    Ok(SocketAddr::new(ip, port))
}

/// Kills a container, and returns when it is dead.
pub(crate) async fn kill(core: &Core, docker_id: &str, subject: &str) -> Result<(), RuntimeError> {
    let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
    let killed = core.docker.kill_container(docker_id, Some(options));
    let killed = if core.is_podman {
        // It would answer only when the programs of execs have ended, too.
        tokio::select! {
            biased;
            killed = killed => killed,
            () = container::ended(core, docker_id, Duration::ZERO) => Ok(()),
        }
    } else {
        killed.await
    };
    match killed {
        Ok(()) => Ok(()),
        Err(error) if error::is_over(&error) => Ok(()),
        Err(error) => Err(error::effect(subject, "kill it", error)),
    }
}

/// Kills what runs. The sandbox goes first: with the first process of the pod all others die, and nothing new joins.
pub(crate) async fn stop(core: &Core, id: &str) -> Result<(), RuntimeError> {
    core.note_address(&id.into(), None);
    // On Podman a start that looked at the sandbox before it was killed would start it again.
    let lock = core.locks.of(id);
    let _lock = if core.is_podman { Some(lock.write().await) } else { None };
    let (mut found, mut sandbox) = (core.of_sandbox(id).await?, None);
    if let Some(index) = found.iter().position(|found| found.has_role(ROLE_SANDBOX)) {
        sandbox = Some(found.swap_remove(index));
    }
    if let Some(sandbox) = &sandbox {
        if sandbox.phase() == ContainerStateStatusEnum::CREATED {
            // It was never started, and shall not be.
            core.end_forgotten(&sandbox.docker_id, id).await?;
            core.remove(&sandbox.docker_id, id, true).await?;
            volumes::remove(core, volumes::of_sandbox(core, &sandbox.details)).await?;
        } else {
            kill(core, &sandbox.docker_id, id).await?;
        }
    }
    let running = found.iter().filter(|found| found.is_running());
    try_join_all(running.map(|found| kill(core, &found.docker_id, id))).await?;
    Ok(())
}

/// Removes a container of the pod, whatever it does.
async fn remove_one(core: &Core, found: &Found, id: &str) -> Result<(), RuntimeError> {
    let name = found.details.name.as_deref().unwrap_or_default().trim_start_matches('/');
    core.end_if_forgotten(found, name, id).await?;
    core.remove(&found.docker_id, id, true).await
}

pub(crate) async fn remove(core: &Core, id: &str) -> Result<(), RuntimeError> {
    core.note_address(&id.into(), None);
    // Nothing is created in it meanwhile.
    let _lock = core.locks.of(id).write_owned().await;
    let of_pod = core.of_sandbox(id).await?;
    let volumes = volumes::ours(core, of_pod.iter().flat_map(|found| found.details.mounts.iter().flatten()));
    // Side by side: without its sandbox, a container is still found by its labels.
    try_join_all(of_pod.iter().map(|found| remove_one(core, found, id))).await?;
    core.members.end(id);
    volumes::remove(core, volumes).await?;
    if let Some(dir) = &core.state_dir {
        message::remove_all(dir, |container| message::is_of(container, id));
    }
    Ok(())
}
