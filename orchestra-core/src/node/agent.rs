//! The agent: the loop that turns changes into plans, and plans into operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::access::NodeHandle;
use super::action::{Action, Done, OpKey, Seen};
use super::apply::{Judge, Note};
use super::boot;
use super::builder::{NodeAgentBuilder, NodeOptions};
use super::env::references;
use super::memory::{Busy, Memory, Observed};
use super::moment::Moment;
use super::ops::{self, Job};
use super::plan::{Ending, Plan, View, ending, is_clear, plan};
use super::probe::Prober;
use super::routes::Routes;
use super::status::{NodeFacts, is_important, status};
use super::traced::Traced;
use super::turns::Turns;
use super::volumes::VolumeFiles;
use crate::client::Client;
use crate::clock::SharedClock;
use crate::drain::Gates;
use crate::engine::{Cache, Caches, Queue, Recorder, Tasks};
use crate::model::{
    ConfigMap, Node, ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service, Uid,
    bounded_seconds,
};
use crate::rng::Rng;
use crate::runtime::{Runtime, RuntimeInfo, SandboxId};

/// How long a change of status that nobody acts on waits for the next one: longer than a quick start takes, short
/// enough for people who watch.
const STATUS_LAG: Duration = Duration::from_millis(100);

/// How much longer than the longest grace the stop of all pods may take: the drain, and the runtime's work.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(30);

/// Up to so many pods on a node, their probes come at the same moments, to wake the process less often.
const PROBED_TOGETHER: usize = 64;

/// Runs the pods that are bound to one node. Dropping it ends the agent and leaves the pods running, for the next
/// agent of that node to adopt. It dereferences to its [`NodeHandle`], which others ask it through.
#[derive(Debug)]
pub struct NodeAgent {
    handle: NodeHandle,
}

impl Deref for NodeAgent {
    type Target = NodeHandle;
    fn deref(&self) -> &NodeHandle {
        &self.handle
    }
}

/// What the agent's tasks share.
pub(crate) struct Shared {
    pub(super) node: Arc<str>,
    pub(super) client: Client,
    pub(super) caches: Caches,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) routes: Routes,
    pub(super) nodes: Arc<Cache<Node>>,
    pub(super) services: Arc<Cache<Service>>,
    pub(super) config_maps: Arc<Cache<ConfigMap>>,
    pub(super) secrets: Arc<Cache<Secret>>,
    pub(super) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(super) persistent: Arc<Cache<PersistentVolume>>,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) volumes: Arc<dyn VolumeFiles>,
    pub(super) gates: Gates,
    pub(super) recorder: Recorder,
    pub(super) clock: SharedClock,
    pub(super) rng: Rng,
    pub(super) options: NodeOptions,
    pub(super) tasks: Tasks,
    pub(super) queue: Queue<Uid>,
    pub(super) info: OnceLock<RuntimeInfo>,
    pub(super) turns: Turns,
    pub(super) ready: watch::Sender<bool>,
    slots: Mutex<BTreeMap<Uid, Slot>>,
    serial: AtomicU64,
    shutdown: AtomicBool,
    moved: Notify,
}

/// One pod of the node.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The pod as the cache has it; `None`: it is gone from the store.
    pub(super) pod: Option<Arc<Pod>>,
    pub(super) memory: Memory,
}

impl Slot {
    /// The pod with the last status written, also where the cache lags behind.
    fn latest(&self) -> Option<Arc<Pod>> {
        let pod = self.pod.as_ref()?;
        let newer = |written: &&Arc<Pod>| {
            written.metadata.uid == pod.metadata.uid
                && written.metadata.resource_version > pod.metadata.resource_version
        };
        Some(Arc::clone(self.memory.written.as_ref().filter(newer).unwrap_or(pod)))
    }
}

impl NodeAgent {
    /// An agent for the node `name`, to be configured and started.
    pub fn builder(
        name: impl Into<Arc<str>>,
        client: &Client,
        caches: &Caches,
        runtime: Arc<dyn Runtime>,
    ) -> NodeAgentBuilder {
        NodeAgentBuilder::new(name.into(), client, caches, runtime)
    }

