//! Putting a cluster together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
#[cfg(feature = "dns")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::autoscale::{Autoscaler, HorizontalAutoscaler};
use orchestra_core::client::{Admission, Client};
use orchestra_core::clock::{SharedClock, SystemClock};
use orchestra_core::controller::{
    self, AutoscalerOptions, ControlPlaneOptions, MetricsBoard, NodeLifecycleOptions, Rollouts, Scaling,
    Schedulers, bootstrap,
};
use orchestra_core::drain::Gates;
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::model::{KindInfo, Resource, Revision, Scheme};
use orchestra_core::rng::Rng;
use orchestra_core::rollout::Rollout;
use orchestra_core::scheduler::{Pipeline, Scheduler};
use orchestra_core::store::{LogStore, LogStoreOptions, MemoryStore, Scope, Store, StoreError};
use tokio::sync::Mutex;

use super::nodes::Nodes;
use super::{BuildError, Cluster, NodeOptions};

/// The name of the scheduler that pods get which ask for none.
const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Configures a [`Cluster`]. Every setter replaces or adds to a working default; nothing runs before
/// [`start`](Self::start).
#[must_use = "nothing runs before it is started"]
pub struct ClusterBuilder {
    store: StoreChoice,
    scheme: Scheme,
    clock: SharedClock,
    seed: Option<u64>,
    nodes: Vec<NodeOptions>,
    schedulers: Schedulers,
    rollouts: Rollouts,
    autoscaler: Arc<dyn Autoscaler>,
    autoscale_every: Duration,
    metrics: MetricsBoard,
    admission: Vec<Arc<dyn Admission>>,
    node_lifecycle: NodeLifecycleOptions,
    #[cfg(feature = "net")]
    data_plane: orchestra_net::DataPlaneOptions,
    #[cfg(feature = "dns")]
    dns: Option<SocketAddr>,
    #[cfg(feature = "dns")]
    dns_options: orchestra_net::DnsOptions,
}

enum StoreChoice {
    /// A memory store that nobody else has.
    Own,
    Given(Arc<dyn Store>),
    Dir(PathBuf),
}

