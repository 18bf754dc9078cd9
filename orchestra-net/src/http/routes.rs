//! Which service a request is for.

use std::fmt;
use std::sync::Arc;

use http::Request;

use super::index::Index;
use super::route::Route;
use crate::upstream::Upstream;

/// Rules, of which the most exact one counts: one with a host before one for all below a name before one for all; an exact
/// path before a prefix, a longer prefix before a shorter one; then one with a method, one with more headers, and one with more parameters; among
/// equals the one that was added first.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use orchestra_net::{Routes, Upstream};
///
/// let routes = Routes::to(Upstream::named("frontend")).route("", "/api", Upstream::named("api"));
/// let request = http::Request::get("/api/items").body(()).unwrap();
/// let service = routes.find(&request).unwrap().services().next().unwrap();
/// assert_eq!(&**service.name(), "api");
/// # });
/// ```
///
/// A request is compared with the rules for its host and path alone, however many there are for others.
#[derive(Clone, Default)]
pub struct Routes {
    /// In the order of adding.
    rules: Vec<Arc<Route>>,
    index: Index,
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

    /// Adds a rule for a host and a prefix; an empty `host` is for every host. It replaces one for the same.
    #[must_use]
    pub fn route(self, host: &str, prefix: &str, upstream: Arc<Upstream>) -> Self {
        self.with(Route::to(upstream).host(host).prefix(prefix))
    }

    /// Adds a rule. It replaces one for the same requests.
    #[must_use]
    pub fn with(mut self, route: Route) -> Self {
        let place = self.index.place(&route.hosts, &route.paths);
        let before = place.len();
        place.retain(|other| !other.is_like(&route));
        if place.len() < before {
            self.rules.retain(|other| !other.is_like(&route));
        }
        self.add(route);
        self
    }

    /// Rules of which the first counts where several are for the same requests.
    pub(super) fn in_order(rules: impl Iterator<Item = Route>) -> Self {
        let mut routes = Self::new();
        rules.for_each(|route| routes.add(route));
        routes
    }

    fn add(&mut self, route: Route) {
        let route = Arc::new(route);
        let place = self.index.place(&route.hosts, &route.paths);
        // Behind its equals, so that the order among these is the order of adding.
        let behind = place.partition_point(|other| other.rank() <= route.rank());
        place.insert(behind, Arc::clone(&route));
        self.rules.push(route);
    }

    /// Has what goes by turns go on where the same rules before stand.
    pub(super) fn go_on_from(&self, before: &Self) {
        for route in self.rules.iter().filter(|route| route.has_turns()) {
            if let Some(before) = before.index.like(route) {
                route.go_on_from(before);
            }
        }
    }

    /// The rule that counts for a request.
    #[must_use]
    pub fn find<B>(&self, request: &Request<B>) -> Option<&Arc<Route>> {
        self.index.find(request)
    }

    /// The rules, the most exact first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        let mut rules: Vec<&Route> = self.rules.iter().map(|route| &**route).collect();
        rules.sort_by_key(|route| route.rank());
        rules.into_iter()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

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
            routes.find(&request).unwrap().service(None, None).unwrap().name().to_string()
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

    #[tokio::test]
    async fn all_that_a_rule_says_must_fit() {
        let [all, below, deep, exact, post, canary] =
            ["all", "below", "deep", "exact", "post", "canary"].map(Upstream::named);
        let header = (http::HeaderName::from_static("x-canary"), http::HeaderValue::from_static("yes"));
        let routes = Routes::to(all)
            .with(Route::to(below).host("*.Shop.local"))
            .with(Route::to(deep).host("*.eu.shop.local"))
            .with(Route::to(exact).exact("/cart"))
            .with(Route::to(post).prefix("/cart").method(http::Method::POST))
            .with(Route::to(canary).prefix("/cart").method(http::Method::POST).header(header.0, header.1));
        let find = |method: &str, host: &str, path: &str, canary: &str| {
            let request = Request::builder().method(method).uri(path).header(HOST, host);
            let request = request.header("x-canary", canary).body(()).unwrap();
            routes.find(&request).unwrap().service(None, None).unwrap().name().to_string()
        };
        assert_eq!(find("GET", "a.shop.local", "/cart", ""), "below", "the host counts first");
        assert_eq!(find("GET", "b.a.SHOP.local:80", "/", ""), "below");
        assert_eq!(find("GET", "a.eu.shop.local", "/", ""), "deep");
        for other in ["shop.local", ".shop.local", "ashop.local", "shop.local.x"] {
            assert_eq!(find("GET", other, "/", ""), "all", "{other}");
        }
        assert_eq!(find("POST", "x", "/cart", "yes"), "exact");
        assert_eq!(find("POST", "x", "/cart/1", ""), "post");
        assert_eq!(find("POST", "x", "/cart/1", "yes"), "canary");
        assert_eq!(find("GET", "x", "/cart/1", "yes"), "all");
    }

    #[tokio::test]
    async fn what_goes_by_turns_goes_on_where_the_same_rule_stood() {
        let [a, b, copy] = ["a", "b", "copy"].map(Upstream::named);
        let rules = |weight| {
            let route = Route::to(Arc::clone(&a)).split(Arc::clone(&b), weight);
            Routes::to(Arc::clone(&a)).with(route.host("shop").mirror_some(Arc::clone(&copy), 1, 2))
        };
        let (mut before, mut of_b, mut copied) = (Routes::new(), 0, 0);
        for _ in 0..101 {
            let routes = rules(1);
            routes.go_on_from(&before);
            let split = routes.iter().next().unwrap();
            of_b += usize::from(&**split.service(None, None).unwrap().name() == "b");
            copied += usize::from(split.mirrors[0].place().is_some());
            before = routes;
        }
        assert!((49..=52).contains(&of_b) && (49..=52).contains(&copied), "{of_b}, {copied}");
        // With other shares it begins anew, at the first service.
        let other = rules(1000);
        other.go_on_from(&before);
        assert_eq!(&**other.iter().next().unwrap().service(None, None).unwrap().name(), "a");
    }

    #[tokio::test]
    async fn shares_are_as_the_weights_say_and_lie_evenly() {
        let [a, b, none] = ["a", "b", "none"].map(Upstream::named);
        let route = Route::to(a).weight(9).split(b, 1).split(none, 0);
        let picked: Vec<_> =
            (0..1000).map(|_| route.service(None, None).unwrap().name().to_string()).collect();
        let of_b = |part: &[String]| part.iter().filter(|name| *name == "b").count();
        assert!((99..=101).contains(&of_b(&picked)), "{}", of_b(&picked));
        for part in picked.chunks(100) {
            assert!((8..=12).contains(&of_b(part)), "{}", of_b(part));
        }
        assert!(!picked.contains(&"none".to_owned()));
        assert!(Route::to(Upstream::named("x")).weight(0).service(None, None).is_none());
    }
}
