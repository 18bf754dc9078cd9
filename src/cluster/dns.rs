//! The cluster's names, served.

use std::net::{Ipv4Addr, SocketAddr};

use orchestra_core::engine::Tasks;
use orchestra_net::{DataPlane, DnsOptions, DnsServer, NetError};

use super::Cluster;

/// Serves the names that `data_plane` knows at `address`, once it knows those that are there. Ends `tasks` where that
/// is not possible.
pub(super) async fn serve(
    address: Option<SocketAddr>,
    options: DnsOptions,
    data_plane: &DataPlane,
    tasks: &Tasks,
) -> Result<Option<DnsServer>, NetError> {
    let Some(address) = address else { return Ok(None) };
    data_plane.synced().await;
    let served = DnsServer::bind(address, data_plane.zone().clone(), options, tasks).await;
    if served.is_err() {
        tasks.shutdown().await;
    }
    served.map(Some)
}

/// Where pods of this host reach the server, whose address may stand for all of the host's; and its domain.
pub(super) fn told(server: &DnsServer, data_plane: &DataPlane) -> (SocketAddr, String) {
    let mut address = server.address();
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    (address, data_plane.zone().domain().to_owned())
}

impl Cluster {
    /// Where the cluster's names are served, over UDP and TCP; `None` where
    /// [`ClusterBuilder::dns`](super::ClusterBuilder::dns) did not ask for it.
    #[must_use]
    pub fn dns_address(&self) -> Option<SocketAddr> {
        self.dns.as_ref().map(DnsServer::address)
    }
}
