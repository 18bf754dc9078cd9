//! What the agent's tasks share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, watch};

use crate::client::Client;
use crate::clock::SharedClock;
use crate::drain::Gates;
use crate::engine::{Cache, Caches, Queue, Recorder, Tasks};
use crate::model::{
    ConfigMap, Node, ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service, Uid,
};
use crate::node::apply::Note;
use crate::node::backoff::CALL_BACKOFF;
use crate::node::builder::{NodeAgentBuilder, NodeOptions};
use crate::node::memory::Memory;
use crate::node::moment::Moment;
use crate::node::probe::Prober;
use crate::node::routes::Routes;
use crate::node::traced::Traced;
use crate::node::turns::Turns;
use crate::node::volumes::VolumeFiles;
use crate::rng::Rng;
use crate::runtime::{Runtime, RuntimeInfo};

/// What the agent's tasks share.
pub(crate) struct Shared {
    pub(in crate::node) node: Arc<str>,
    pub(in crate::node) client: Client,
    pub(in crate::node) caches: Caches,
    pub(in crate::node) runtime: Arc<dyn Runtime>,
    pub(in crate::node) routes: Routes,
    pub(in crate::node) nodes: Arc<Cache<Node>>,
    pub(in crate::node) services: Arc<Cache<Service>>,
    pub(in crate::node) config_maps: Arc<Cache<ConfigMap>>,
    pub(in crate::node) secrets: Arc<Cache<Secret>>,
    pub(in crate::node) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(in crate::node) persistent: Arc<Cache<PersistentVolume>>,
    pub(in crate::node) prober: Arc<dyn Prober>,
    pub(in crate::node) volumes: Arc<dyn VolumeFiles>,
    pub(in crate::node) gates: Gates,
    pub(in crate::node) recorder: Recorder,
    pub(in crate::node) clock: SharedClock,
    pub(in crate::node) rng: Rng,
    pub(in crate::node) options: NodeOptions,
    pub(in crate::node) tasks: Tasks,
    pub(in crate::node) queue: Queue<Uid>,
    pub(in crate::node) info: OnceLock<RuntimeInfo>,
    pub(in crate::node) turns: Turns,
    pub(in crate::node) ready: watch::Sender<bool>,
    pub(super) slots: Mutex<BTreeMap<Uid, Slot>>,
    pub(super) serial: AtomicU64,
    pub(super) shutdown: AtomicBool,
    pub(super) moved: Notify,
}

/// One pod of the node.
#[derive(Debug, Default)]
pub(in crate::node) struct Slot {
    /// The pod as the cache has it; `None`: it is gone from the store.
    pub(in crate::node) pod: Option<Arc<Pod>>,
    pub(in crate::node) memory: Memory,
}

impl Slot {
    /// The pod with the last status written, also where the cache lags behind.
    pub(super) fn latest(&self) -> Option<Arc<Pod>> {
        let pod = self.pod.as_ref()?;
        let newer = |written: &&Arc<Pod>| {
            written.metadata.uid == pod.metadata.uid
                && written.metadata.resource_version > pod.metadata.resource_version
        };
        Some(Arc::clone(self.memory.written.as_ref().filter(newer).unwrap_or(pod)))
    }
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "called once, by the builder")]
    pub(in crate::node) fn new(builder: NodeAgentBuilder, routes: Routes, prober: Arc<dyn Prober>) -> Self {
        let caches = builder.caches;
        Self {
            nodes: caches.of(),
            services: caches.of(),
            config_maps: caches.of(),
            secrets: caches.of(),
            claims: caches.of(),
            persistent: caches.of(),
            node: builder.node,
            client: builder.client,
            caches,
            runtime: Traced::over(builder.runtime),
            routes,
            prober,
            volumes: builder.volumes,
            gates: builder.gates,
            recorder: builder.recorder,
            clock: builder.clock,
            queue: Queue::new(CALL_BACKOFF, builder.rng.fork()),
            rng: builder.rng,
            options: builder.options,
            tasks: builder.tasks,
            info: OnceLock::new(),
            turns: Turns::default(),
            ready: watch::Sender::new(false),
            slots: Mutex::default(),
            serial: AtomicU64::new(1),
            shutdown: AtomicBool::new(false),
            moved: Notify::new(),
        }
    }

    pub(in crate::node) fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::node) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(in crate::node) fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    /// Reports something that happened to a pod.
    pub(in crate::node) fn tell(&self, pod: &Pod, note: &Note) {
        self.recorder.event(&*self.clock, pod, note.kind, note.reason, note.message.clone());
    }

    pub(in crate::node) fn node_key(&self) -> ObjectKey {
        ObjectKey::new::<Node>("", Arc::clone(&self.node))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).finish_non_exhaustive()
    }
}
