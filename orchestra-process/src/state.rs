//! What a runtime holds in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orchestra_core::clock::SharedClock;
use orchestra_core::model::{Timestamp, Uid};
use orchestra_core::runtime::{
    ContainerId, ContainerState, ContainerStatus, ImageSpec, RuntimeEvent, SandboxId, SandboxState,
    SandboxStatus,
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Addresses;
use crate::cgroup::Cgroups;
use crate::image::Images;
use crate::journal::Journal;
use crate::keeper::Keeper;
use crate::log::{ContainerLog, LogLimits, Paths};
use crate::record::{ContainerRecord, End, Record, SandboxRecord};
use crate::slots::Slots;
use crate::state_lock::StateLock;

/// Events that may wait for a reader. One that falls further behind is told that it lost some, and lists: a
/// thousand is more than all pods of an ordinary node at once.
pub(crate) const MAX_EVENTS: usize = 1024;

/// A sandbox: what the containers of a pod share.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) record: Arc<SandboxRecord>,
    pub(crate) stopped: AtomicBool,
    /// Whether its stop was written down and its address given up: who stops it may go away before that.
    pub(crate) released: AtomicBool,
    /// Held while its containers are created or it is taken down.
    pub(crate) op: Mutex<()>,
    /// Ends the forwarding of its host ports.
    pub(crate) forwards: CancellationToken,
}

impl Sandbox {
    pub(crate) fn new(record: Arc<SandboxRecord>, stopped: bool, forwards: CancellationToken) -> Self {
        let [stopped, released] = [AtomicBool::new(stopped), AtomicBool::new(stopped)];
        Self { record, stopped, released, op: Mutex::new(()), forwards }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.op.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container's process, while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) start_ticks: u64,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) at: Timestamp,
}

/// Where a container is in its life.
#[derive(Clone, Debug)]
pub(crate) enum Run {
    Created,
    Running(Process),
    Ended { end: End, started: Option<Timestamp> },
    Removed,
}

/// One run of a container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) record: Arc<ContainerRecord>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) log: Arc<ContainerLog>,
    pub(crate) dir: PathBuf,
    pub(crate) run: Mutex<Run>,
    /// Whether the process has ended and nothing of it is left.
    pub(crate) over: watch::Sender<bool>,
    /// What `exec` runs in it: the pids, each of which leads a group.
    pub(crate) execs: Mutex<BTreeSet<i32>>,
    /// The CPU time last reported, in nanoseconds: it never goes back, though processes end.
    pub(crate) cpu_nanos: std::sync::atomic::AtomicU64,
}

impl Container {
    pub(crate) fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn execs(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.record.id
    }

    pub(crate) fn process(&self) -> Option<Process> {
        match &*self.run() {
            Run::Running(process) => Some(process.clone()),
            _ => None,
        }
    }

    pub(crate) fn status(&self) -> ContainerStatus {
        let record = &self.record;
        let id = ContainerId(Arc::clone(&record.id));
        let image = ImageSpec::from(record.image.as_str());
        let mut status = ContainerStatus::new(id, Arc::clone(&record.name), record.attempt, image);
        status.image_id.clone_from(&record.image_id);
        status.created_at = record.at;
        status.state = match &*self.run() {
            Run::Created | Run::Removed => ContainerState::Created,
            Run::Running(process) => ContainerState::Running { started_at: process.at },
            Run::Ended { end: End::Unknown, .. } => ContainerState::Unknown,
            Run::Ended { end: End::Exited { code, signal, oom, at, message }, started } => {
                ContainerState::Exited {
                    exit_code: *code,
                    signal: *signal,
                    oom_killed: *oom,
                    started_at: *started,
                    finished_at: *at,
                    message: message.clone(),
                }
            }
        };
        status
    }
}

/// Orders the containers of a runtime by sandbox, name and attempt.
type Key = (Arc<str>, Arc<str>, u32);

/// All sandboxes and containers.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) sandboxes: BTreeMap<Arc<str>, Arc<Sandbox>>,
    containers: BTreeMap<Key, Arc<Container>>,
    by_id: BTreeMap<Arc<str>, Arc<Container>>,
    by_slot: BTreeMap<u32, Arc<Container>>,
}

