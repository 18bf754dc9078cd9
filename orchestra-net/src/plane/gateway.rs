//! A proxy that follows a cluster's Ingresses and HTTP routes.

use std::collections::BTreeSet;
use std::sync::Arc;

use orchestra_core::engine::Cache;
use orchestra_core::model::{HTTPRoute, Ingress};
use tokio::sync::Notify;

use super::data_plane::DataPlane;
use super::table::ServiceTable;
use crate::http::{HttpProxy, Routes};

/// Which of a cluster's Ingresses and HTTP routes a proxy follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// Ingresses of this class, and those that name none.
    pub ingress_class: String,
    /// HTTP routes that name this as their parent: the name of a gateway, which needs no object.
    pub gateway: String,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self { ingress_class: "orchestra".to_owned(), gateway: "orchestra".to_owned() }
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

    fn has_ingress(&self, ingress: &Ingress) -> bool {
        let class = &ingress.spec.ingress_class_name;
        class.is_empty() || *class == self.ingress_class
    }

    fn has_route(&self, route: &HTTPRoute) -> bool {
        let is_gateway = |kind: &str| matches!(kind, "" | "Gateway");
        route.spec.parent_refs.iter().any(|parent| is_gateway(&parent.kind) && parent.name == self.gateway)
    }
}

impl DataPlane {
    /// Has `proxy` follow the cluster's Ingresses and HTTP routes from here on, as [`Routes::from_objects`] reads them,
    /// whatever its routes were before. What can't be followed is told as a warning, once, and the rest is followed.
    ///
    /// A change of any makes all routes anew; requests that were routed before go on, and services keep their connections.
    pub fn follow(&self, proxy: &HttpProxy, options: GatewayOptions) {
        let changed = Arc::new(Notify::new());
        let (ingresses, routes) = (self.caches.of::<Ingress>(), self.caches.of::<HTTPRoute>());
        let tell = Arc::clone(&changed);
        ingresses.on_change(move |_change| tell.notify_one());
        let tell = Arc::clone(&changed);
        routes.on_change(move |_change| tell.notify_one());
        let (proxy, table) = (proxy.clone(), Arc::clone(&self.table));
        let follower = Follower { proxy, table, options, ingresses, routes, refused: BTreeSet::new() };
        self.tasks.spawn("gateway", follower.follow(changed));
    }
}

struct Follower {
    proxy: HttpProxy,
    table: Arc<ServiceTable>,
    options: GatewayOptions,
    ingresses: Arc<Cache<Ingress>>,
    routes: Arc<Cache<HTTPRoute>>,
    /// What was told already.
    refused: BTreeSet<String>,
}

impl Follower {
    async fn follow(mut self, changed: Arc<Notify>) {
        self.ingresses.synced().await;
        self.routes.synced().await;
        loop {
            self.renew();
            changed.notified().await;
        }
    }

    fn renew(&mut self) {
        let (ingresses, routes) = (self.ingresses.list(), self.routes.list());
        let ours = ingresses.iter().map(|ingress| &**ingress);
        let ingresses: Vec<&Ingress> = ours.filter(|ingress| self.options.has_ingress(ingress)).collect();
        let ours = routes.iter().map(|route| &**route);
        let routes: Vec<&HTTPRoute> = ours.filter(|route| self.options.has_route(route)).collect();
        let (rules, refused) = Routes::from_objects(&ingresses, &routes, |namespace, service, port| {
            self.table.upstream(namespace, service, &port)
        });
        let told = |error: &crate::NetError| {
            let why = std::error::Error::source(error).map_or_else(String::new, |why| format!(": {why}"));
            format!("{error}{why}")
        };
        let refused: BTreeSet<String> = refused.iter().map(told).collect();
        for error in refused.difference(&self.refused) {
            tracing::warn!(%error, "leaves out an object that routes are made of");
        }
        self.refused = refused;
        tracing::debug!(ingresses = ingresses.len(), routes = routes.len(), "follows the cluster's routes");
        self.proxy.set_routes(rules);
    }
}
