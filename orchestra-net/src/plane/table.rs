//! Services and the slices of their endpoints, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orchestra_core::engine::Tasks;
use orchestra_core::model::{EndpointSlice, Protocol, Service, ServicePort, Uid};
use tokio::sync::Notify;

use super::endpoints::{self, Slices};
use super::left::Left;
use super::listings::Listings;
use super::options::DataPlaneOptions;
use super::port::PortKey;
use super::served::{Listener, is_sticky, listeners};
use crate::discovery::Zone;
use crate::upstream::{Backend, Drained, ServicesStatus, Upstream};

/// Services and the slices of their endpoints, put together: an [`Upstream`] a service port, the cluster's names,
/// and the addresses to listen on. Each change touches only the service that it is about.
pub struct ServiceTable {
    options: DataPlaneOptions,
    zone: Zone,
    tasks: Tasks,
    inner: Mutex<Inner>,
    /// Which addresses are to be listened on may have changed.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Inner {
    services: BTreeMap<(String, String), Entry>,
    /// Those that are not there, but were asked for.
    vacant: BTreeSet<(String, String)>,
    /// With more of these than so many it is looked which of them nobody uses any more.
    most_vacant: usize,
    /// The service of each slice, since a slice that is gone doesn't say.
    owners: BTreeMap<(String, String), String>,
    pods: Listings,
    drained: Drained,
    left: Left,
}

#[derive(Default)]
struct Entry {
    service: Option<Arc<Service>>,
    slices: Slices,
    upstreams: BTreeMap<PortKey, Arc<Upstream>>,
}

