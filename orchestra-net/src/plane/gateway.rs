//! A proxy that follows a cluster's Ingresses and HTTP routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orchestra_core::client::Client;
use orchestra_core::engine::Cache;
use orchestra_core::model::{HTTPRoute, Ingress, ParentReference, Resource as _, Service};
use tokio::sync::Notify;

use super::data_plane::DataPlane;
use super::status::CONTROLLER;
use super::table::ServiceTable;
use crate::error::NetError;
use crate::http::{HttpProxy, Routes};

/// Which of a cluster's Ingresses and HTTP routes a proxy follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// Ingresses of this class, and those that name none.
    pub ingress_class: String,
    /// HTTP routes that name this as their parent: the name of a gateway, which needs no object.
    pub gateway: String,
    /// The sections of that gateway which the proxy stands for, each with the port that clients reach it at, whatever it is bound to: HTTP
    /// routes that name another section or port as their parent are left to other proxies. None: the proxy stands for the whole gateway,
    /// whatever its sections are called. Routes of all sections of a proxy are followed on all its listeners, so that sections which
    /// differ need a proxy each.
    pub sections: BTreeMap<String, u16>,
    /// Where clients reach the proxy, by IP address or by name: what Ingresses say in their status, of all proxies that follow them by
    /// one data plane. None: they say nothing.
    pub addresses: Vec<String>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        let (ingress_class, gateway) = ("orchestra".to_owned(), "orchestra".to_owned());
        Self { ingress_class, gateway, sections: BTreeMap::new(), addresses: Vec::new() }
    }
}

impl GatewayOptions {
    /// Sets [`ingress_class`](Self::ingress_class).
    #[must_use]
    pub fn with_ingress_class(self, ingress_class: impl Into<String>) -> Self {
        Self { ingress_class: ingress_class.into(), ..self }
    }

    /// Sets [`gateway`](Self::gateway).
    #[must_use]
    pub fn with_gateway(self, gateway: impl Into<String>) -> Self {
        Self { gateway: gateway.into(), ..self }
    }

    /// Adds one of the [`sections`](Self::sections).
    #[must_use]
    pub fn with_section(mut self, name: impl Into<String>, port: u16) -> Self {
        self.sections.insert(name.into(), port);
        self
    }

    /// Adds one of the [`addresses`](Self::addresses).
    #[must_use]
    pub fn with_address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    pub(super) fn has_ingress(&self, ingress: &Ingress) -> bool {
        let class = &ingress.spec.ingress_class_name;
        class.is_empty() || *class == self.ingress_class
    }

    pub(super) fn is_parent(&self, parent: &ParentReference) -> bool {
        (parent.group.is_empty() || parent.group == HTTPRoute::INFO.group)
            && matches!(parent.kind.as_str(), "" | "Gateway")
            && parent.name == self.gateway
    }

    /// Whether the proxy stands for this parent, and not only for another part of the same gateway.
    pub(super) fn stands_for(&self, parent: &ParentReference) -> bool {
        let has = |(name, port): (&String, &u16)| {
            (parent.section_name.is_empty() || parent.section_name == *name)
                && parent.port.is_none_or(|asked| asked == *port)
        };
        self.is_parent(parent) && (self.sections.is_empty() || self.sections.iter().any(has))
    }
}

/// What the proxies that follow by one data plane stand for: together they know which sections a gateway has. None ends before the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Gateways(Arc<Mutex<Vec<GatewayOptions>>>);

