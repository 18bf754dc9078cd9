//! Copying files out of containers and into them.

use std::time::Duration;

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt, stream};
use orchestra_core::runtime::{ContainerId, RuntimeError, TarStream};

use crate::core::Core;
use crate::{container, error};

/// How long copying into a container may take: the engine answers at its end.
const WRITE_LIMIT: Duration = Duration::from_secs(3600);

pub(crate) async fn read(core: &Core, id: &ContainerId, path: &str) -> Result<TarStream, RuntimeError> {
    let found = container::existing(core, &id.0).await?;
    let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
    let mut archive = core.docker.download_from_container(&found.docker_id, Some(options)).boxed();
    // The first piece comes with the answer, which says whether the path is there.
    let first = match archive.next().await {
        Some(Ok(first)) => Some(Ok(first)),
        Some(Err(error)) if error::status(&error) == Some(404) => {
            return Err(error::not_found(&format!("{path} in container"), &id.0));
        }
        Some(Err(error)) => return Err(error::read(&id.0, "copy files out of it", error)),
        None => None,
    };
    let rest = archive.map_err(std::io::Error::other);
    Ok(TarStream::new(stream::iter(first).chain(rest)))
}

pub(crate) async fn write(
    core: &Core,
    id: &ContainerId,
    directory: &str,
    archive: TarStream,
) -> Result<(), RuntimeError> {
    let found = container::existing(core, &id.0).await?;
    // What is a directory there stays one.
    let options = UploadToContainerOptionsBuilder::default().path(directory).no_overwrite_dir_non_dir("true");
    let body = bollard::body_try_stream(archive);
    match core
        .docker
        .clone()
        .with_timeout(WRITE_LIMIT)
        .upload_to_container(&found.docker_id, Some(options.build()), body)
        .await
    {
        Ok(()) => Ok(()),
        Err(error) if error::status(&error) == Some(404) => {
            Err(error::not_found(&format!("{directory} in container"), &id.0))
        }
        Err(error) => Err(error::effect(&id.0, "copy files into it", error)),
    }
}
