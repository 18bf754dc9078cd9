//! Running a program in a container for its exit code.

use std::sync::Arc;

use crate::node::agent::Shared;
use crate::node::error::chain;
use crate::runtime::{ContainerId, ExecOptions};

/// Runs `command` to its end. What it writes is thrown away: it may be a secret. Dropping the future kills it.
pub(super) async fn exit_code(
    shared: &Arc<Shared>,
    id: &ContainerId,
    command: &[String],
) -> Result<i32, String> {
    let options = ExecOptions { command: command.to_vec(), ..ExecOptions::default() };
    let mut session = shared.runtime.exec(id, &options).await.map_err(|error| chain(&error))?;
    loop {
        tokio::select! {
            biased;
            code = &mut session.exit => return code.map_err(|error| chain(&error)),
            chunk = session.output.recv() => if chunk.is_none() { break },
        }
    }
    session.exit.await.map_err(|error| chain(&error))
}