    pub(super) fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let agent = Arc::clone(&shared);
        shared.tasks.spawn("node-agent", async move { boot::run(agent).await });
        Self { handle: NodeHandle { shared } }
    }

    /// What others ask the agent through, while it runs.
    #[must_use]
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Ends the agent. With `stop_pods` its pods are drained and stopped first, each within its grace period, and
    /// nothing of them is left on the node; without, they go on running, for the next agent to adopt.
    pub async fn shutdown(&self, stop_pods: bool) {
        if stop_pods {
            self.stop_pods().await;
        }
        self.shared.tasks.shutdown().await;
    }

    async fn stop_pods(&self) {
        let shared = &self.shared;
        shared.shutdown.store(true, Ordering::SeqCst);
        // What an earlier agent left running can be stopped only once it is known.
        if tokio::time::timeout(SHUTDOWN_SLACK, self.ready()).await.is_err() {
            tracing::error!(node = %shared.node, "what runs there was not taken up in time, and may be left");
        }
        let grace = {
            let slots = shared.lock();
            slots.keys().for_each(|uid| shared.queue.add(uid.clone()));
            let graces = slots.values().filter_map(|s| s.pod.as_ref());
            graces.map(|p| p.spec.termination_grace_period_seconds).max().unwrap_or(0)
        };
        let limit = bounded_seconds(grace) + shared.options.drain_timeout + SHUTDOWN_SLACK;
        let cleared = async {
            loop {
                let moved = shared.moved.notified();
                if shared.lock().values().all(|slot| is_clear(&slot.memory)) {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout(limit, cleared).await.is_err() {
            tracing::error!(node = %shared.node, ?limit, "some pods could not be stopped in time");
        }
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        self.shared.tasks.cancel();
    }
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "called once, by the builder")]
    pub(super) fn new(builder: NodeAgentBuilder, routes: Routes, prober: Arc<dyn Prober>) -> Self {
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
            queue: Queue::new(super::backoff::CALL_BACKOFF, builder.rng.fork()),
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

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    /// Reports something that happened to a pod.
    pub(super) fn tell(&self, pod: &Pod, note: &Note) {
        self.recorder.event(&*self.clock, pod, note.kind, note.reason, note.message.clone());
    }

    /// Works off the queue. Never waits for anything but the next pod.
    pub(super) async fn work(self: Arc<Self>) {
        loop {
            let uid = self.queue.next().await;
            let span = tracing::debug_span!("plan", node = %self.node, pod = %uid);
            span.in_scope(|| self.sync(&uid));
            self.queue.done(&uid);
            if self.shutdown.load(Ordering::SeqCst) {
                self.moved.notify_waiters();
            }
        }
    }

    /// One turn for one pod.
    fn sync(self: &Arc<Self>, uid: &Uid) {
        let now = self.now();
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(uid) else { return };
        let pod = slot.latest();
        let view = View {
            pod: pod.as_deref(),
            memory: &slot.memory,
            shutdown: self.shutdown.load(Ordering::SeqCst),
            now,
            drain_limit: self.options.drain_timeout,
        };
        let ending = ending(&view);
        let mut plan = plan(&view, ending.as_ref());
        let report = pod.as_ref().and_then(|pod| self.report(&view, pod, ending.as_ref(), &mut plan));
        if plan.actions.contains(&Action::Forget) {
            slots.remove(uid);
            drop(slots);
            self.routes.set_interest(&self.node, uid, BTreeSet::new());
            return;
        }
        for key in &plan.cancel {
            if let Some(Busy { abort: Some(abort), .. }) = slot.memory.end(key) {
                abort.abort();
            }
            slot.memory.changed_serial = self.next_serial();
        }
        if !plan.cancel.is_empty() {
            // What was given up must be looked at before anything else is decided.
            self.queue.add(uid.clone());
        }
        for action in plan.actions {
            self.launch(uid, slot, pod.clone(), action, ending.is_some());
        }
        match report {
            Some(Report::Write(pod)) => self.write_status(uid, slot, pod),
            Some(Report::Settled) => slot.memory.status_since = None,
            Some(Report::Later) => _ = slot.memory.status_since.get_or_insert(now.instant),
            None => {}
        }
        if let Some(at) = plan.wake {
            self.queue.add_after(uid.clone(), at.saturating_duration_since(now.instant));
        }
    }

    /// Whether the pod's status is to be written now.
    fn report(
        &self,
        view: &View<'_>,
        pod: &Arc<Pod>,
        ending: Option<&Ending>,
        plan: &mut Plan,
    ) -> Option<Report> {
        let memory = view.memory;
        if matches!(memory.observed, Observed::Unknown) || memory.is_busy(&OpKey::Status) || memory.deleted {
            return None;
        }
        let runtime = self.info.get().map_or("", |info| info.name.as_str());
        let facts = NodeFacts { host_ip: self.options.address, runtime };
        let new = status(view, pod, ending, facts);
        if new == pod.status {
            return Some(Report::Settled);
        }
        let retry = memory.status_trouble.as_ref().and_then(|t| t.retry);
        let lag = memory.status_since.map_or(view.now.instant + STATUS_LAG, |since| since + STATUS_LAG);
        let due = if is_important(&pod.status, &new) { view.now.instant } else { lag };
        let due = retry.map_or(due, |retry| due.max(retry));
        if due > view.now.instant {
            plan.wake = Some(plan.wake.map_or(due, |wake| wake.min(due)));
            return Some(Report::Later);
        }
        let mut pod = (**pod).clone();
        pod.status = new;
        Some(Report::Write(Box::new(pod)))
    }

    fn launch(
        self: &Arc<Self>,
        uid: &Uid,
        slot: &mut Slot,
        pod: Option<Arc<Pod>>,
        action: Action,
        is_ending: bool,
    ) {
        let Some(key) = action.key() else { return };
        let memory = &mut slot.memory;
        let brings_up =
            matches!(action, Action::Start { .. } | Action::Probe { .. } | Action::RefreshVolumes);
        let mut deadline = None;
        match &action {
            Action::Start { container, attempt } => {
                memory.files = true;
                let container = memory.container_mut(container);
                container.config_changed = false;
                container.begun = Some((*attempt, tokio::time::Instant::now()));
            }
            Action::Stop { deadline: at, .. } => {
                deadline = Some(*at);
                if is_ending {
                    memory.stopping_since.get_or_insert_with(tokio::time::Instant::now);
                }
            }
            Action::RefreshVolumes => memory.volumes_stale = false,
            _ => {}
        }
        tracing::debug!(node = %self.node, pod = %uid, ?action, "acts");
        let job = Job { uid: uid.clone(), pod, sandbox: memory.sandbox().cloned(), action };
        let serial = self.next_serial();
        let (shared, done_key) = (Arc::clone(self), key.clone());
        let task = self.tasks.spawn("pod", async move {
            let uid = job.uid.clone();
            let (done, seen) = ops::run(&shared, job).await;
            shared.complete(&uid, &done_key, serial, done, seen);
        });
        let abort = Some(task.abort_handle());
        memory.busy.insert(key, Busy { serial, brings_up, deadline, abort });
    }

    fn write_status(self: &Arc<Self>, uid: &Uid, slot: &mut Slot, pod: Box<Pod>) {
        let serial = self.next_serial();
        let (shared, uid) = (Arc::clone(self), uid.clone());
        let task = self.tasks.spawn("status", async move {
            let written = shared.client.update_status(*pod).await;
            if let Err(error) = &written {
                tracing::debug!(pod = %uid, %error, "the status was not written");
            }
            shared.complete(&uid, &OpKey::Status, serial, Done::StatusWritten(written), None);
        });
        let abort = Some(task.abort_handle());
        slot.memory.busy.insert(OpKey::Status, Busy { serial, brings_up: false, deadline: None, abort });
    }

    /// Takes note of what an operation came to, unless it was given up.
    fn complete(&self, uid: &Uid, key: &OpKey, serial: u64, done: Done, seen: Option<Seen>) {
        let now = self.now();
        let mut slots = self.lock();
        let together = slots.len() <= PROBED_TOGETHER;
        let Some(slot) = slots.get_mut(uid) else { return };
        if slot.memory.busy.get(key).is_none_or(|busy| busy.serial != serial) {
            return;
        }
        slot.memory.end(key);
        let pod = slot.latest();
        let is_ending =
            pod.as_ref().is_none_or(|p| p.is_terminating()) || self.shutdown.load(Ordering::SeqCst);
        let judge = Judge { pod: pod.as_deref(), now, rng: &self.rng, ending: is_ending, together };
        let memory = &mut slot.memory;
        // A new sandbox must be known as one before it is looked into; all else is judged by how things are now.
        let notes = if matches!(done, Done::SandboxRun(_)) {
            let notes = memory.apply(done, judge);
            see(memory, seen, judge);
            notes
        } else {
            see(memory, seen, judge);
            memory.apply(done, judge)
        };
        drop(slots);
        if let Some(pod) = pod {
            notes.iter().for_each(|note| self.tell(&pod, note));
        }
        self.queue.add(uid.clone());
    }

    /// The pod is new, or has changed.
    pub(super) fn pod_changed(&self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        let mut slots = self.lock();
        let is_new = !slots.contains_key(&uid);
        let slot = slots.entry(uid.clone()).or_insert_with(|| Slot {
            memory: Memory { observed: Observed::Absent, ..Memory::default() },
            ..Slot::default()
        });
        if let Some(known) = &slot.pod {
            if known.metadata.resource_version >= pod.metadata.resource_version {
                return;
            }
            let (old, new) = (&known.metadata, &pod.metadata);
            slot.memory.volumes_stale |= old.labels != new.labels || old.annotations != new.annotations;
        }
        slot.pod = Some(Arc::clone(pod));
        drop(slots);
        if is_new {
            self.routes.set_interest(&self.node, &uid, references(pod));
        }
        self.queue.add(uid);
    }

    /// The pod is gone from the store.
    pub(super) fn pod_gone(&self, uid: &Uid) {
        if let Some(slot) = self.lock().get_mut(uid) {
            slot.pod = None;
        }
        self.queue.add(uid.clone());
    }

    /// A config map or secret that the pod names has changed.
    pub(super) fn config_changed(&self, uid: &Uid) {
        if let Some(slot) = self.lock().get_mut(uid) {
            slot.memory.volumes_stale = true;
            for container in slot.memory.containers.values_mut() {
                container.config_changed = true;
                container.trouble.take_if(|t| t.retry.is_none());
            }
        }
        self.queue.add(uid.clone());
    }

    /// The runtime says that something about a sandbox of the pod has changed: where it says so, that a container runs, or
    /// does not.
    pub(super) fn runtime_changed(&self, uid: &Uid, sandbox: &SandboxId, container: Option<(&str, bool)>) {
        let (serial, now) = (self.next_serial(), self.now());
        if let Some(slot) = self.lock().get_mut(uid)
            && slot.memory.removed.as_ref() != Some(sandbox)
            && !container.is_some_and(|(name, runs)| slot.memory.expects(name, runs))
        {
            if !slot.memory.is_stale() {
                slot.memory.changed_at = Some(now.instant);
            }
            slot.memory.changed_serial = serial;
            self.queue.add(uid.clone());
        }
    }

    pub(super) fn node_key(&self) -> ObjectKey {
        ObjectKey::new::<Node>("", Arc::clone(&self.node))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).finish_non_exhaustive()
    }
}

fn see(memory: &mut Memory, seen: Option<Seen>, judge: Judge<'_>) {
    if let Some(seen) = seen {
        memory.see(seen, judge.pod, judge.now, judge.rng);
    }
}

enum Report {
    /// Write it now.
    Write(Box<Pod>),
    /// There is a change that can wait.
    Later,
    /// There is nothing to write.
    Settled,
}