impl ServiceTable {
    /// A table without services, whose tasks run in `tasks`.
    #[must_use]
    pub fn new(options: DataPlaneOptions, tasks: &Tasks) -> Self {
        let zone = Zone::new(&options.domain);
        Self { options, zone, tasks: tasks.clone(), inner: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster's names.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Adds or replaces a service.
    pub fn apply_service(&self, service: &Arc<Service>) {
        let key = (service.metadata.namespace.clone(), service.metadata.name.clone());
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.vacant.remove(&key);
        let entry = inner.services.entry(key.clone()).or_default();
        let old = entry.service.replace(Arc::clone(service));
        entry.renumber(old.as_ref().map_or(&[], |old| &old.spec.ports));
        entry.choose_options(&self.options);
        // Another balancer has learnt nothing yet.
        if old.is_none_or(|old| !self.options.same_balancer(&old, service)) {
            entry
                .upstreams
                .values()
                .for_each(|upstream| upstream.set_balancer(self.options.balancer(service)));
        }
        inner.left.add(self.refresh(&key, entry, &inner.drained));
        entry.forget_ports();
        self.changed.notify_one();
    }

    /// Removes a service. Its slices, where they are still there, wait for one of the same name.
    pub fn remove_service(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(entry) = inner.services.get_mut(&key) {
            entry.service = None;
            inner.left.add(self.refresh(&key, entry, &inner.drained));
            inner.forget(&key);
        }
        self.changed.notify_one();
    }

    /// Adds or replaces a slice. One without a service's name says nothing.
    pub fn apply_slice(&self, slice: &Arc<EndpointSlice>) {
        let (namespace, name) = (&slice.metadata.namespace, &slice.metadata.name);
        let slice_key = (namespace.clone(), name.clone());
        let mut inner = self.lock();
        let inner = &mut *inner;
        let owner = slice.service_name().map(ToOwned::to_owned);
        if inner.owners.get(&slice_key) != owner.as_ref() {
            self.take_slice(inner, &slice_key);
        }
        let Some(owner) = owner else { return };
        inner.owners.insert(slice_key.clone(), owner.clone());
        let key = (namespace.clone(), owner);
        inner.vacant.remove(&key);
        let entry = inner.services.entry(key.clone()).or_default();
        let old = entry.slices.insert(name.clone(), Arc::clone(slice));
        inner.pods.list(&slice_key, old.as_deref(), Some(slice), &mut inner.drained);
        inner.left.add(self.refresh(&key, entry, &inner.drained));
    }

    /// Removes a slice.
    pub fn remove_slice(&self, namespace: &str, name: &str) {
        self.take_slice(&mut self.lock(), &(namespace.to_owned(), name.to_owned()));
    }

    fn take_slice(&self, inner: &mut Inner, slice: &(String, String)) {
        let Some(owner) = inner.owners.remove(slice) else { return };
        let key = (slice.0.clone(), owner);
        if let Some(entry) = inner.services.get_mut(&key) {
            let old = entry.slices.remove(&slice.1);
            inner.pods.list(slice, old.as_deref(), None, &mut inner.drained);
            inner.left.add(self.refresh(&key, entry, &inner.drained));
            inner.forget(&key);
        }
    }

    /// The endpoints of a service's port. Of a service that is not there yet, too: it has none until it comes.
    #[must_use]
    pub fn upstream(&self, namespace: &str, service: &str, port: &PortKey) -> Arc<Upstream> {
        let key = (namespace.to_owned(), service.to_owned());
        let mut inner = self.lock();
        let inner = &mut *inner;
        let entry = inner.services.entry(key.clone()).or_default();
        // Several names of one port share its endpoints where that is known.
        let port = entry.port(port).map_or_else(|| port.clone(), PortKey::of);
        if let Some(upstream) = entry.upstreams.get(&port) {
            return Arc::clone(upstream);
        }
        let nothing_known = Service::default();
        let known = entry.service.as_deref().unwrap_or(&nothing_known);
        let name = format!("{namespace}/{service}{port}").into();
        let host = match port {
            PortKey::Number(port) | PortKey::Udp(port) => format!("{service}.{namespace}:{port}"),
            PortKey::First | PortKey::Name(_) => format!("{service}.{namespace}"),
        };
        let balancer = self.options.balancer(known);
        let upstream = Upstream::with_host(name, host.into(), balancer, self.options.upstream);
        upstream.tend(&self.tasks);
        entry.upstreams.insert(port, Arc::clone(&upstream));
        entry.choose_options(&self.options);
        inner.left.add(self.refresh(&key, entry, &inner.drained));
        if entry.is_vacant() {
            inner.vacant.insert(key);
            // After it has doubled, so that a look costs no more than what was asked for since the last one.
            if inner.vacant.len() > inner.most_vacant {
                inner.forget_unused();
            }
        }
        upstream
    }

    /// Drops what was asked for of services that are not there, where nobody uses it any more.
    pub(super) fn forget_unused(&self) {
        self.lock().forget_unused();
    }

    /// Takes a pod out of every service, for good, and returns its endpoints.
    pub(crate) fn begin_drain(&self, pod: &Uid) -> Vec<Arc<Backend>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let slices = inner.pods.slices(pod);
        inner.drained.insert(pod, !slices.is_empty());
        let owners =
            slices.iter().filter_map(|slice| Some((slice.0.clone(), inner.owners.get(slice)?.clone())));
        let mut leaving = inner.left.of(pod);
        for key in owners.collect::<BTreeSet<_>>() {
            let Some(entry) = inner.services.get(&key) else { continue };
            leaving.extend(entry.upstreams.values().flat_map(|upstream| upstream.begin_drain(pod)));
            inner.left.add(self.refresh(&key, entry, &inner.drained));
        }
        leaving
    }

    /// Takes a pod out of every service, for good, and returns when its last request has been answered.
    pub async fn drain(&self, pod: &Uid) {
        for backend in self.begin_drain(pod) {
            backend.quiet().await;
        }
    }

    /// The addresses to listen on, by the protocol there.
    #[must_use]
    pub fn listeners(&self) -> BTreeMap<(SocketAddr, Protocol), Listener> {
        let inner = self.lock();
        let services = inner.services.values().filter_map(|entry| entry.service.as_deref());
        services.flat_map(listeners).collect()
    }

    /// Every service's endpoints, by namespace, service and port.
    #[must_use]
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.lock().services.values().flat_map(|entry| entry.upstreams.values().cloned()).collect()
    }

