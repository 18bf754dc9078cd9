//! Connecting to a container's own program.

use std::sync::Arc;

use bollard::errors::Error;
use bollard::query_parameters::{AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder};
use futures_util::StreamExt;
use orchestra_core::runtime::{AttachSession, ContainerId, LogStream, RuntimeError};
use tokio::sync::mpsc;

use crate::core::Core;
use crate::exec::{Input, QUEUE, chunk, feed};
use crate::logs::Messages;
use crate::{container, error};

pub(crate) async fn start(
    core: &Arc<Core>,
    id: &ContainerId,
    stdin: bool,
) -> Result<AttachSession, RuntimeError> {
    let found = container::existing(core, &id.0).await?;
    if !found.is_running() {
        return Err(error::refused(&id.0, "attach to it", "the container does not run"));
    }
    let config = found.details.config.as_ref();
    let reads = config.and_then(|config| config.open_stdin) == Some(true);
    if stdin && !reads {
        let why = "its program reads no standard input: set `stdin` in the container's spec".to_owned();
        return Err(RuntimeError::Unsupported { subject: id.to_string(), why });
    }
    let has_terminal = found.has_terminal();
    let attached = attach(core, &found.docker_id, stdin, has_terminal).await;
    let (output, input) = attached.map_err(|error| error::effect(&id.0, "attach to it", error))?;
    let tasks = core.tasks.tracker();
    let stdin = stdin.then(|| {
        let (to_program, from_user) = mpsc::channel(QUEUE);
        tasks.spawn(feed(input, from_user));
        to_program
    });
    let resize = has_terminal.then(|| {
        let (to_terminal, sizes) = mpsc::channel(QUEUE);
        tasks.spawn(resize(Arc::clone(core), found.docker_id.clone(), sizes));
        to_terminal
    });
    let subject = id.to_string();
    let output = output.map(move |piece| chunk(piece, &subject));
    Ok(AttachSession { output: LogStream::new(output), stdin, resize })
}

/// Connects to its output and, where `stdin` says so, its input.
async fn attach(core: &Core, docker_id: &str, stdin: bool, tty: bool) -> Result<(Messages, Input), Error> {
    if let Some(local) = core.local.as_ref().filter(|_| tty) {
        let what =
            format!("POST /containers/{docker_id}/attach?stream=true&stdin={stdin}&stdout=true&stderr=true");
        let (output, input) = local.terminal(&what, "").await?;
        return Ok((output, Box::pin(input)));
    }
    let options =
        AttachContainerOptionsBuilder::default().stream(true).stdin(stdin).stdout(true).stderr(true);
    let attached = core.docker.attach_container(docker_id, Some(options.build())).await?;
    Ok((attached.output, attached.input))
}

/// Hands over sizes until the session is dropped.
async fn resize(core: Arc<Core>, docker_id: String, mut sizes: mpsc::Receiver<(u16, u16)>) {
    while let Some((columns, rows)) = sizes.recv().await {
        let size = ResizeContainerTTYOptionsBuilder::default().w(columns.into()).h(rows.into()).build();
        if let Err(error) = core.docker.resize_container_tty(&docker_id, size).await {
            tracing::debug!(container = docker_id, %error, "the terminal keeps its size");
        }
    }
}
