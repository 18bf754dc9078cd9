//! Network probes of simulated containers.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::node::{ProbeFailure, ProbeRequest, Prober};
use tokio::time::Instant;

use super::handle::SimRuntime;

/// Answers TCP, HTTP and gRPC probes for the containers of simulated runtimes: yes where the container that serves
/// the port is well.
#[derive(Clone, Debug)]
pub struct SimProber(Arc<[SimRuntime]>);

impl SimProber {
    /// A prober for the containers of all these runtimes.
    #[must_use]
    pub fn new(runtimes: &[SimRuntime]) -> Self {
        Self(runtimes.into())
    }

    fn answers(&self, address: SocketAddr) -> Result<bool, ProbeFailure> {
        for runtime in self.0.iter() {
            let world = runtime.lock();
            let Some(sandbox) = world.sandbox_at(address.ip()) else { continue };
            let serving = sandbox.containers.values().filter_map(|id| world.containers.get(id));
            let serving = serving.filter(|c| {
                c.state.is_running()
                    && (c.program.ports.is_empty() || c.program.ports.contains(&address.port()))
            });
            let mut well = serving.map(|c| c.is_well(Instant::now())).peekable();
            return Ok(well.peek().is_some() && well.all(|well| well));
        }
        Err(ProbeFailure::Failed(format!("{address}: no route to host")))
    }
}

#[async_trait]
impl Prober for SimProber {
    async fn probe(&self, request: &ProbeRequest) -> Result<(), ProbeFailure> {
        let address = match request {
            ProbeRequest::Tcp { address }
            | ProbeRequest::Http { address, .. }
            | ProbeRequest::Grpc { address, .. } => *address,
            _ => {
                return Err(ProbeFailure::Unsupported(
                    "the simulation does not know this question".to_owned(),
                ));
            }
        };
        if self.answers(address)? {
            Ok(())
        } else {
            Err(ProbeFailure::Failed(format!("{address}: connection refused")))
        }
    }
}
