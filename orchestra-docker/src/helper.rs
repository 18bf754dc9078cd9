//! Containers that do one thing on the engine's host, which its API can't, and go.

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

/// Removes the helpers that an earlier process left.
pub(crate) async fn remove_left(core: &Core) -> Result<(), RuntimeError> {
    for helper in core.summaries(&[(labels::ROLE, labels::ROLE_HELPER)], true).await? {
        if let Some(id) = helper.id {
            core.remove(&id, "a helper", true).await?;
        }
    }
    Ok(())
}
