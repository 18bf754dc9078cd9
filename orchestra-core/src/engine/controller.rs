//! Driving a reconciler: from changes to keys to calls.

use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Backoff, CacheChange, Caches, Queue, Tasks};
use crate::client::{Client, ClientError};
use crate::model::{GroupKind, ObjectKey, ObjectMeta, Resource};
use crate::panics;
use crate::rng::Rng;

/// How many keys of one controller are reconciled at once, unless it says otherwise.
///
/// Reconciling in one process is bound by the CPU; a few more than its cores let a durable commit overlap.
const DEFAULT_WORKERS: usize = 8;

/// How often every key is reconciled without a cause: a safety net under lost events, not a mechanism.
const DEFAULT_RESYNC: Duration = Duration::from_secs(600);

/// When a key is to be reconciled again without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not before something changes.
    OnChange,
    /// After this time, where its meaning is about time: a deadline, a window.
    After(Duration),
}

/// Why a key could not be reconciled. It comes again after its back-off.
pub type ReconcileError = ClientError;

/// Brings what one key names from what is to what shall be.
///
/// # Contract
/// - **Level-triggered.** It gets a key, not an event: it reads caches, compares, acts. It must do the same
///   whatever made it run, and nothing when nothing is left to do.
/// - **Writes through the client it is given**, so that the engine knows what its caches must have seen before
///   the key comes again.
/// - **Idempotent and cancel-safe.** It may be dropped between any two writes.
/// - Different keys are reconciled at once; one key never is.
#[async_trait]
pub trait Reconciler: Debug + Send + Sync + 'static {
    /// Reconciles `key`. The object may be gone.
    ///
    /// # Errors
    /// Whatever kept it from finishing.
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError>;
}

const _: fn(&dyn Reconciler) = |_| {};

/// Says which changes concern which keys, and runs a [`Reconciler`] on them.
#[derive(Debug)]
pub struct Controller {
    name: &'static str,
    queue: Arc<Queue<ObjectKey>>,
    caches: Caches,
    client: Client,
    workers: usize,
    resync: Option<Duration>,
    primary: Vec<Resync>,
}

type AddAll = dyn Fn(&Queue<ObjectKey>) + Send + Sync;

struct Resync(Box<AddAll>);

impl Debug for Resync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resync")
    }
}

impl Controller {
    /// A controller that watches nothing yet. `name` is for traces and metrics.
    #[must_use]
    pub fn new(name: &'static str, client: &Client, caches: &Caches, rng: &Rng) -> Self {
        Self {
            name,
            queue: Arc::new(Queue::new(Backoff::default(), rng.fork())),
            caches: caches.clone(),
            client: client.clone(),
            workers: DEFAULT_WORKERS,
            resync: Some(DEFAULT_RESYNC),
            primary: Vec::new(),
        }
    }

    /// How many keys are reconciled at once.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// How often every key is reconciled without a cause; never where `None`.
    #[must_use]
    pub fn resync(mut self, every: Option<Duration>) -> Self {
        self.resync = every;
        self
    }

    /// Reconciles each `T` when it changes: the kind this controller is about.
    #[must_use]
    pub fn on<T: Resource>(self) -> Self {
        self.primary::<T>(|_| true)
    }

    /// Reconciles each `T` when anything but its status changes: for a controller that writes that status.
    #[must_use]
    pub fn on_desired<T: Resource>(self) -> Self {
        self.primary::<T>(|change| match (change.old, change.new) {
            (Some(old), Some(new)) => {
                let mut meta = old.meta().clone();
                meta.resource_version = new.meta().resource_version;
                meta != *new.meta() || !new.same_desired(&**old)
            }
            _ => true,
        })
    }