fn key(record: &ContainerRecord) -> Key {
    (Arc::clone(&record.sandbox), Arc::clone(&record.name), record.attempt)
}

impl Index {
    pub(crate) fn insert(&mut self, container: Arc<Container>) {
        self.by_id.insert(Arc::clone(container.id()), Arc::clone(&container));
        self.by_slot.insert(container.record.slot, Arc::clone(&container));
        self.containers.insert(key(&container.record), container);
    }

    pub(crate) fn remove(&mut self, container: &Container) {
        self.by_id.remove(container.id());
        self.by_slot.remove(&container.record.slot);
        self.containers.remove(&key(&container.record));
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Container>> {
        self.by_id.get(id).cloned()
    }

    pub(crate) fn in_slot(&self, slot: u32) -> Option<Arc<Container>> {
        self.by_slot.get(&slot).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.containers.values().cloned().collect()
    }

    /// The containers of one sandbox, by name and attempt.
    pub(crate) fn of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let first: Key = (sandbox.into(), "".into(), 0);
        let range = self.containers.range(first..).take_while(|((id, ..), _)| id.as_ref() == sandbox);
        range.map(|(_, container)| Arc::clone(container)).collect()
    }
}

/// The options a runtime was built with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) log: LogLimits,
    pub(crate) inherited_env: Vec<(String, String)>,
}

/// What the parts of a runtime share. Lives until its last call has returned.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) root: PathBuf,
    /// Tells the processes of this runtime from those of all others.
    pub(crate) instance: String,
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    pub(crate) images: Images,
    pub(crate) addresses: Addresses,
    pub(crate) slots: Slots,
    pub(crate) cgroups: Cgroups,
    pub(crate) journal: Journal,
    pub(crate) keeper: Keeper,
    pub(crate) index: Mutex<Index>,
    pub(crate) events: broadcast::Sender<RuntimeEvent>,
    /// How many containers are being started.
    pub(crate) starting: AtomicUsize,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    /// Locked as long as this runtime has its state directory.
    pub(crate) _lock: StateLock,
}

impl Core {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells everybody who listens that a pod changed. That nobody does is no error.
    pub(crate) fn changed(&self, sandbox: &SandboxRecord) {
        let event = RuntimeEvent::PodChanged {
            pod_uid: Uid::from(sandbox.uid.as_ref()),
            sandbox: SandboxId(Arc::clone(&sandbox.id)),
        };
        drop(self.events.send(event));
    }

    /// Where the output of a container is.
    pub(crate) fn log_paths(&self, record: &ContainerRecord) -> Paths {
        Paths { spools: self.slots.spools(record.slot), dir: self.root.join("logs").join(record.id.as_ref()) }
    }

    pub(crate) fn status(&self, sandbox: &Sandbox) -> SandboxStatus {
        let record = &sandbox.record;
        let id = SandboxId(Arc::clone(&record.id));
        let uid = Uid::from(record.uid.as_ref());
        let (namespace, pod) = (Arc::clone(&record.namespace), Arc::clone(&record.pod));
        let mut status = SandboxStatus::new(id, namespace, pod, uid, record.attempt);
        status.created_at = record.at;
        if sandbox.is_stopped() {
            status.state = SandboxState::NotReady;
        } else {
            status.ip = Some(IpAddr::V4(record.ip));
        }
        status.containers = self.index().of(&record.id).iter().map(|container| container.status()).collect();
        status
    }

    /// Writes down that a sandbox is stopped, and gives its address back: last, so that whoever does it again after an error can't
    /// give back what another pod has by then.
    pub(crate) fn release(&self, record: &SandboxRecord) -> io::Result<()> {
        let (id, at) = (Arc::clone(&record.id), self.now());
        let has_address = !record.host_network && record.ip != Ipv4Addr::LOCALHOST;
        if has_address {
            self.journal.forget_rested(at);
            let until = at + self.addresses.quarantine();
            self.journal.append(Record::Resting { ip: record.ip, until })?;
        }
        self.journal.append(Record::SandboxStopped { id, at })?;
        if has_address {
            self.addresses.release(record.ip);
        }
        Ok(())
    }
}