impl StoreChoice {
    async fn open(self, scheme: &Scheme) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Own => Ok(Arc::new(MemoryStore::new())),
            Self::Given(store) => Ok(store),
            Self::Dir(dir) => open(dir, scheme).await,
        }
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl ClusterBuilder {
    pub(super) fn new() -> Self {
        let mut schedulers = Schedulers::new();
        schedulers.insert(DEFAULT_SCHEDULER.to_owned(), Box::new(Pipeline::kubernetes()));
        Self {
            store: StoreChoice::Own,
            scheme: Scheme::kubernetes(),
            clock: Arc::new(SystemClock),
            seed: None,
            nodes: Vec::new(),
            schedulers,
            rollouts: Rollouts::default(),
            autoscaler: Arc::new(HorizontalAutoscaler),
            autoscale_every: AutoscalerOptions::default().period,
            metrics: MetricsBoard::new(),
            admission: Vec::new(),
            node_lifecycle: NodeLifecycleOptions::default(),
            #[cfg(feature = "net")]
            data_plane: orchestra_net::DataPlaneOptions::default(),
            #[cfg(feature = "dns")]
            dns: None,
            #[cfg(feature = "dns")]
            dns_options: orchestra_net::DnsOptions::default(),
        }
    }

    /// Keeps the objects in `store`; in a memory store of the cluster's own otherwise. It may outlive the cluster, so the
    /// pods do, too, where the cluster is dropped and not [stopped](Cluster::stop).
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = StoreChoice::Given(Arc::new(store));
        self
    }

    /// Keeps the objects on disk, in this directory, so that the cluster is there again after the process was.
    /// The directory belongs to one process at a time.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.store = StoreChoice::Dir(dir.into());
        self
    }

    /// Adds a node that runs in this process.
    pub fn node(mut self, node: NodeOptions) -> Self {
        self.nodes.push(node);
        self
    }

    /// Places pods by `scheduler`, instead of Kubernetes' filters and scores.
    pub fn scheduler(self, scheduler: impl Scheduler) -> Self {
        self.scheduler_named(DEFAULT_SCHEDULER, scheduler)
    }

    /// Adds a scheduler for the pods that name it in `spec.schedulerName`.
    pub fn scheduler_named(mut self, name: impl Into<String>, scheduler: impl Scheduler) -> Self {
        self.schedulers.insert(name.into(), Box::new(scheduler));
        self
    }

    /// Adds a rollout for the Deployments that name it in the annotation `orchestra.dev/rollout`; replaces the
    /// one of that name. `rolling-update` and `recreate` are those of `spec.strategy.type`.
    pub fn rollout(mut self, name: impl Into<String>, rollout: impl Rollout) -> Self {
        self.rollouts = self.rollouts.with(name, rollout);
        self
    }

    /// Scales by `autoscaler`, which is asked this often: Kubernetes' arithmetic every 15 s otherwise.
    pub fn autoscaler(mut self, autoscaler: impl Autoscaler, every: Duration) -> Self {
        self.autoscaler = Arc::new(autoscaler);
        self.autoscale_every = every;
        self
    }

    /// Has every write looked at by `admission`, after those added before.
    pub fn admission(mut self, admission: impl Admission) -> Self {
        self.admission.push(Arc::new(admission));
        self
    }

    /// Adds a kind of the application's own, with its type, which [`object!`](crate::model::object!) makes one.
    ///
    /// ```
    /// use orchestra::model::{FieldErrors, ObjectMeta, Rules, TypeMeta, object};
    /// use orchestra::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    /// #[serde(rename_all = "camelCase", default)]
    /// struct Backup {
    ///     #[serde(flatten)]
    ///     type_meta: TypeMeta<Self>,
    ///     metadata: ObjectMeta,
    ///     spec: BackupSpec,
    /// }
    ///
    /// #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    /// #[serde(rename_all = "camelCase", default)]
    /// struct BackupSpec {
    ///     database: String,
    ///     keep: u32,
    /// }
    ///
    /// object!(Backup, "example.com", "v1", "backups", namespaced: true, desired: [spec]);
    ///
    /// impl Rules for Backup {
    ///     fn validate(&self, errors: &mut FieldErrors) {
    ///         let named = !self.spec.database.is_empty();
    ///         errors.at("spec", |e| e.at("database", |e| e.require(named, "is required")));
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = Cluster::builder().kind::<Backup>().start().await?;
    /// let list = cluster.list::<Backup>(&ListOptions::default()).await?;
    /// let mut watch = cluster.watch::<Backup>(&ListOptions::default(), list.revision).await?;
    /// let spec = BackupSpec { database: "orders".to_owned(), keep: 7 };
    /// cluster.apply(Backup { metadata: ObjectMeta::named("nightly"), spec, ..Backup::default() }).await?;
    /// assert_eq!(cluster.get::<Backup>("nightly").await?.spec.keep, 7);
    /// let event = watch.next().await.ok_or("the watch ended")??;
    /// assert_eq!(event.object().spec.database, "orders");
    /// # cluster.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind<T: Resource>(mut self) -> Self {
        self.scheme.register::<T>();
        self
    }

    /// Adds a kind that has no type here: its plural, and whether it has namespaces.
    pub fn dynamic_kind(mut self, kind: KindInfo) -> Self {
        self.scheme.register_kind(kind);
        self
    }

    /// How long a node may be silent before its pods are moved: 40 s otherwise. Its agent tells of itself four
    /// times as often, at least.
    pub fn node_grace(mut self, grace: Duration) -> Self {
        self.node_lifecycle.grace = grace;
        self
    }

    /// Sets how silent nodes are judged.
    pub fn node_lifecycle(mut self, options: NodeLifecycleOptions) -> Self {
        self.node_lifecycle = options;
        self
    }

    /// Sets how services are served.
    #[cfg(feature = "net")]
    pub fn data_plane(mut self, options: orchestra_net::DataPlaneOptions) -> Self {
        self.data_plane = options;
        self
    }

    /// Serves the names of the cluster's services and pods at `address`, over UDP and TCP, until the cluster has ended;
    /// port 0 takes a free one, which [`Cluster::dns_address`] tells. Nothing is served otherwise. The names are those of
    /// Kubernetes, below the data plane's [`domain`](orchestra_net::DataPlaneOptions::domain): `cart.shop.svc.cluster.local`.
    /// Questions about other names are refused, unless [`dns_options`](Self::dns_options) says who is asked (feature `dns-forward`).
    ///
    /// Pods whose `dnsPolicy` is not `Default` or `None` are told as far as their runtime can. Processes have the host's
    /// `/etc/resolv.conf`, and find the address in `ORCHESTRA_DNS` and what to search in `ORCHESTRA_DNS_SEARCH`, for
    /// resolvers that can be given them. Containers of Docker resolve by this server, and by it alone, where it listens on
    /// port 53 of an address that is no loopback one; otherwise they know the engine's names only.
    #[cfg(feature = "dns")]
    pub fn dns(mut self, address: impl Into<SocketAddr>) -> Self {
        self.dns = Some(address.into());
        self
    }

    /// Sets how questions about other names are treated. With the feature `dns-forward`, `DnsForward::System` passes them on to the host's own
    /// name servers, as containers need it that have no other name server; without it they are refused.
    #[cfg(feature = "dns")]
    pub fn dns_options(mut self, options: orchestra_net::DnsOptions) -> Self {
        self.dns_options = options;
        self
    }

    /// Stamps objects by `clock`: the system's otherwise.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Derives identities, names and jitter from `seed`, and from the revision that the store is at when the cluster
    /// starts, so that a cluster on the same store gives no identity again: from the operating system otherwise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    fn check(&self) -> Result<(), BuildError> {
        let mut names = BTreeSet::new();
        match self.nodes.iter().find(|node| !names.insert(node.name.as_str())) {
            Some(twice) => Err(BuildError::DuplicateNode(twice.name.clone())),
            None => Ok(()),
        }
    }

    /// Starts the cluster: it accepts objects when this returns. Its nodes may still be taking up what runs on
    /// them; [`Cluster::ready`] waits for that.
    ///
    /// # Errors
    /// [`BuildError`]. Nothing is left running then.
    pub async fn start(self) -> Result<Cluster, BuildError> {
        self.check()?;
        let scheme = Arc::new(self.scheme);
        let leaves_pods = !matches!(self.store, StoreChoice::Own);
        let store = self.store.open(&scheme).await?;
        let rng = random(self.seed, &*store).await?;
        let (base, control, gates) = (Tasks::new(), Tasks::new(), Gates::new());
        let mut admission = self.admission;
        #[cfg(feature = "net")]
        let addresses = service_addresses(&self.data_plane, &rng, &mut admission);
        admission.shrink_to_fit();
        let client = Client::new(Arc::clone(&store), scheme, Arc::clone(&self.clock), rng.clone())
            .with_admission(admission);
        bootstrap(&client).await?;
        let caches = Caches::new(store, base.clone());
        let recorder = Recorder::start(&client, "orchestra", &base);
        #[cfg(feature = "net")]
        let data_plane = {
            let addresses = Some(addresses);
            orchestra_net::DataPlane::start(&client, &caches, &gates, addresses, self.data_plane, &base)
        };
        #[cfg(feature = "dns")]
        let dns = super::dns::serve(self.dns, self.dns_options, &data_plane, &base).await?;
        let options = AutoscalerOptions::default().with_period(self.autoscale_every);
        let metrics = Arc::new(self.metrics.clone());
        let options = ControlPlaneOptions {
            schedulers: self.schedulers,
            rollouts: self.rollouts,
            scaling: Scaling { autoscaler: self.autoscaler, metrics, options },
            node_lifecycle: self.node_lifecycle,
        };
        let scheduling = controller::start(options, &client, &caches, &recorder, &rng, &control);
        let nodes = Nodes {
            client: client.clone(),
            caches,
            gates,
            recorder,
            rng,
            metrics: self.metrics.clone(),
            usage_every: self.autoscale_every,
            grace: self.node_lifecycle.grace,
            tasks: base.clone(),
            routes: None,
            meter: None,
            #[cfg(feature = "dns")]
            dns: dns.as_ref().map(|server| super::dns::told(server, &data_plane)),
            leaves_pods,
            running: BTreeMap::new(),
            lost: BTreeMap::new(),
            own_dirs: Vec::new(),
        };
        let cluster = Cluster {
            client,
            base,
            control,
            nodes: Mutex::new(nodes),
            metrics: self.metrics,
            scheduling,
            #[cfg(feature = "net")]
            data_plane,
            #[cfg(feature = "dns")]
            dns,
        };
        for node in self.nodes {
            // Their names were looked at before.
            let name = node.name.clone();
            let started = cluster.nodes.lock().await.start(node);
            started.map_err(|error| BuildError::Node { node: name, source: error.into() })?;
        }
        Ok(cluster)
    }
}