    fn primary<T: Resource>(
        mut self,
        concerns: impl Fn(&CacheChange<'_, T>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (cache, queue) = (self.caches.of::<T>(), Arc::clone(&self.queue));
        cache.on_change(move |change| {
            if concerns(change) {
                queue.add(change.key.clone());
            }
        });
        self.primary.push(Resync(Box::new(move |queue| {
            for object in cache.list() {
                queue.add(ObjectKey::of(&*object));
            }
        })));
        self
    }

    /// Reconciles the `Owner` that manages a `Part` when the part changes, or changes hands.
    #[must_use]
    pub fn owns<Owner: Resource, Part: Resource>(self) -> Self {
        self.maps::<Part>(|change, add| {
            for part in [change.old, change.new].into_iter().flatten() {
                if let Some(key) = owner_key::<Owner>(part.meta()) {
                    add(key);
                }
            }
        })
    }

    /// Reconciles the keys that `map` names when a `T` changes.
    #[must_use]
    pub fn maps<T: Resource>(
        self,
        map: impl Fn(&CacheChange<'_, T>, &mut dyn FnMut(ObjectKey)) + Send + Sync + 'static,
    ) -> Self {
        let queue = Arc::clone(&self.queue);
        self.caches.of::<T>().on_change(move |change| map(change, &mut |key| queue.add(key)));
        self
    }

    /// The queue, for causes that are no changes of objects.
    #[must_use]
    pub fn queue(&self) -> Arc<Queue<ObjectKey>> {
        Arc::clone(&self.queue)
    }

    /// Starts reconciling, once all caches are filled.
    pub fn start(self, reconciler: impl Reconciler, tasks: &Tasks) {
        let reconciler: Arc<dyn Reconciler> = Arc::new(reconciler);
        for _ in 0..self.workers {
            let worker = Worker {
                name: self.name,
                queue: Arc::clone(&self.queue),
                caches: self.caches.clone(),
                client: self.client.clone(),
                reconciler: Arc::clone(&reconciler),
            };
            tasks.spawn("reconcile", async move {
                worker.caches.synced().await;
                loop {
                    worker.work().await;
                }
            });
        }
        if let Some(every) = self.resync {
            let (primary, queue) = (self.primary, self.queue);
            tasks.spawn("resync", async move {
                loop {
                    tokio::time::sleep(every).await;
                    primary.iter().for_each(|resync| resync.0(&queue));
                }
            });
        }
    }
}

/// One turn of a controller for a key, as a span, counted and timed.
pub(crate) async fn reconcile<R>(
    controller: &'static str,
    key: &ObjectKey,
    turn: impl Future<Output = Result<R, ReconcileError>>,
) -> Result<R, ReconcileError> {
    let started = Instant::now();
    let result = turn.instrument(tracing::debug_span!("reconcile", controller, %key)).await;
    let label = if result.is_ok() { "ok" } else { "error" };
    metrics::counter!("orchestra_reconcile_total", "controller" => controller, "result" => label)
        .increment(1);
    metrics::histogram!("orchestra_reconcile_seconds", "controller" => controller).record(started.elapsed());
    result
}

struct Worker {
    name: &'static str,
    queue: Arc<Queue<ObjectKey>>,
    caches: Caches,
    client: Client,
    reconciler: Arc<dyn Reconciler>,
}

impl Worker {
    async fn work(&self) {
        let key = self.queue.next().await;
        let (client, writes) = self.client.recorded();
        let turn = async {
            let reconciled = AssertUnwindSafe(self.reconciler.reconcile(&key, &client)).catch_unwind().await;
            // A rollout's, an autoscaler's: the key comes again after its back-off, and the others at once.
            let result = reconciled.unwrap_or_else(|panic| {
                let why = panics::message(&*panic);
                Err(ClientError::Other { key: key.clone(), why, source: None })
            });
            // Read your writes: the caches catch up before the key can come again.
            let settled = writes.settle(&self.caches).await;
            match (result, settled) {
                (Ok(_), Err(error)) => Err(ClientError::from(error)),
                (result, _) => result,
            }
        };
        match reconcile(self.name, &key, turn).await {
            Ok(Next::OnChange) => self.queue.done(&key),
            Ok(Next::After(delay)) => {
                self.queue.done(&key);
                self.queue.add_after(key, delay);
            }
            Err(error) => {
                let retry = self.queue.failed(&key);
                if error.is_conflict() {
                    tracing::debug!(controller = self.name, %key, %error, ?retry, "reads again");
                } else {
                    tracing::warn!(controller = self.name, %key, %error, ?retry, "could not reconcile");
                }
            }
        }
    }
}

/// The key of the `Owner` that manages an object with this metadata.
fn owner_key<Owner: Resource>(part: &ObjectMeta) -> Option<ObjectKey> {
    let owner = part.controller()?;
    if owner.kind != Owner::INFO.kind || owner.api_version != Owner::INFO.api_version() {
        return None;
    }
    let namespace = if Owner::INFO.namespaced { part.namespace.as_str() } else { "" };
    Some(ObjectKey {
        kind: GroupKind::of::<Owner>(),
        namespace: namespace.into(),
        name: owner.name.as_str().into(),
    })
}
