//! Containers that do one thing on the engine's host, which its API can't, and go.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use orchestra_core::runtime::RuntimeError;

use crate::core::Core;
use crate::{error, labels};

/// Runs the sandboxes' program with these words, and what `host` adds to the rights of a container that has none; says
/// its exit code.
pub(crate) async fn run(
    core: &Core,
    subject: &str,
    words: Vec<String>,
    host: HostConfig,
) -> Result<i64, RuntimeError> {
    let host = HostConfig {
        network_mode: Some(host.network_mode.unwrap_or_else(|| "none".to_owned())),
        cap_drop: Some(vec!["ALL".to_owned()]),
        readonly_rootfs: Some(true),
        ..host
    };
    let body = ContainerCreateBody {
        image: Some(core.pause_image.clone()),
        entrypoint: Some(vec!["/pause".to_owned()]),
        cmd: Some(words),
        labels: Some(labels::of_helper(&core.cluster)),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    let failed = |error| error::effect(subject, "run a helper for it", error);
    let id = core.docker.create_container(None::<CreateContainerOptions>, body).await.map_err(failed)?.id;
    let _waited_for = WaitedFor::new(core, &id);
    let ran = async {
        core.docker.start_container(&id, None::<StartContainerOptions>).await.map_err(failed)?;
        let mut ends = std::pin::pin!(core.docker.wait_container(&id, None::<WaitContainerOptions>));
        match ends.next().await {
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(failed(error)),
            Some(Ok(end)) => Ok(end.status_code),
            None => {
                Err(error::refused(subject, "run a helper for it", "the engine does not say how it ended"))
            }
        }
    };
    let ran = ran.await;
    core.remove(&id, subject, true).await?;
    ran
}

/// A helper that somebody waits for. When they don't any more, also because their call was given up, the next list removes it.
#[derive(Debug)]
struct WaitedFor<'a> {
    core: &'a Core,
    id: &'a str,
}

impl<'a> WaitedFor<'a> {
    fn new(core: &'a Core, id: &'a str) -> Self {
        core.helpers.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Self { core, id }
    }
}

impl Drop for WaitedFor<'_> {
    fn drop(&mut self) {
        self.core.helpers.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

/// The rights of a helper that sees the host's processes, and may kill them. The engine's profile for AppArmor lets a container send
/// signals to others of that profile only, and its labels for SELinux to none: both are left out, where there are such.
pub(crate) fn may_kill() -> HostConfig {
    let options = ["apparmor=unconfined", "label=disable"];
    HostConfig {
        security_opt: Some(options.map(str::to_owned).into()),
        pid_mode: Some("host".to_owned()),
        cap_add: Some(vec!["KILL".to_owned()]),
        ..HostConfig::default()
    }
}

/// Removes the helpers that an earlier process left.
pub(crate) async fn remove_left(core: &Core) -> Result<(), RuntimeError> {
    for helper in core.summaries(&[(labels::ROLE, labels::ROLE_HELPER)], true).await? {
        if let Some(id) = helper.id {
            core.remove(&id, "a helper", true).await?;
        }
    }
    Ok(())
}

/// Removes those of these helpers that nobody waits for: their engine was away, and the call that made them is over.
pub(crate) async fn remove_lost(core: &Core, helpers: &BTreeSet<String>) {
    let is_used = |id: &str| core.helpers.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
    for helper in helpers.iter().filter(|id| !is_used(id)) {
        if let Err(error) = core.remove(helper, "a helper", true).await {
            tracing::warn!(helper, %error, "a helper is left until the next list");
        }
    }
}
