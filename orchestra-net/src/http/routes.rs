//! Which service a request is for.

use std::sync::Arc;

use http::Request;
use http::header::HOST;

use crate::upstream::Upstream;

/// A rule: requests for this host whose path begins with this prefix go to this service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Route {
    /// The host, without a port, in lower case; empty for every host.
    pub host: String,
    /// The path's beginning, by whole segments: `/cart` is for `/cart` and `/cart/1`, not for `/carts`.
    pub prefix: String,
    /// Where such requests go.
    pub upstream: Arc<Upstream>,
}

/// Rules, of which the most exact one counts: one with a host before one without, a longer prefix before a
/// shorter one.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use orchestra_net::{Routes, Upstream};
///
/// let routes = Routes::to(Upstream::named("frontend")).route("", "/api", Upstream::named("api"));
/// let request = http::Request::get("/api/items").body(()).unwrap();
/// assert_eq!(&**routes.find(&request).unwrap().name(), "api");
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The most exact first.
    routes: Vec<Route>,
}

impl Routes {
    /// No rules: every request is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every request goes to this service.
    #[must_use]
    pub fn to(upstream: Arc<Upstream>) -> Self {
        Self::new().route("", "/", upstream)
    }

    /// Adds a rule; an empty `host` is for every host. It replaces one for the same host and prefix.
    #[must_use]
    pub fn route(mut self, host: &str, prefix: &str, upstream: Arc<Upstream>) -> Self {
        let (host, prefix) = (host.to_ascii_lowercase(), prefix.trim_end_matches('/').to_owned());
        self.routes.retain(|route| (&route.host, &route.prefix) != (&host, &prefix));
        self.routes.push(Route { host, prefix, upstream });
        // Stable, so that the order among equals is the order of adding.
        self.routes.sort_by_key(|route| (route.host.is_empty(), std::cmp::Reverse(route.prefix.len())));
        self
    }

    /// The service that a request is for.
    #[must_use]
    pub fn find<B>(&self, request: &Request<B>) -> Option<&Arc<Upstream>> {
        let host = || {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
            without_port(host.unwrap_or_default())
        };
        let path = request.uri().path();
        let fits = |route: &&Route| {
            (route.host.is_empty() || host().eq_ignore_ascii_case(&route.host)) && begins(path, &route.prefix)
        };
        self.routes.iter().find(fits).map(|route| &route.upstream)
    }

    /// The rules, the most exact first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_most_exact_rule_counts() {
        let routes = ["all", "api", "deep", "host", "host-api"].map(Upstream::named);
        let [all, api, deep, host, host_api] = routes;
        let routes = Routes::to(all)
            .route("Shop.Local", "/", host)
            .route("", "/api", api)
            .route("", "/api/v1/", deep)
            .route("shop.local", "/api", host_api);
        let find = |host: &str, path: &str| {
            let request = Request::get(path).header(HOST, host).body(()).unwrap();
            routes.find(&request).unwrap().name().to_string()
        };
        assert_eq!(find("x", "/"), "all");
        assert_eq!(find("x", "/apis"), "all");
        assert_eq!(find("x", "/api?q"), "api");
        assert_eq!(find("x", "/api/v1"), "deep");
        assert_eq!(find("shop.local:8080", "/x"), "host");
        assert_eq!(find("SHOP.local", "/api/v1"), "host-api");
        assert_eq!(find("[::1]:80", "/"), "all");
        let one = Routes::new().route("", "/api", Upstream::named("api"));
        assert!(one.find(&Request::get("/x").body(()).unwrap()).is_none());
    }
}
