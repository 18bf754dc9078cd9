//! Following a cluster's services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use orchestra_core::client::Client;
use orchestra_core::drain::{GateRegistration, Gates};
use orchestra_core::engine::{CacheChange, Caches, Tasks};
use orchestra_core::model::{EndpointSlice, Protocol, Service};
use tokio::sync::watch;

use super::gate::Gate;
use super::gateway::Gateways;
use super::listeners::{ListenerStatus, Listeners, Statuses};
use super::options::DataPlaneOptions;
use super::port::PortKey;
use super::table::ServiceTable;
use crate::discovery::{ClusterIps, Zone};
use crate::http::{HttpOptions, HttpProxy, Routes, ServiceClient};
use crate::upstream::Upstream;

/// The data plane of a cluster, on one host: it follows the Services and EndpointSlices, listens on the services'
/// addresses, and drains pods for the node agents. Dropping it ends its part in drains; its listeners end with
/// the tasks that it was started in.
#[derive(Debug)]
pub struct DataPlane {
    pub(super) table: Arc<ServiceTable>,
    pub(super) client: Client,
    pub(super) caches: Caches,
    pub(super) tasks: Tasks,
    pub(super) gateways: Gateways,
    statuses: watch::Receiver<BTreeMap<(SocketAddr, Protocol), ListenerStatus>>,
    _gate: GateRegistration,
}

impl DataPlane {
    /// Starts the data plane in `tasks`. To be called inside a tokio runtime.
    ///
    /// `addresses` learns from it which addresses are in use; it is to be among the client's admissions.
    #[must_use]
    pub fn start(
        client: &Client,
        caches: &Caches,
        gates: &Gates,
        addresses: Option<Arc<ClusterIps>>,
        options: DataPlaneOptions,
        tasks: &Tasks,
    ) -> Self {
        let table = Arc::new(ServiceTable::new(options.clone(), tasks));
        let (services, slices) = (caches.of::<Service>(), caches.of::<EndpointSlice>());
        let followed = Arc::clone(&table);
        services.on_change(move |change| service_changed(&followed, addresses.as_deref(), change));
        let followed = Arc::clone(&table);
        slices.on_change(move |change| match change.new {
            Some(slice) => followed.apply_slice(slice),
            None => followed.remove_slice(&change.key.namespace, &change.key.name),
        });
        let statuses = Arc::new(Statuses::new(BTreeMap::new()));
        let seen = statuses.subscribe();
        if options.listen {
            let keeper = Listeners { table: Arc::clone(&table), options, tasks: tasks.clone(), statuses };
            tasks.spawn("service-listeners", keeper.keep());
        }
        let gate = Gate { table: Arc::clone(&table), slices, store: Arc::clone(client.store()) };
        let _gate = gates.register(Arc::new(gate));
        Self {
            table,
            client: client.clone(),
            caches: caches.clone(),
            tasks: tasks.clone(),
            gateways: Gateways::default(),
            statuses: seen,
            _gate,
        }
    }

    /// Returns when the services and endpoints that are in the store now are known.
    pub async fn synced(&self) {
        self.caches.of::<Service>().synced().await;
        self.caches.of::<EndpointSlice>().synced().await;
    }

    /// An HTTP client of a service's first port, which balances by itself. Of a service that is not there yet,
    /// too: its requests wait a while for it to come.
    #[must_use]
    pub fn client(&self, namespace: &str, service: &str) -> ServiceClient {
        ServiceClient::new(self.upstream(namespace, service, PortKey::First))
    }

    /// The endpoints of a service's port, for a route or a proxy. Of a service that is not there yet, too.
    #[must_use]
    pub fn upstream(&self, namespace: &str, service: &str, port: impl Into<PortKey>) -> Arc<Upstream> {
        self.table.upstream(namespace, service, &port.into())
    }

    /// An HTTP proxy with these routes. It listens where it is then bound.
    #[must_use]
    pub fn http_proxy(&self, routes: Routes, options: HttpOptions) -> HttpProxy {
        HttpProxy::new(routes, options, &self.tasks)
    }

    /// The cluster's names, to be served by a `DnsServer`.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        self.table.zone()
    }

    /// The services and their endpoints.
    #[must_use]
    pub fn table(&self) -> &Arc<ServiceTable> {
        &self.table
    }

    /// The services' addresses, by the protocol there, and whether each is listened on.
    #[must_use]
    pub fn listeners(&self) -> BTreeMap<(SocketAddr, Protocol), ListenerStatus> {
        self.statuses.borrow().clone()
    }

    /// Returns when `address`, one of a service, is listened on, for TCP and UDP where both are served there.
    pub async fn listening(&self, address: SocketAddr) {
        let mut statuses = self.statuses.clone();
        let listens = |statuses: &BTreeMap<(SocketAddr, Protocol), ListenerStatus>| {
            let mut there = statuses.iter().filter(|((at, _), _)| *at == address).peekable();
            there.peek().is_some() && there.all(|(_, status)| status.error.is_none())
        };
        // Ends without it only when the listeners do.
        let _ended = statuses.wait_for(listens).await;
    }
}

fn service_changed(table: &ServiceTable, addresses: Option<&ClusterIps>, change: &CacheChange<'_, Service>) {
    match (change.new, change.old) {
        (Some(service), old) => {
            if let Some(addresses) = addresses {
                // One of the same name may have taken the place of another between two looks, and one that has become a name for
                // another has no address any more.
                let is_other = |old: &Service| {
                    old.metadata.uid != service.metadata.uid || old.spec.cluster_ip != service.spec.cluster_ip
                };
                if let Some(old) = old.filter(|old| is_other(old)) {
                    addresses.release(old);
                }
                addresses.adopt(service);
            }
            table.apply_service(service);
        }
        (None, old) => {
            if let (Some(addresses), Some(old)) = (addresses, old) {
                addresses.release(old);
            }
            table.remove_service(&change.key.namespace, &change.key.name);
        }
    }
}
