//! How a cluster's services are served.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use orchestra_core::balance::{
    ConsistentHash, LeastRequests, LoadBalancer, Maglev, MaglevOptions, PeakEwma, PeakEwmaOptions,
    RoundRobin, ZoneAware, ZoneOptions,
};
use orchestra_core::model::{Object, ObjectMeta, Service, SessionAffinity};

use crate::http::HttpOptions;
use crate::tcp::TcpOptions;
use crate::udp::UdpOptions;
use crate::upstream::UpstreamOptions;

/// The annotation by which a Service chooses how its endpoints are picked: `peak-ewma` (the default),
/// `least-requests`, `round-robin`, `consistent-hash` or `maglev`.
pub const BALANCER_ANNOTATION: &str = "orchestra.dev/load-balancer";

/// What `kubectl apply` notes of the whole manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

type MakeBalancer = Arc<dyn Fn(&Service) -> Box<dyn LoadBalancer> + Send + Sync>;

type ChooseUpstream = Arc<dyn Fn(&Service) -> UpstreamOptions + Send + Sync>;

/// What makes the balancers.
#[derive(Clone)]
enum Balancers {
    /// What the Service says.
    Named { seed: u64 },
    /// The application.
    Made(MakeBalancer),
}

/// How a cluster's services are served.
#[derive(Clone)]
#[non_exhaustive]
pub struct DataPlaneOptions {
    /// How requests to endpoints are treated. To ports whose `appProtocol` is `kubernetes.io/h2c` HTTP/2 is spoken, whatever this says.
    pub upstream: UpstreamOptions,
    /// How the clients of HTTP services are treated.
    pub http: HttpOptions,
    /// How the clients of other services are treated.
    pub tcp: TcpOptions,
    /// How the clients of ports of UDP are treated.
    pub udp: UdpOptions,
    /// Whether each Service's address is listened on. Without it services are reached by
    /// [`DataPlane::client`](super::DataPlane::client) and by proxies that are bound by hand.
    pub listen: bool,
    /// The /16 that services have their addresses of: 127.0.0.0, which programs of this host reach, otherwise. Any
    /// other network must lead to this host.
    pub service_network: Ipv4Addr,
    /// The zone that this host is in, as nodes name theirs by the label `topology.kubernetes.io/zone`: endpoints on nodes of the same
    /// zone come first, and others get requests as far as those can't take them ([`ZoneAware`]). Empty: all are alike.
    pub zone: String,
    /// The domain of the cluster's names.
    pub domain: String,
    balancers: Balancers,
    upstreams: Option<ChooseUpstream>,
}

impl Default for DataPlaneOptions {
    fn default() -> Self {
        Self {
            upstream: UpstreamOptions::default(),
            // The clients are pods, and proxies of ours before them.
            http: HttpOptions::default().with_trust_forwarded(true),
            tcp: TcpOptions::default(),
            udp: UdpOptions::default(),
            listen: true,
            service_network: Ipv4Addr::new(127, 0, 0, 0),
            zone: String::new(),
            domain: "cluster.local".to_owned(),
            balancers: Balancers::Named { seed: 0 },
            upstreams: None,
        }
    }
}

impl DataPlaneOptions {
    /// Sets [`upstream`](Self::upstream).
    #[must_use]
    pub fn with_upstream(self, upstream: UpstreamOptions) -> Self {
        Self { upstream, ..self }
    }

    /// Chooses how requests to each Service's endpoints are treated, instead of [`upstream`](Self::upstream). It is asked again when the
    /// Service changes, and what it says then holds for all later requests. To ports whose `appProtocol` is `kubernetes.io/h2c`
    /// HTTP/2 is spoken, whatever it says.
    #[must_use]
    pub fn with_upstream_of(
        self,
        choose: impl Fn(&Service) -> UpstreamOptions + Send + Sync + 'static,
    ) -> Self {
        Self { upstreams: Some(Arc::new(choose)), ..self }
    }

    /// Sets [`http`](Self::http).
    #[must_use]
    pub fn with_http(self, http: HttpOptions) -> Self {
        Self { http, ..self }
    }

    /// Sets [`tcp`](Self::tcp).
    #[must_use]
    pub fn with_tcp(self, tcp: TcpOptions) -> Self {
        Self { tcp, ..self }
    }

