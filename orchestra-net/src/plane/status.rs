//! What a gateway says of the objects that it follows.

use std::collections::BTreeSet;
use std::net::IpAddr;

use orchestra_core::client::Client;
use orchestra_core::model::{
    Condition, HTTPRoute, Ingress, LoadBalancerIngress, LoadBalancerStatus, ObjectKey, ParentReference,
    RouteParentStatus, Service, Timestamp,
};

use super::gateway::{Follower, GatewayOptions, Gateways};
use crate::http::Reference;

/// Who says what routes are worth here, among the controllers of a cluster.
pub(super) const CONTROLLER: &str = "orchestra.dev/gateway";

/// Why something does not hold: a word for programs, and a text for people.
type Why = (&'static str, String);

impl Follower {
    /// Writes to the objects what became of them, where that is not what they say. `refused`: what is wrong with a route, by namespace
    /// and name. What can't be written now is written after the next change.
    pub(super) async fn tell(
        &self,
        client: &Client,
        ingresses: &[&Ingress],
        routes: &[(&HTTPRoute, Option<String>)],
    ) {
        for ingress in ingresses {
            let wanted = self.gateways.reached_at(ingress);
            if wanted.ingress.is_empty() || ingress.status.load_balancer == wanted {
                continue;
            }
            let meta = &ingress.metadata;
            let client = client.namespace(meta.namespace.as_str());
            let told = client.modify_status::<Ingress>(&meta.name, |ingress| {
                ingress.status.load_balancer = wanted.clone()
            });
            if let Err(error) = told.await {
                tracing::warn!(ingress = %format!("{}/{}", meta.namespace, meta.name), %error, "could not write a status");
            }
        }
        for (route, refused) in routes {
            let now = client.clock().now();
            let judge = |parent: &ParentReference| self.judge(route, parent, refused.as_deref(), now);
            let set = |route: &mut HTTPRoute| set(route, &self.options, judge);
            if !set(&mut (*route).clone()) {
                continue;
            }
            let meta = &route.metadata;
            let client = client.namespace(meta.namespace.as_str());
            let told = client.modify_status::<HTTPRoute>(&meta.name, |route| {
                set(route);
            });
            if let Err(error) = told.await {
                tracing::warn!(route = %format!("{}/{}", meta.namespace, meta.name), %error, "could not write a status");
            }
        }
    }

    /// What holds of a route at one of its parents. `None`: that is for another proxy to say.
    fn judge(
        &self,
        route: &HTTPRoute,
        parent: &ParentReference,
        refused: Option<&str>,
        now: Timestamp,
    ) -> Option<[Condition; 2]> {
        let condition = |type_: &str, why_not: Option<Why>| {
            let (reason, message) = why_not.clone().unwrap_or_else(|| (match_of(type_), String::new()));
            let mut condition = Condition::new(type_, why_not.is_none(), now).reason(reason).message(message);
            condition.observed_generation = route.metadata.generation;
            condition
        };
        let why_not = match self.options.stands_for(parent) {
            true => refused.map(|why| ("UnsupportedValue", why.to_owned())),
            false => Some(self.unmatched(parent)?),
        };
        Some([condition("Accepted", why_not), condition("ResolvedRefs", self.unresolved(route))])
    }

    /// Why nobody stands for a parent. `None` where a proxy does.
    fn unmatched(&self, parent: &ParentReference) -> Option<Why> {
        let gateways = self.gateways.lock();
        if gateways.iter().any(|options| options.stands_for(parent)) {
            return None;
        }
        let of_gateway = gateways.iter().filter(|options| options.is_parent(parent));
        let sections: BTreeSet<String> = of_gateway
            .flat_map(|options| &options.sections)
            .map(|(name, port)| format!("{name} at port {port}"))
            .collect();
        let sections = Vec::from_iter(sections).join(", ");
        Some(("NoMatchingParent", format!("the gateway has no such section and port, but {sections}")))
    }

    /// Why a service that a route names can't be sent to.
    fn unresolved(&self, route: &HTTPRoute) -> Option<Why> {
        let namespace = route.metadata.namespace.as_str();
        let is_missing =
            |name: &str| self.services.get(&ObjectKey::new::<Service>(namespace, name)).is_none();
        route.spec.rules.iter().flat_map(Reference::of).find_map(|reference| {
            let name = reference.name;
            let missing =
                || is_missing(name).then(|| ("BackendNotFound", format!("there is no Service {name}")));
            reference.why_not(namespace).or_else(missing)
        })
    }
}

/// The reason of a condition that holds: the Gateway API names it as the condition.
fn match_of(type_: &str) -> &'static str {
    if type_ == "Accepted" { "Accepted" } else { "ResolvedRefs" }
}

/// Puts the conditions where the route says what we make of it; those of others stay. Whether anything changed.
fn set(
    route: &mut HTTPRoute,
    options: &GatewayOptions,
    judge: impl Fn(&ParentReference) -> Option<[Condition; 2]>,
) -> bool {
    let ours = route.spec.parent_refs.iter().filter(|parent| options.is_parent(parent));
    let ours: Vec<ParentReference> = ours.cloned().collect();
    let parents = &mut route.status.parents;
    let before = parents.len();
    parents.retain(|parent| {
        let is_mine = parent.controller_name == CONTROLLER && options.is_parent(&parent.parent_ref);
        !is_mine || ours.contains(&parent.parent_ref)
    });
    let mut changed = parents.len() != before;
    for parent in ours {
        let Some(conditions) = judge(&parent) else { continue };
        let is_it =
            |said: &RouteParentStatus| said.controller_name == CONTROLLER && said.parent_ref == parent;
        let place = parents.iter().position(is_it).unwrap_or_else(|| {
            let controller_name = CONTROLLER.to_owned();
            parents.push(RouteParentStatus {
                parent_ref: parent.clone(),
                controller_name,
                ..RouteParentStatus::default()
            });
            parents.len() - 1
        });
        for condition in conditions {
            changed |= condition.clone().set_in(&mut parents[place].conditions);
        }
    }
    changed
}

impl Gateways {
    /// Where an Ingress is reached: by all proxies that follow it, so that each says the same.
    fn reached_at(&self, ingress: &Ingress) -> LoadBalancerStatus {
        let way = |address: &String| match address.parse::<IpAddr>() {
            Ok(ip) => LoadBalancerIngress { ip: ip.to_string(), ..LoadBalancerIngress::default() },
            Err(_) => LoadBalancerIngress { hostname: address.clone(), ..LoadBalancerIngress::default() },
        };
        let mut status = LoadBalancerStatus::default();
        for options in self.lock().iter().filter(|options| options.has_ingress(ingress)) {
            for way in options.addresses.iter().map(way) {
                if !status.ingress.contains(&way) {
                    status.ingress.push(way);
                }
            }
        }
        status
    }
}
