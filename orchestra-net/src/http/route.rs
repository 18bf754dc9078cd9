//! One rule: which requests, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Request};

use super::affinity::{HashPolicy, StickyCookie};
use super::hedge::Hedge;
use super::matching::{Hosts, Paths};
use super::mirror::Mirror;
use super::query;
use super::rewrite::{HeaderChanges, PathChange, Redirect, Rewrite};
use crate::error::NetError;
use crate::upstream::{Session, Upstream};

/// A rule: requests for this host, path, method and these headers go to these services.
///
/// What Kubernetes' Ingress and the Gateway API's HTTPRoute have in common. All that it says must fit; what it does not say
/// fits everything.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use orchestra_net::{PathChange, Route, Routes, Upstream};
///
/// // One request of ten goes to the new version, under another path.
/// let api = Route::to(Upstream::named("api"))
///     .host("*.shop.local")
///     .prefix("/api")
///     .weight(9)
///     .split(Upstream::named("api-canary"), 1)
///     .rewrite_path(PathChange::Prefix("/v1".to_owned()));
/// let routes = Routes::to(Upstream::named("frontend")).with(api);
/// # assert_eq!(routes.iter().count(), 2);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Route {
    pub(super) hosts: Hosts,
    pub(super) paths: Paths,
    method: Option<Method>,
    headers: Vec<(HeaderName, HeaderValue)>,
    parameters: Vec<(String, String)>,
    services: Vec<(Arc<Upstream>, u32)>,
    turn: Arc<AtomicU64>,
    pub(super) mirrors: Vec<Mirror>,
    redirect: Option<Redirect>,
    rewrite: Rewrite,
    pub(super) answers: HeaderChanges,
    pub(super) timeout: Option<Duration>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) hash_by: Option<HashPolicy>,
    pub(super) sticky: Option<StickyCookie>,
    pub(super) hedge: Option<Hedge>,
}

impl Route {
    /// Where every request goes to one of these, each with its share.
    pub(super) fn new(services: Vec<(Arc<Upstream>, u32)>) -> Self {
        Self {
            hosts: Hosts::Any,
            paths: Paths::Prefix(String::new()),
            method: None,
            headers: Vec::new(),
            parameters: Vec::new(),
            services,
            turn: Arc::default(),
            mirrors: Vec::new(),
            redirect: None,
            rewrite: Rewrite::default(),
            answers: HeaderChanges::default(),
            timeout: None,
            response_timeout: None,
            hash_by: None,
            sticky: None,
            hedge: None,
        }
    }

    /// Every request goes to this service, until more is said.
    #[must_use]
    pub fn to(upstream: Arc<Upstream>) -> Self {
        Self::new(vec![(upstream, 1)])
    }

    /// Every request is answered with this redirect, until more is said.
    #[must_use]
    pub fn redirect(redirect: Redirect) -> Self {
        Self { redirect: Some(redirect), ..Self::new(Vec::new()) }
    }

