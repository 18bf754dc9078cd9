//! Services whose clients each have an endpoint.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::Upstream;
use crate::http::hash;

impl Upstream {
    /// Whether requests from one client address go to one endpoint, whatever leads to this service: its address, a route or a client
    /// in this process. As Services say by `sessionAffinity: ClientIP`, which [`ServiceTable`](crate::ServiceTable) passes on. Counts
    /// where the balancer is one that looks at it.
    pub fn set_hash_client_address(&self, hash_client_address: bool) {
        self.by_client.store(hash_client_address, Ordering::Relaxed);
    }

    /// What the requests of this client have in common, where that counts: here, or where whoever asks says so.
    pub(crate) fn hash_of(&self, client: SocketAddr, asked_for: bool) -> Option<u64> {
        (asked_for || self.by_client.load(Ordering::Relaxed)).then(|| hash(client))
    }
}