    /// Sets [`udp`](Self::udp).
    #[must_use]
    pub fn with_udp(self, udp: UdpOptions) -> Self {
        Self { udp, ..self }
    }

    /// Sets [`listen`](Self::listen).
    #[must_use]
    pub fn with_listen(self, listen: bool) -> Self {
        Self { listen, ..self }
    }

    /// Sets [`service_network`](Self::service_network).
    #[must_use]
    pub fn with_service_network(self, service_network: Ipv4Addr) -> Self {
        Self { service_network, ..self }
    }

    /// Sets [`zone`](Self::zone).
    #[must_use]
    pub fn with_zone(self, zone: impl Into<String>) -> Self {
        Self { zone: zone.into(), ..self }
    }

    /// Sets [`domain`](Self::domain).
    #[must_use]
    pub fn with_domain(self, domain: impl Into<String>) -> Self {
        Self { domain: domain.into(), ..self }
    }

    /// Seeds the choices of the balancers.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { balancers: Balancers::Named { seed }, ..self }
    }

    /// Makes the balancer of each Service: instead of what [`BALANCER_ANNOTATION`] says. It is made anew, and what the one before had
    /// learnt is lost, when the Service's session affinity, labels or annotations change, but for kubectl's own annotation.
    #[must_use]
    pub fn with_balancer(
        self,
        balancer: impl Fn(&Service) -> Box<dyn LoadBalancer> + Send + Sync + 'static,
    ) -> Self {
        Self { balancers: Balancers::Made(Arc::new(balancer)), ..self }
    }

    /// How requests to endpoints of this Service are treated; `http2`: whether they are known to speak it.
    pub(super) fn upstream_of(&self, service: &Service, http2: bool) -> UpstreamOptions {
        let chosen = self.upstreams.as_ref().map_or(self.upstream, |choose| choose(service));
        chosen.with_http2(chosen.http2 || http2)
    }

    /// What picks the endpoints of this Service.
    pub(super) fn balancer(&self, service: &Service) -> Box<dyn LoadBalancer> {
        let make = || match &self.balancers {
            Balancers::Named { seed } => named(service, *seed),
            Balancers::Made(make) => make(service),
        };
        match self.zone.as_str() {
            "" => make(),
            zone => Box::new(ZoneAware::new(zone, ZoneOptions::default(), make)),
        }
    }

    /// Whether the same balancer picks the endpoints of a Service before and after a change.
    pub(super) fn same_balancer(&self, old: &Service, new: &Service) -> bool {
        let (before, after) = (&old.metadata, &new.metadata);
        let same = match &self.balancers {
            Balancers::Named { .. } => {
                before.annotations.value(BALANCER_ANNOTATION) == after.annotations.value(BALANCER_ANNOTATION)
            }
            // It may look at any of them.
            Balancers::Made(_) => before.labels == after.labels && told(before).eq(told(after)),
        };
        same && old.spec.session_affinity == new.spec.session_affinity
    }
}

impl fmt::Debug for DataPlaneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlaneOptions")
            .field("upstream", &self.upstream)
            .field("listen", &self.listen)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// The annotations that say anything of their own.
fn told(metadata: &ObjectMeta) -> impl Iterator<Item = (&String, &String)> {
    metadata.annotations.iter().filter(|(key, _)| key.as_str() != LAST_APPLIED)
}

fn named(service: &Service, seed: u64) -> Box<dyn LoadBalancer> {
    let peak_ewma = || Box::new(PeakEwma::new(PeakEwmaOptions::default().with_seed(seed)));
    if service.spec.session_affinity == SessionAffinity::ClientIP {
        return Box::new(ConsistentHash::new(seed));
    }
    match service.meta().annotations.value(BALANCER_ANNOTATION) {
        None | Some("peak-ewma") => peak_ewma(),
        Some("least-requests") => Box::new(LeastRequests::new()),
        Some("round-robin") => Box::new(RoundRobin::new()),
        Some("consistent-hash") => Box::new(ConsistentHash::new(seed)),
        Some("maglev") => Box::new(Maglev::new(MaglevOptions::default().with_seed(seed))),
        Some(other) => {
            tracing::warn!(
                service = %service.metadata.name,
                "annotation {BALANCER_ANNOTATION}: there is no balancer {other}; peak-ewma is used. There are \
                 peak-ewma, least-requests, round-robin, consistent-hash and maglev"
            );
            peak_ewma()
        }
    }
}
