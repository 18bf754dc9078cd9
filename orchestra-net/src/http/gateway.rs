//! Ingresses and HTTP routes of the Gateway API, as rules.

use std::str::FromStr as _;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use orchestra_core::model::{
    FieldErrors, HTTPRoute, HttpHeader, HttpHeaderFilter, HttpPathModifier, HttpPathModifierType,
    HttpRouteFilter, HttpRouteMatch, HttpRouteRule, Ingress, IngressBackend, IngressPathType, Object,
    ObjectMeta, PathMatchType, Rules,
};

use super::reference::Reference;
use super::rewrite::{HeaderChanges, PathChange, Redirect};
use super::route::Route;
use super::routes::Routes;
use crate::error::NetError;
use crate::plane::PortKey;
use crate::upstream::Upstream;

/// Finds the endpoints of a service's port, by namespace, name and port: as
/// [`DataPlane::upstream`](crate::DataPlane::upstream) does.
type Find<'f> = &'f dyn Fn(&str, &str, PortKey) -> Arc<Upstream>;

impl Routes {
    /// The rules of these objects, and what of them can't be followed: it is left out, and the rest is followed.
    ///
    /// Precedence is the Gateway API's: the most exact host, path, method, and then the number of headers and of parameters;
    /// among equals, the object that was created first, the first by `namespace/name`, and its first rule. Rules of
    /// Ingresses, which have neither methods nor headers, count as rules of routes.
    ///
    /// Of an Ingress: hosts (a star is for one label), paths, the default backend. Its `tls` is for listeners: `DataPlane::follow_tls`, with
    /// the feature `tls`, gives them the certificates. Of a route: all but regular expressions, filters of a single backend, and references into other
    /// namespaces, which would need a ReferenceGrant. Whose they are, by class or parent, is for the caller to decide.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use orchestra_core::model::{HTTPRoute, Scheme};
    /// use orchestra_net::{Routes, Upstream};
    ///
    /// let route = r#"{
    ///     "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
    ///     "metadata": {"name": "shop", "namespace": "default"},
    ///     "spec": {"rules": [{
    ///         "matches": [{"path": {"type": "PathPrefix", "value": "/cart"}}],
    ///         "backendRefs": [{"name": "cart", "port": 80, "weight": 9}, {"name": "canary", "port": 80}]
    ///     }]}
    /// }"#;
    /// let route: HTTPRoute = serde_json::from_str(route).unwrap();
    /// let (routes, refused) =
    ///     Routes::from_objects(&[], &[&route], |_namespace, service, _port| Upstream::named(service));
    /// assert!(refused.is_empty());
    /// assert_eq!(routes.iter().next().unwrap().services().count(), 2);
    /// # });
    /// ```
    pub fn from_objects(
        ingresses: &[&Ingress],
        http_routes: &[&HTTPRoute],
        find: impl Fn(&str, &str, PortKey) -> Arc<Upstream>,
    ) -> (Self, Vec<NetError>) {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for ingress in ingresses {
            match checked(*ingress, "Ingress") {
                Ok(()) => found.push((&ingress.metadata, of_ingress(ingress, &find))),
                Err(error) => refused.push(error),
            }
        }
        for route in http_routes {
            match checked(*route, "HTTPRoute").and_then(|()| of_http_route(route, &find)) {
                Ok(rules) => found.push((&route.metadata, rules)),
                Err(error) => refused.push(error),
            }
        }
        found.sort_by_cached_key(|(meta, _)| (meta.creation_timestamp, name_of(meta)));
        (Self::in_order(found.into_iter().flat_map(|(_, rules)| rules)), refused)
    }
}

fn name_of(meta: &ObjectMeta) -> String {
    format!("{}/{}", meta.namespace, meta.name)
}

fn checked<T: Rules + Object>(object: &T, kind: &'static str) -> Result<(), NetError> {
    let mut errors = FieldErrors::new();
    Rules::validate(object, &mut errors);
    errors.into_result().map_err(|source| refused(object.meta(), kind, source))
}

fn refused(meta: &ObjectMeta, kind: &'static str, source: FieldErrors) -> NetError {
    NetError::BadRoute { kind, object: name_of(meta), source: Box::new(source) }
}

fn of_ingress(ingress: &Ingress, find: Find<'_>) -> Vec<Route> {
    let namespace = &ingress.metadata.namespace;
    let to = |backend: &IngressBackend| {
        let service = backend.service.as_ref()?;
        let port = match &service.port.name {
            name if name.is_empty() => PortKey::Number(service.port.number),
            name => PortKey::Name(name.clone()),
        };
        Some(Route::to(find(namespace, &service.name, port)))
    };
    let default = || ingress.spec.default_backend.as_ref().and_then(to);
    let mut routes: Vec<Route> = default().into_iter().collect();
    for rule in &ingress.spec.rules {
        let Some(http) = &rule.http else {
            routes.extend(default().map(|route| route.ingress_host(&rule.host)));
            continue;
        };
        for path in &http.paths {
            let Some(route) = to(&path.backend) else { continue };
            let route = route.ingress_host(&rule.host);
            routes.push(match path.path_type {
                IngressPathType::Exact => route.exact(&path.path),
                IngressPathType::Prefix | IngressPathType::ImplementationSpecific => route.prefix(&path.path),
            });
        }
    }
    routes
}

