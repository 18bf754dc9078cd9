//! Lifecycle hooks.

use std::sync::Arc;
use std::time::Duration;

use super::{exec, probe};
use crate::model::{Container, LifecycleHandler};
use crate::node::agent::Shared;
use crate::runtime::{ContainerId, SandboxStatus};

/// Runs a hook, up to `limit`.
pub(super) async fn run(
    shared: &Arc<Shared>,
    sandbox: &SandboxStatus,
    container: &Container,
    id: &ContainerId,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let hook = async {
        if let Some(exec) = &handler.exec {
            return match exec::exit_code(shared, id, &exec.command).await? {
                0 => Ok(()),
                code => Err(format!("the hook's command exited with code {code}")),
            };
        }
        if let Some(get) = &handler.http_get {
            let request = probe::http_request(shared, sandbox, container, get).await?;
            return shared.prober.probe(&request).await.map_err(|error| error.to_string());
        }
        if let Some(tcp) = &handler.tcp_socket {
            let request = probe::tcp_request(shared, sandbox, container, &tcp.host, &tcp.port).await?;
            return shared.prober.probe(&request).await.map_err(|error| error.to_string());
        }
        if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds)).await;
        }
        Ok(())
    };
    match tokio::time::timeout(limit, hook).await {
        Ok(result) => result,
        Err(_elapsed) => Err(format!("the hook did not end within {limit:?}")),
    }
}
