//! Rules by their hosts and paths, so that a request is compared with few of them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use http::header::HOST;

use super::matching::{Hosts, Paths};
use super::route::Route;

/// Rules in the order in which they count: those of a host, those of the longest name that it is below, and so on, those of
/// all hosts. It finds the rules that may fit; whether one does, the rule itself says.
#[derive(Clone, Default)]
pub(super) struct Index {
    hosts: HashMap<String, ByPath>,
    names: Longest<ByPath>,
    any: ByPath,
}

impl Index {
    /// Rules for the same hosts and paths, the most exact first.
    pub(super) fn place(&mut self, hosts: &Hosts, paths: &Paths) -> &mut Vec<Arc<Route>> {
        let by_path = match hosts {
            Hosts::One(host) => self.hosts.entry(host.clone()).or_default(),
            Hosts::Below(name) | Hosts::OneBelow(name) => self.names.at(name),
            Hosts::Any => &mut self.any,
        };
        match paths {
            Paths::Exact(path) => by_path.exact.entry(path.clone()).or_default(),
            Paths::Prefix(prefix) if prefix.is_empty() => &mut by_path.all,
            Paths::Prefix(prefix) => by_path.prefixes.at(prefix),
        }
    }

    /// The rule for the same requests as this one.
    pub(super) fn like(&self, route: &Route) -> Option<&Arc<Route>> {
        let by_path = match &route.hosts {
            Hosts::One(host) => self.hosts.get(host),
            Hosts::Below(name) | Hosts::OneBelow(name) => self.names.values.get(name),
            Hosts::Any => Some(&self.any),
        }?;
        let rules = match &route.paths {
            Paths::Exact(path) => by_path.exact.get(path),
            Paths::Prefix(prefix) if prefix.is_empty() => Some(&by_path.all),
            Paths::Prefix(prefix) => by_path.prefixes.values.get(prefix),
        };
        rules?.iter().find(|other| other.is_like(route))
    }

    /// The rule that counts for a request.
    pub(super) fn find<B>(&self, request: &Request<B>) -> Option<&Arc<Route>> {
        if self.hosts.is_empty() && self.names.values.is_empty() {
            return self.any.find(request, "");
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = &*lowercase(without_port(host.unwrap_or_default()));
        let below = |length: usize| host.get(host.len().checked_sub(length + 1)?..)?.strip_prefix('.');
        let of_host = self.hosts.get(host).and_then(|rules| rules.find(request, host));
        let of_name = || self.names.longest_first(below).find_map(|rules| rules.find(request, host));
        of_host.or_else(of_name).or_else(|| self.any.find(request, host))
    }
}

/// The rules of one host, of those below a name, or of all.
#[derive(Clone, Default)]
struct ByPath {
    exact: HashMap<String, Vec<Arc<Route>>>,
    prefixes: Longest<Vec<Arc<Route>>>,
    /// Those for all paths: nothing is looked up for them.
    all: Vec<Arc<Route>>,
}

impl ByPath {
    fn find<B>(&self, request: &Request<B>, host: &str) -> Option<&Arc<Route>> {
        let path = request.uri().path();
        let prefix = |length: usize| {
            let (prefix, rest) = path.split_at_checked(length)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(prefix)
        };
        let fits = |route: &&Arc<Route>| route.fits(request, host);
        let exact = self.exact.get(path).and_then(|rules| rules.iter().find(fits));
        let by_prefix = || self.prefixes.longest_first(prefix).flatten().find(fits);
        exact.or_else(by_prefix).or_else(|| self.all.iter().find(fits))
    }
}

/// Values by texts, of which the longest one counts.
#[derive(Clone)]
struct Longest<T> {
    values: HashMap<String, T>,
    /// How long the texts are, the longest first: of a request no other part is looked up.
    lengths: Vec<usize>,
}

impl<T> Default for Longest<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), lengths: Vec::new() }
    }
}

impl<T: Default> Longest<T> {
    fn at(&mut self, text: &str) -> &mut T {
        let place = self.lengths.binary_search_by_key(&Reverse(text.len()), |length| Reverse(*length));
        if let Err(place) = place {
            self.lengths.insert(place, text.len());
        }
        self.values.entry(text.to_owned()).or_default()
    }