fn of_http_route(route: &HTTPRoute, find: Find<'_>) -> Result<Vec<Route>, NetError> {
    let every = [String::new()];
    let hosts = if route.spec.hostnames.is_empty() { &every[..] } else { &route.spec.hostnames };
    let whole = [HttpRouteMatch::default()];
    let mut errors = FieldErrors::new();
    let mut routes = Vec::new();
    errors.at("spec", |errors| {
        errors.each("rules", &route.spec.rules, |errors, rule| {
            let matches = if rule.matches.is_empty() { &whole[..] } else { &rule.matches };
            let Some(made) = of_rule(rule, &route.metadata.namespace, find, errors) else { return };
            for host in hosts {
                routes.extend(matches.iter().filter_map(|found| fitted(made.clone().host(host), found)));
            }
        });
    });
    errors.into_result().map_err(|source| refused(&route.metadata, "HTTPRoute", source))?;
    Ok(routes)
}

/// A rule, for whatever requests. What is wrong with it goes to `errors`.
fn of_rule(rule: &HttpRouteRule, namespace: &str, find: Find<'_>, errors: &mut FieldErrors) -> Option<Route> {
    let service = |reference: Reference<'_>, errors: &mut FieldErrors| {
        match reference.why_not(namespace) {
            None => return Some(find(namespace, reference.name, reference.port?.into())),
            Some((_, why)) => errors.push(why),
        }
        None
    };
    let mut services = Vec::new();
    errors.each("backendRefs", &rule.backend_refs, |errors, backend| {
        services.extend(service(backend.into(), errors).map(|found| (found, backend.weight)));
    });
    let redirect = rule.filters.iter().find_map(|filter| filter.request_redirect.as_ref());
    let mut route = match redirect {
        Some(asked) => {
            let status = asked.status_code.and_then(|code| StatusCode::from_u16(code).ok());
            let mut redirect = Redirect::new(status.unwrap_or(StatusCode::FOUND));
            redirect = set(redirect, &asked.scheme, Redirect::scheme);
            redirect = set(redirect, &asked.hostname, Redirect::host);
            if let Some(port) = asked.port {
                redirect = redirect.port(port);
            }
            if let Some(path) = asked.path.as_ref().and_then(change) {
                redirect = redirect.path(path);
            }
            Route::redirect(redirect)
        }
        None => Route::new(services),
    };
    errors.each("filters", &rule.filters, |errors, filter| {
        if let Some(mirror) = &filter.request_mirror {
            let reference = Reference::from(&mirror.backend_ref);
            errors.at("requestMirror", |errors| {
                if let Some(found) = service(reference, errors) {
                    let (many, of) = mirror.share();
                    route = route.clone().mirror_some(found, many, of);
                }
            });
        }
    });
    route = rule.filters.iter().fold(route, filtered);
    if let Some(timeouts) = &rule.timeouts {
        if let Some(limit) = timeouts.request_limit() {
            route = route.timeout(limit);
        }
        if let Some(limit) = timeouts.backend_request_limit() {
            route = route.response_timeout(limit);
        }
    }
    Some(route)
}

fn set<T>(what: T, value: &str, set: impl Fn(T, String) -> T) -> T {
    if value.is_empty() { what } else { set(what, value.to_owned()) }
}

/// Changes of headers, of the path and of the host.
fn filtered(mut route: Route, filter: &HttpRouteFilter) -> Route {
    if let Some(headers) = &filter.request_header_modifier {
        route = route.request_headers(changes(headers));
    }
    if let Some(headers) = &filter.response_header_modifier {
        route = route.answer_headers(changes(headers));
    }
    if let Some(rewrite) = &filter.url_rewrite {
        if let (false, Ok(host)) = (rewrite.hostname.is_empty(), HeaderValue::from_str(&rewrite.hostname)) {
            route = route.rewrite_host(host);
        }
        if let Some(path) = rewrite.path.as_ref().and_then(change) {
            route = route.rewrite_path(path);
        }
    }
    route
}

fn change(path: &HttpPathModifier) -> Option<PathChange> {
    match path.type_ {
        HttpPathModifierType::ReplaceFullPath => path.replace_full_path.clone().map(PathChange::Full),
        HttpPathModifierType::ReplacePrefixMatch => path.replace_prefix_match.clone().map(PathChange::Prefix),
    }
}

/// Names and values were checked before: none is left out.
fn changes(filter: &HttpHeaderFilter) -> HeaderChanges {
    let parsed = |header: &HttpHeader| {
        Some((HeaderName::from_str(&header.name).ok()?, HeaderValue::from_str(&header.value).ok()?))
    };
    let removed = filter.remove.iter().filter_map(|name| HeaderName::from_str(name).ok());
    let changes = removed.fold(HeaderChanges::default(), HeaderChanges::remove);
    let put = |changes: HeaderChanges, (name, value)| changes.set(name, value);
    let changes = filter.set.iter().filter_map(parsed).fold(changes, put);
    filter.add.iter().filter_map(parsed).fold(changes, |changes, (name, value)| changes.add(name, value))
}

/// The route, for these requests only. `None` where they are such as nobody can send.
fn fitted(mut route: Route, found: &HttpRouteMatch) -> Option<Route> {
    if let Some(path) = &found.path {
        route = match path.type_ {
            PathMatchType::Exact => route.exact(&path.value),
            _ => route.prefix(&path.value),
        };
    }
    for header in &found.headers {
        let name = HeaderName::from_str(&header.name).ok()?;
        route = route.header(name, HeaderValue::from_str(&header.value).ok()?);
    }
    for parameter in &found.query_params {
        route = route.parameter(&parameter.name, &parameter.value);
    }
    if !found.method.is_empty() {
        route = route.method(Method::from_str(&found.method).ok()?);
    }
    Some(route)
}