/// The source of identities: of a seed, and of where the store is. Mixed, so that neither neighbouring seeds nor neighbouring
/// revisions give one sequence.
async fn random(seed: Option<u64>, store: &dyn Store) -> Result<Rng, StoreError> {
    let Some(seed) = seed else { return Ok(Rng::from_os()) };
    let Revision(at) = store.revision(&Scope::default()).await?;
    Ok(Rng::seeded(seed ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// Who gives services their addresses, which it does as an admission where those are listened on.
#[cfg(feature = "net")]
fn service_addresses(
    options: &orchestra_net::DataPlaneOptions,
    rng: &Rng,
    admission: &mut Vec<Arc<dyn Admission>>,
) -> Arc<orchestra_net::ClusterIps> {
    let addresses = orchestra_net::ClusterIps::new(rng.next()).with_network(options.service_network);
    let addresses = Arc::new(addresses);
    if options.listen {
        admission.push(Arc::<orchestra_net::ClusterIps>::clone(&addresses));
    }
    addresses
}

/// Opens the store on disk, off the runtime's threads: reading back a large log takes a while.
async fn open(dir: PathBuf, scheme: &Scheme) -> Result<Arc<dyn Store>, StoreError> {
    let options = LogStoreOptions::default().with_scheme(scheme.clone());
    let opening = tokio::task::spawn_blocking(move || LogStore::open(dir, options));
    match opening.await {
        Ok(store) => Ok(Arc::new(store?)),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