    /// Those of the texts that `part` says for their lengths.
    fn longest_first<'t>(&self, part: impl Fn(usize) -> Option<&'t str>) -> impl Iterator<Item = &T> {
        self.lengths.iter().filter_map(move |length| self.values.get(part(*length)?))
    }
}

/// Hosts are nearly always written so: then nothing is made.
fn lowercase(host: &str) -> Cow<'_, str> {
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

fn without_port(host: &str) -> &str {
    let port = host.bytes().rev().take_while(u8::is_ascii_digit).count();
    match host[..host.len() - port].strip_suffix(':') {
        Some(name) if !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::http::Routes;
    use crate::upstream::Upstream;

    /// Few names, so that they meet.
    const HOSTS: [&str; 9] = ["", "a", "B.a", "c.b.a", "*.a", "*.b.a", "*.", "a.", "*.c.b.a"];
    const ASKED: [&str; 11] =
        ["", "a", "A:80", "b.A", "c.b.a:1", "d.c.b.a", ".a", ".b.a", "a.", "xb.a", "[::1]:80"];
    const PATHS: [&str; 10] = ["", "/", "/x", "/x/", "/x/y", "/x/y/z", "/xy", "//x", "/ä/x", "x"];
    const SENT: [&str; 11] =
        ["/", "/x", "/x/", "/x/y", "/x/y/z/w", "/xy", "/xyz", "//x", "/x//y", "/%C3%A4/x", "*"];
    const METHODS: [Method; 2] = [Method::GET, Method::POST];

    prop_compose! {
        fn rule()(
            (host, one_label) in (select(&HOSTS[..]), any::<bool>()),
            (path, exact) in (select(&PATHS[..]), any::<bool>()),
            method in proptest::option::of(select(&METHODS[..])),
            (headers, parameters) in (0_usize..3, 0_usize..3),
            service in 0_u8..4,
        ) -> Route {
            let route = Route::to(Upstream::named(service.to_string()));
            let route = if one_label { route.ingress_host(host) } else { route.host(host) };
            let route = if exact { route.exact(path) } else { route.prefix(path) };
            let route = method.into_iter().fold(route, Route::method);
            let of = |name| HeaderName::from_static(name);
            let said = [(of("h0"), "0"), (of("h1"), "1")].into_iter().take(headers);
            let route = said.fold(route, |route, (name, value)| route.header(name, HeaderValue::from_static(value)));
            ["p0", "p1"].into_iter().take(parameters).fold(route, |route, name| route.parameter(name, "1"))
        }
    }

    prop_compose! {
        fn request()(
            host in select(&ASKED[..]), path in select(&SENT[..]), method in select(&METHODS[..]),
            headers in 0_usize..3, query in select(&["", "?p0=1", "?p0=1&p1=1"][..]),
        ) -> Request<()> {
            let uri = if path == "*" { path.to_owned() } else { format!("{path}{query}") };
            let request = Request::builder().method(method).uri(uri).header(HOST, host);
            let said = [("h0", "0"), ("h1", "1")].into_iter().take(headers);
            said.fold(request, |request, (name, value)| request.header(name, value)).body(()).unwrap()
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_look_at_every_rule_finds(
            rules in proptest::collection::vec(rule(), 0..40),
            requests in proptest::collection::vec(request(), 20),
        ) {
            let first_counts = Routes::in_order(rules.iter().cloned());
            let last_counts = rules.iter().cloned().fold(Routes::new(), Routes::with);
            for routes in [first_counts, last_counts] {
                let every: Vec<&Route> = routes.iter().collect();
                assert!(every.is_sorted_by_key(|route| route.rank()));
                for request in &requests {
                    let host = request.headers()[HOST].to_str().unwrap();
                    let expected = every.iter().find(|route| route.fits(request, without_port(host)));
                    let found = routes.find(request);
                    prop_assert!(
                        expected.map(|route| std::ptr::from_ref(*route)) == found.map(Arc::as_ptr),
                        "{request:?}: {found:?} in place of {expected:?}"
                    );
                }
            }
        }
    }
}
