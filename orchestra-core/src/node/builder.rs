//! Configuring and starting an agent.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::agent::{NodeAgent, Shared};
use super::probe::Prober;
use super::routes::Routes;
use super::spec::Dns;
use super::volumes::{HostVolumes, NoVolumes, VolumeFiles};
use crate::client::Client;
use crate::clock::SharedClock;
use crate::drain::Gates;
use crate::engine::{Caches, Recorder, Tasks};
use crate::model::{Labels, Quantity, ResourceList, Taint};
use crate::rng::Rng;
use crate::runtime::Runtime;

/// How often an agent renews its node's lease: Kubernetes' 10 s.
const DEFAULT_LEASE_PERIOD: Duration = Duration::from_secs(10);

/// How long balancers may take to let go of a pod.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often everything in the runtime is compared with what the agent knows: a net under lost events. One list of a hundred
/// pods a minute costs next to nothing, and a minute is how long an end that nobody told of may go unseen.
const DEFAULT_RESYNC: Duration = Duration::from_secs(60);

/// How many pods a node takes unless told otherwise: Kubernetes' 110.
const DEFAULT_MAX_PODS: i64 = 110;

/// How an agent works, beside whom it talks to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The node's capacity; what the runtime says of its host where empty.
    pub capacity: ResourceList,
    /// How many pods the node takes.
    pub max_pods: Quantity,
    /// Labels of the Node object, beside host name, system and architecture.
    pub labels: Labels,
    /// Taints of the Node object when it is first created.
    pub taints: Vec<Taint>,
    /// The node's own address: `status.hostIP` of its pods.
    pub address: Option<IpAddr>,
    /// How often the lease is renewed. Whoever judges silent nodes should wait at least four periods.
    pub lease_period: Duration,
    /// How long balancers may take to let go of a pod before its containers are stopped all the same.
    pub drain_timeout: Duration,
    /// How often the runtime is listed without a cause while it has up to a hundred pods; with more it is the less often, so
    /// that lists take no more of the time.
    pub resync: Duration,
    pub(crate) dns: Dns,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            capacity: ResourceList::new(),
            max_pods: Quantity::from_units(DEFAULT_MAX_PODS),
            labels: Labels::new(),
            taints: Vec::new(),
            address: None,
            lease_period: DEFAULT_LEASE_PERIOD,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            resync: DEFAULT_RESYNC,
            dns: Dns { servers: Vec::new(), domain: "cluster.local".to_owned() },
        }
    }
}

/// Configures a [`NodeAgent`]. Every setter replaces a working default.
#[derive(Debug)]
#[must_use = "nothing runs before it is started"]
pub struct NodeAgentBuilder {
    pub(super) node: Arc<str>,
    pub(super) client: Client,
    pub(super) caches: Caches,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) volumes: Arc<dyn VolumeFiles>,
    pub(super) gates: Gates,
    pub(super) recorder: Recorder,
    pub(super) clock: SharedClock,
    pub(super) rng: Rng,
    pub(super) tasks: Tasks,
    pub(super) options: NodeOptions,
    prober: Option<Arc<dyn Prober>>,
    routes: Option<Routes>,
}

impl NodeAgentBuilder {
    pub(super) fn new(node: Arc<str>, client: &Client, caches: &Caches, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            node,
            client: client.clone(),
            caches: caches.clone(),
            runtime,
            volumes: Arc::new(NoVolumes),
            gates: Gates::new(),
            recorder: Recorder::disabled(),
            clock: Arc::clone(client.clock()),
            rng: client.rng().fork(),
            tasks: Tasks::new(),
            options: NodeOptions::default(),
            prober: None,
            routes: None,
        }
    }

    /// Sets how the agent works.
    pub fn options(mut self, options: NodeOptions) -> Self {
        self.options = options;
        self
    }

    /// Changes how the agent works.
    pub fn with_options(mut self, change: impl FnOnce(&mut NodeOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Sets the directory for volumes. Without one, pods that need volumes are not started.
    pub fn root(self, path: impl Into<PathBuf>) -> Self {
        self.volumes(Arc::new(HostVolumes::new(path)))
    }

    /// Sets where volumes are kept, instead of [`root`](Self::root).
    pub fn volumes(mut self, volumes: Arc<dyn VolumeFiles>) -> Self {
        self.volumes = volumes;
        self
    }

    /// Sets the balancers that must let go of a pod before it is stopped.
    pub fn gates(mut self, gates: &Gates) -> Self {
        self.gates = gates.clone();
        self
    }

    /// Sets who is told of what happens to pods. Without one nobody is.
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.recorder = recorder.component("node-agent");
        self
    }

    /// Sets the clock that stamps; the client's otherwise.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of jitter; one that follows from the client's otherwise.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = rng;
        self
    }

    /// Makes the agent end with `tasks`, at the latest.
    pub fn tasks(mut self, tasks: &Tasks) -> Self {
        self.tasks = tasks.child();
        self
    }

    /// Sets who puts the questions of network probes.
    pub fn prober(mut self, prober: Arc<dyn Prober>) -> Self {
        self.prober = Some(prober);
        self
    }

    /// Shares the routing of changes with other agents of the process.
    pub fn routes(mut self, routes: &Routes) -> Self {
        self.routes = Some(routes.clone());
        self
    }

    /// Sets the name servers of pods whose `dnsPolicy` asks for the cluster's, and the domain they search in.
    pub fn dns(mut self, servers: Vec<SocketAddr>, domain: impl Into<String>) -> Self {
        self.options.dns = Dns { servers, domain: domain.into() };
        self
    }

    /// Starts the agent. To be called inside a tokio runtime. It registers its node, adopts what runs there, and
    /// removes what runs there and should not; [`ready`](super::NodeHandle::ready) tells when that is done.
    #[must_use]
    pub fn start(mut self) -> NodeAgent {
        let routes = self.routes.take().unwrap_or_else(|| Routes::new(&self.caches));
        let prober = self.prober.take().unwrap_or_else(default_prober);
        NodeAgent::start(Shared::new(self, routes, prober))
    }
}

#[cfg(feature = "http-probes")]
fn default_prober() -> Arc<dyn Prober> {
    Arc::new(super::probe::NetworkProber)
}

#[cfg(not(feature = "http-probes"))]
fn default_prober() -> Arc<dyn Prober> {
    Arc::new(super::probe::NoProber)
}