    /// Only requests for this host, without a port, in any case; `*.shop.local` has all hosts below `shop.local`; an empty
    /// one, every host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.hosts = Hosts::named(host);
        self
    }

    /// As [`host`](Self::host), but `*.shop.local` has only those one label below it: so Ingresses have it.
    pub(super) fn ingress_host(mut self, host: &str) -> Self {
        self.hosts = Hosts::named(host).one_label();
        self
    }

    /// Only paths that begin with this one, by whole segments: `/cart` is for `/cart` and `/cart/1`, not for `/carts`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.paths = Paths::Prefix(prefix.trim_end_matches('/').to_owned());
        self
    }

    /// Only this path.
    #[must_use]
    pub fn exact(mut self, path: &str) -> Self {
        self.paths = Paths::Exact(path.to_owned());
        self
    }

    /// Only this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests with this header. May be said again: then all must fit.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Only requests whose query has this parameter, as text that is not encoded. Of several of a name, the first counts.
    /// May be said again: then all must fit.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The share of the service that was named last, beside the others'; 0: none.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        if let Some((_, share)) = self.services.last_mut() {
            *share = weight;
        }
        self
    }

    /// Another service gets this share of the requests.
    #[must_use]
    pub fn split(mut self, upstream: Arc<Upstream>, weight: u32) -> Self {
        self.services.push((upstream, weight));
        self
    }

    /// Sends a copy of each request to this service, too, whose answers nobody sees; 256 at once, more are not made. May be said of
    /// several services.
    ///
    /// A body is copied as it passes to the real endpoint, whatever its length. Nobody waits for the mirror: one that falls behind by
    /// more than 1 MB, or by 64 MB with all of its copies, loses its copy. That breaks off then, as it does where the request itself
    /// breaks off or its endpoint answers without reading all of it, so that a mirror never takes a part of a body for the whole.
    #[must_use]
    pub fn mirror(self, upstream: Arc<Upstream>) -> Self {
        self.mirror_some(upstream, 1, 1)
    }

    /// The same of so many (`many`) of so many requests (`of`) alone, evenly.
    #[must_use]
    pub fn mirror_some(mut self, upstream: Arc<Upstream>, many: u32, of: u32) -> Self {
        self.mirrors.push(Mirror::new(upstream, (many, of)));
        self
    }

    /// The services are asked for another host.
    #[must_use]
    pub fn rewrite_host(mut self, host: HeaderValue) -> Self {
        self.rewrite.host = Some(host);
        self
    }

    /// The services are asked for another path.
    #[must_use]
    pub fn rewrite_path(mut self, path: PathChange) -> Self {
        self.rewrite.path = Some(path);
        self
    }

    /// Changes the headers of requests.
    #[must_use]
    pub fn request_headers(mut self, changes: HeaderChanges) -> Self {
        self.rewrite.headers = changes;
        self
    }

    /// Changes the headers of answers.
    #[must_use]
    pub fn answer_headers(mut self, changes: HeaderChanges) -> Self {
        self.answers = changes;
        self
    }

    /// How long a request may take in all until its answer begins, however often it is tried.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long an endpoint may be silent, instead of what
    /// [`UpstreamOptions::response_timeout`](crate::UpstreamOptions::response_timeout) says.
    #[must_use]
    pub fn response_timeout(mut self, response_timeout: Duration) -> Self {
        self.response_timeout = Some(response_timeout);
        self
    }

    /// What equal requests have in common, instead of what
    /// [`HttpOptions::hash_client_address`](super::HttpOptions::hash_client_address) says.
    #[must_use]
    pub fn hash_by(mut self, policy: HashPolicy) -> Self {
        self.hash_by = Some(policy);
        self
    }

    /// Requests of one session go to one endpoint, by a cookie that the proxy issues.
    #[must_use]
    pub fn sticky(mut self, cookie: StickyCookie) -> Self {
        self.sticky = Some(cookie);
        self
    }

    /// Has safe requests that take long sent to a second endpoint, too.
    #[must_use]
    pub fn hedge(mut self, hedge: Hedge) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// Whether this request is meant; `host` is the one it is for, without a port.
    pub(super) fn fits<B>(&self, request: &Request<B>, host: &str) -> bool {
        let has = |(name, value): &(HeaderName, HeaderValue)| {
            request.headers().get_all(name).iter().any(|found| found == value)
        };
        self.hosts.have(host)
            && self.paths.have(request.uri().path())
            && self.method.as_ref().is_none_or(|method| method == request.method())
            && self.headers.iter().all(has)
            && (self.parameters.is_empty() || query::has(request.uri().query(), &self.parameters))
    }

    /// Where it stands among others: the smallest counts.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let (headers, parameters) = (usize::MAX - self.headers.len(), usize::MAX - self.parameters.len());
        (self.hosts.rank(), self.paths.rank(), self.method.is_none(), headers, parameters)
    }

    /// Whether both are for the same requests.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.hosts, &self.paths, &self.method, &self.headers, &self.parameters)
            == (&other.hosts, &other.paths, &other.method, &other.headers, &other.parameters)
    }

    /// The service for the next request, each as often as its weight says; `None` where no service has one. A session stays with the
    /// service that it is with, and equal requests with one of them.
    pub(super) fn service(&self, session: Option<Session>, hash: Option<u64>) -> Option<&Arc<Upstream>> {
        if let [(only, 1..)] = &self.services[..] {
            return Some(only);
        }
        let mut shares = self.services.iter().filter(|(_, weight)| *weight > 0);
        if let Some(Session::Of(tag)) = session
            && let Some((service, _)) = shares.find(|(service, _)| service.has_session(tag))
        {
            return Some(service);
        }
        let total: u128 = self.services.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let turn = hash.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed));
        let mut place = part(turn, total);
        for (service, weight) in &self.services {
            match place.checked_sub(u128::from(*weight)) {
                Some(rest) => place = rest,
                None => return Some(service),
            }
        }
        None
    }

    /// Goes on where another rule for the same requests stands: with the turns of the services, if these and their shares are the same,
    /// and with those of its mirrors.
    pub(super) fn go_on_from(&self, before: &Self) {
        if self.shares().eq(before.shares()) {
            self.turn.store(before.turn.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (ours, theirs) in self.mirrors.iter().zip(&before.mirrors) {
            ours.go_on_from(theirs);
        }
    }

    /// Which services have which weights.
    fn shares(&self) -> impl Iterator<Item = (*const Upstream, u32)> {
        self.services.iter().map(|(service, weight)| (Arc::as_ptr(service), *weight))
    }

    /// Whether anything of it goes by turns.
    pub(super) fn has_turns(&self) -> bool {
        self.services.len() > 1 || !self.mirrors.is_empty()
    }

    /// All services that it leads to.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.services
            .iter()
            .map(|(service, _)| service)
            .chain(self.mirrors.iter().map(|mirror| &mirror.upstream))
    }

    /// Changes what it changes of a request.
    pub(super) fn change<B>(&self, request: &mut Request<B>) -> Result<(), NetError> {
        self.rewrite.apply(request, self.paths.length())
    }

    /// Where a request is redirected to, and with which status.
    pub(super) fn redirected<B>(
        &self,
        request: &Request<B>,
        scheme: &str,
    ) -> Option<Result<http::Response<()>, NetError>> {
        let redirect = self.redirect.as_ref()?;
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Some(redirect.answer(request.uri(), scheme, host, self.paths.length()))
    }
}

/// Which of so many parts is the next one's: multiples of the golden ratio lie evenly in any number of them.
pub(super) fn part(turn: u64, parts: u128) -> u128 {
    (u128::from(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * parts) >> 64
}
