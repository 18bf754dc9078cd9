//! Ways into the cluster's services.

use std::net::SocketAddr;

use orchestra_net::{DataPlane, HttpOptions, Listening, Routes, ServiceClient};

use super::{Cluster, ClusterError};

/// An entrance that listens; closed when dropped or [shut down](Self::shutdown).
#[derive(Debug)]
pub struct ProxyHandle(Listening);

impl ProxyHandle {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Takes no new connections, finishes the requests in flight, and returns.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

impl Cluster {
    /// The data plane: the endpoints of services, for routes and clients of one's own.
    #[must_use]
    pub fn data_plane(&self) -> &DataPlane {
        &self.data_plane
    }

    /// An HTTP client of a service's port, in the client's namespace, that balances in this process. Of a
    /// service that is not there yet, too: its requests wait a while for it to come.
    #[must_use]
    pub fn service(&self, name: &str, port: u16) -> ServiceClient {
        let namespace = self.client.current_namespace();
        ServiceClient::new(self.data_plane.upstream(namespace, name, port))
    }

    /// Listens for HTTP on `address` (port 0: a free one) and sends what arrives to a service's port.
    ///
    /// # Errors
    /// Where the address can't be listened on.
    pub async fn serve_http(
        &self,
        address: SocketAddr,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> Result<ProxyHandle, ClusterError> {
        let routes = Routes::to(self.data_plane.upstream(namespace, service, port));
        self.serve_routes(address, routes, HttpOptions::default()).await
    }

    /// Listens for HTTP on `address` and sends what arrives where `routes` say.
    ///
    /// # Errors
    /// Where the address can't be listened on.
    pub async fn serve_routes(
        &self,
        address: SocketAddr,
        routes: Routes,
        options: HttpOptions,
    ) -> Result<ProxyHandle, ClusterError> {
        Ok(ProxyHandle(self.data_plane.http_proxy(routes, options).bind(address).await?))
    }
}