impl Gateways {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<GatewayOptions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DataPlane {
    /// Has `proxy` follow the cluster's Ingresses and HTTP routes from here on, as [`Routes::from_objects`] reads them (with the feature
    /// `tls`, `follow_tls` does so for certificates),
    /// whatever its routes were before. What can't be followed is told as a warning, once, and the rest is followed.
    ///
    /// What becomes of them is in their status: of an Ingress where it is reached ([`GatewayOptions::addresses`]), of a route whether it is
    /// `Accepted` and its references are resolved (`ResolvedRefs`). Of a section that none of the proxies stands for which follow the gateway
    /// by this data plane, a route is told so (`NoMatchingParent`).
    ///
    /// A change of any makes all routes anew; requests that were routed before go on, services keep their connections, and shares of rules that
    /// stay as they are go on.
    pub fn follow(&self, proxy: &HttpProxy, options: GatewayOptions) {
        let changed = Arc::new(Notify::new());
        let (ingresses, routes) = (self.caches.of::<Ingress>(), self.caches.of::<HTTPRoute>());
        let tell = Arc::clone(&changed);
        ingresses.on_change(move |_change| tell.notify_one());
        let tell = Arc::clone(&changed);
        routes.on_change(move |_change| tell.notify_one());
        let services = self.caches.of::<Service>();
        let tell = Arc::clone(&changed);
        services.on_change(move |change| {
            // Routes name ports, which are looked up when routes are made.
            if change.old.map(|old| &old.spec.ports) != change.new.map(|new| &new.spec.ports) {
                tell.notify_one();
            }
        });
        let (proxy, table) = (proxy.clone(), Arc::clone(&self.table));
        let (gateways, refused) = (self.gateways.clone(), BTreeSet::new());
        gateways.lock().push(options.clone());
        let follower = Follower { proxy, table, options, gateways, ingresses, routes, services, refused };
        self.tasks.spawn("gateway", follower.follow(self.client.clone(), changed));
    }
}

/// An error with its cause.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let why = error.source().map_or_else(String::new, |why| format!(": {why}"));
    format!("{error}{why}")
}

pub(super) struct Follower {
    proxy: HttpProxy,
    table: Arc<ServiceTable>,
    pub(super) options: GatewayOptions,
    pub(super) gateways: Gateways,
    pub(super) services: Arc<Cache<Service>>,
    ingresses: Arc<Cache<Ingress>>,
    routes: Arc<Cache<HTTPRoute>>,
    /// What was told already.
    refused: BTreeSet<String>,
}

impl Follower {
    async fn follow(mut self, client: Client, changed: Arc<Notify>) {
        self.ingresses.synced().await;
        self.routes.synced().await;
        self.services.synced().await;
        loop {
            self.renew(&client).await;
            changed.notified().await;
        }
    }

    /// Whether a route has the gateway for its parent, or its status says so.
    fn concerns(&self, route: &HTTPRoute) -> bool {
        let told = route.status.parents.iter().filter(|told| told.controller_name == CONTROLLER);
        let mut parents = route.spec.parent_refs.iter().chain(told.map(|told| &told.parent_ref));
        parents.any(|parent| self.options.is_parent(parent))
    }

    async fn renew(&mut self, client: &Client) {
        let (ingresses, routes) = (self.ingresses.list(), self.routes.list());
        let ours = ingresses.iter().map(|ingress| &**ingress);
        let ingresses: Vec<&Ingress> = ours.filter(|ingress| self.options.has_ingress(ingress)).collect();
        let routes = || routes.iter().map(|route| &**route);
        let stands_for =
            |route: &&HTTPRoute| route.spec.parent_refs.iter().any(|parent| self.options.stands_for(parent));
        let followed: Vec<&HTTPRoute> = routes().filter(stands_for).collect();
        let (rules, refused) = Routes::from_objects(&ingresses, &followed, |namespace, service, port| {
            self.table.upstream(namespace, service, &port)
        });
        let why = |route: &HTTPRoute| {
            let name = format!("{}/{}", route.metadata.namespace, route.metadata.name);
            let is_it = |error: &&NetError| matches!(error, NetError::BadRoute { kind: "HTTPRoute", object, .. } if *object == name);
            refused.iter().find(is_it).map(|error| told(error))
        };
        // Also those that have left, and still say something of it.
        let judged = routes().filter(|route| self.concerns(route));
        let judged: Vec<_> = judged.map(|route| (route, why(route))).collect();
        let refused: BTreeSet<String> = refused.iter().map(|error| told(error)).collect();
        for error in refused.difference(&self.refused) {
            tracing::warn!(%error, "leaves out an object that routes are made of");
        }
        self.refused = refused;
        tracing::debug!(ingresses = ingresses.len(), routes = followed.len(), "follows the cluster's routes");
        self.proxy.set_routes(rules);
        self.table.forget_unused();
        self.tell(client, &ingresses, &judged).await;
    }
}