    /// Every service's endpoints and how they are, to be shown: of the ports that something here leads to.
    #[must_use]
    pub fn describe(&self) -> ServicesStatus {
        ServicesStatus::of(&self.upstreams())
    }

    /// Makes names and endpoints be what is known of a service. Returns the endpoints that go and still answer something.
    fn refresh(&self, key: &(String, String), entry: &Entry, drained: &Drained) -> Vec<Arc<Backend>> {
        let (namespace, name) = (&key.0, &key.1);
        match &entry.service {
            Some(service) => {
                self.zone.set(namespace, name, endpoints::record(service, &entry.slices, drained))
            }
            None => self.zone.remove(namespace, name),
        }
        let replaced = entry.upstreams.iter().map(|(port, upstream)| {
            let port = entry.port(port);
            upstream
                .replace(port.map(|port| endpoints::ready(&entry.slices, port, drained)).unwrap_or_default())
        });
        replaced.flatten().collect()
    }
}

impl Entry {
    fn is_vacant(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    /// Whether anybody else has one of its upstreams.
    fn is_used(&self) -> bool {
        self.upstreams.values().any(|upstream| Arc::strong_count(upstream) > 1)
    }

    /// Has requests be treated as the service asks for.
    fn choose_options(&self, options: &DataPlaneOptions) {
        let Some(service) = &self.service else { return };
        let sticky = is_sticky(service);
        for (key, upstream) in &self.upstreams {
            upstream.set_hash_client_address(sticky);
            if let Some(port) = self.port(key) {
                let chosen = options.upstream_of(service, endpoints::speaks_http2(port));
                if **upstream.options() != chosen {
                    upstream.set_options(chosen);
                }
            }
        }
    }

    fn port(&self, key: &PortKey) -> Option<&ServicePort> {
        key.find(&self.service.as_ref()?.spec.ports)
    }

    /// A port that keeps its name and gets another number keeps its endpoints, for whoever has them, unless these numbers are those of
    /// others.
    fn renumber(&mut self, old: &[ServicePort]) {
        for was in old {
            let Some(service) = &self.service else { return };
            let keeps = |port: &&ServicePort| (&port.name, port.protocol) == (&was.name, was.protocol);
            let Some(is) = service.spec.ports.iter().find(keeps) else { continue };
            let [from, to] = [was, is].map(PortKey::of);
            if self.port(&from).is_none()
                && !self.upstreams.contains_key(&to)
                && let Some(upstream) = self.upstreams.remove(&from)
            {
                self.upstreams.insert(to, upstream);
            }
        }
    }

    /// Drops the endpoints, of which there are none, of ports that the service does not have, where nobody uses them.
    fn forget_ports(&mut self) {
        let Self { service: Some(service), upstreams, .. } = self else { return };
        let is_known = |key: &PortKey| key.find(&service.spec.ports).is_some();
        upstreams.retain(|key, upstream| is_known(key) || Arc::strong_count(upstream) > 1);
    }
}

impl Inner {
    /// Drops what is known of a service of which nothing is left. Whoever still has one of its upstreams keeps
    /// the entry: a service of that name that comes later gets on with it.
    fn forget(&mut self, key: &(String, String)) {
        let Some(entry) = self.services.get(key).filter(|entry| entry.is_vacant()) else { return };
        if entry.is_used() {
            self.vacant.insert(key.clone());
        } else {
            self.services.remove(key);
        }
    }

    fn forget_unused(&mut self) {
        let services = &mut self.services;
        self.vacant.retain(|key| {
            let used = services.get(key).is_some_and(Entry::is_used);
            if !used {
                services.remove(key);
            }
            used
        });
        self.most_vacant = 2 * self.vacant.len();
    }
}

impl fmt::Debug for ServiceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTable").field("upstreams", &self.upstreams()).finish_non_exhaustive()
    }
}
