//! The data plane's part in taking a pod out of traffic.

use std::sync::Arc;

use async_trait::async_trait;
use orchestra_core::drain::DrainGate;
use orchestra_core::engine::Cache;
use orchestra_core::model::{EndpointSlice, Revision, Uid};
use orchestra_core::store::{Scope, Store};

use super::table::ServiceTable;

/// Drains a pod from every service of a table that follows a cache of slices.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) table: Arc<ServiceTable>,
    pub(super) slices: Arc<Cache<EndpointSlice>>,
    pub(super) store: Arc<dyn Store>,
}

#[async_trait]
impl DrainGate for Gate {
    async fn drain(&self, pod: &Uid, revision: Revision) {
        // No request is sent there from here on, whatever an update under way says.
        let leaving = self.table.begin_drain(pod);
        // The last slice may be older than the revision: then nothing is to be waited for beyond it. Those that
        // replace the pod have come in when this has been seen.
        match self.store.revision(&Scope::of::<EndpointSlice>()).await {
            Ok(last) => self.slices.wait_for(last.min(revision)).await,
            Err(error) => tracing::warn!(%pod, %error, "drains without knowing the last endpoints"),
        }
        for backend in leaving {
            backend.quiet().await;
        }
        tracing::debug!(%pod, "drained");
    }
}
