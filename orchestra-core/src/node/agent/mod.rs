//! The agent: the loop that turns changes into plans, and plans into operations.

mod news;
mod shared;
mod turn;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use shared::Shared;
pub(super) use shared::Slot;

use super::access::NodeHandle;
use super::boot;
use super::builder::NodeAgentBuilder;
use super::plan::is_clear;
use crate::client::Client;
use crate::engine::Caches;
use crate::model::bounded_seconds;
use crate::runtime::Runtime;

/// How much longer than the longest grace the stop of all pods may take: the drain, and the runtime's work.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(30);

/// Runs the pods that are bound to one node. Dropping it ends the agent and leaves the pods running, for the next
/// agent of that node to adopt. It dereferences to its [`NodeHandle`], which others ask it through.
#[derive(Debug)]
pub struct NodeAgent {
    handle: NodeHandle,
}

impl Deref for NodeAgent {
    type Target = NodeHandle;
    fn deref(&self) -> &NodeHandle {
        &self.handle
    }
}

impl NodeAgent {
    /// An agent for the node `name`, to be configured and started.
    pub fn builder(
        name: impl Into<Arc<str>>,
        client: &Client,
        caches: &Caches,
        runtime: Arc<dyn Runtime>,
    ) -> NodeAgentBuilder {
        NodeAgentBuilder::new(name.into(), client, caches, runtime)
    }

    pub(super) fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let agent = Arc::clone(&shared);
        shared.tasks.spawn("node-agent", async move { boot::run(agent).await });
        Self { handle: NodeHandle { shared } }
    }

    /// What others ask the agent through, while it runs.
    #[must_use]
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Ends the agent. With `stop_pods` its pods are drained and stopped first, each within its grace period, and
    /// nothing of them is left on the node; without, they go on running, for the next agent to adopt.
    pub async fn shutdown(&self, stop_pods: bool) {
        if stop_pods {
            self.stop_pods().await;
        }
        self.shared.tasks.shutdown().await;
    }

    async fn stop_pods(&self) {
        let shared = &self.shared;
        shared.shutdown.store(true, Ordering::SeqCst);
        // What an earlier agent left running can be stopped only once it is known.
        if tokio::time::timeout(SHUTDOWN_SLACK, self.ready()).await.is_err() {
            tracing::error!(node = %shared.node, "what runs there was not taken up in time, and may be left");
        }
        let grace = {
            let slots = shared.lock();
            slots.keys().for_each(|uid| shared.queue.add(uid.clone()));
            let graces = slots.values().filter_map(|s| s.pod.as_ref());
            graces.map(|p| p.spec.termination_grace_period_seconds).max().unwrap_or(0)
        };
        let limit = bounded_seconds(grace) + shared.options.drain_timeout + SHUTDOWN_SLACK;
        let cleared = async {
            loop {
                let moved = shared.moved.notified();
                if shared.lock().values().all(|slot| is_clear(&slot.memory)) {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout(limit, cleared).await.is_err() {
            tracing::error!(node = %shared.node, ?limit, "some pods could not be stopped in time");
        }
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        self.shared.tasks.cancel();
    }
}
