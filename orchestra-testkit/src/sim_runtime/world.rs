//! The state of the simulated host. Time passes in it only when somebody looks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use orchestra_core::model::{Timestamp, Uid};
use orchestra_core::rng::Rng;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, RuntimeEvent, SandboxId, SandboxSpec,
    SandboxState, SandboxStatus,
};
use tokio::time::Instant;

use super::fault::{SimFault, SimFaults, SimOp};
use super::program::SimProgram;
use super::record::{SimRecord, SimWhat};

/// How many events are kept for those who listen; a listener that is further behind has lost some.
const EVENTS_KEPT: usize = 65_536;

/// How many records are kept; the oldest go first. Enough for ten thousand pods that live some thirty lives.
const RECORDS_KEPT: usize = 2_000_000;

/// The code of a process that the kill ended: 128 and the signal's number.
const KILLED_CODE: i32 = 137;
const KILL: i32 = 9;
/// The code of a process that the stop signal ended.
pub(super) const STOPPED_CODE: i32 = 143;
pub(super) const TERM: i32 = 15;

#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) spec: SandboxSpec,
    pub(super) state: SandboxState,
    pub(super) ip: Option<IpAddr>,
    created_at: Timestamp,
    pub(super) containers: BTreeMap<(Arc<str>, u32), ContainerId>,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) sandbox: SandboxId,
    pub(super) spec: ContainerSpec,
    pub(super) program: SimProgram,
    pub(super) state: ContainerState,
    created_at: Timestamp,
    /// When it was started, on the clock that decides.
    pub(super) started: Option<Instant>,
    /// When it exits, with which code and by which signal, as far as is known.
    exits: Option<(Instant, i32, Option<i32>)>,
    /// Whether it answers no although it is ready.
    pub(super) unhealthy: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) programs: BTreeMap<String, SimProgram>,
    pub(super) any: Option<SimProgram>,
    pub(super) present: BTreeSet<String>,
    pub(super) sandboxes: BTreeMap<SandboxId, Sandbox>,
    pub(super) containers: BTreeMap<ContainerId, Container>,
    by_address: BTreeMap<IpAddr, SandboxId>,
    /// The processes that run, by when they exit by themselves.
    due: BTreeSet<(Instant, ContainerId)>,
    next_address: u32,
    events: VecDeque<RuntimeEvent>,
    /// The number of the first event that is kept.
    first_event: u64,
    pub(super) records: VecDeque<SimRecord>,
    pub(super) faults: SimFaults,
    pub(super) scripted: BTreeMap<SimOp, VecDeque<SimFault>>,
    pub(super) latency: BTreeMap<SimOp, (std::time::Duration, std::time::Duration)>,
    pub(super) available: bool,
}

impl World {
    pub(super) fn new(rng: Rng, first_address: Ipv4Addr) -> Self {
        Self {
            rng,
            programs: BTreeMap::new(),
            any: None,
            present: BTreeSet::new(),
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            by_address: BTreeMap::new(),
            due: BTreeSet::new(),
            next_address: first_address.to_bits(),
            events: VecDeque::new(),
            first_event: 0,
            records: VecDeque::new(),
            faults: SimFaults::none(),
            scripted: BTreeMap::new(),
            latency: BTreeMap::new(),
            available: true,
        }
    }

    pub(super) fn program(&self, image: &str) -> Option<SimProgram> {
        self.programs.get(image).or(self.any.as_ref()).cloned()
    }

    /// Lets every process exit whose time has come, each at its time.
    pub(super) fn settle(&mut self, now: Instant, wall: Timestamp) {
        while let Some((at, id)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            let Some(container) = self.containers.get(&id) else {
                self.due.remove(&(at, id));
                continue;
            };
            let Some((_, code, signal)) = container.exits else {
                self.due.remove(&(at, id));
                continue;
            };
            self.end(&id, code, signal, wall - (now - at));
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn run_sandbox(&mut self, spec: &SandboxSpec, wall: Timestamp) -> SandboxId {
        let id = SandboxId(format!("{}-{}", spec.pod_uid, spec.attempt).into());
        if !self.sandboxes.contains_key(&id) {
            let ip = IpAddr::V4(Ipv4Addr::from_bits(self.next_address));
            self.next_address += 1;
            self.by_address.insert(ip, id.clone());
            let sandbox = Sandbox {
                spec: spec.clone(),
                state: SandboxState::Ready,
                ip: Some(ip),
                created_at: wall,
                containers: BTreeMap::new(),
            };
            self.sandboxes.insert(id.clone(), sandbox);
            self.record(wall, &spec.pod_uid, "", spec.attempt, SimWhat::SandboxRun);
            self.happened(&id);
        }
        id
    }

    pub(super) fn stop_sandbox(&mut self, id: &SandboxId, wall: Timestamp) {
        for container in self.containers_of(id) {
            self.kill(&container, wall);
        }
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return };
        if sandbox.state == SandboxState::NotReady {
            return;
        }
        sandbox.state = SandboxState::NotReady;
        let (uid, attempt) = (sandbox.spec.pod_uid.clone(), sandbox.spec.attempt);
        if let Some(ip) = sandbox.ip.take() {
            self.by_address.remove(&ip);
        }
        self.record(wall, &uid, "", attempt, SimWhat::SandboxStopped);
        self.happened(id);
    }

    pub(super) fn remove_sandbox(&mut self, id: &SandboxId, wall: Timestamp) {
        self.stop_sandbox(id, wall);
        for container in self.containers_of(id) {
            self.remove(&container, wall);
        }
        if let Some(sandbox) = self.sandboxes.remove(id) {
            self.record(wall, &sandbox.spec.pod_uid, "", sandbox.spec.attempt, SimWhat::SandboxRemoved);
            self.push(RuntimeEvent::PodChanged { pod_uid: sandbox.spec.pod_uid, sandbox: id.clone() });
        }
    }

    pub(super) fn create(
        &mut self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
        program: SimProgram,
        wall: Timestamp,
    ) -> ContainerId {
        let id = ContainerId(format!("{}/{}-{}", sandbox.0, spec.name, spec.attempt).into());
        if !self.containers.contains_key(&id) {
            let container = Container {
                sandbox: sandbox.clone(),
                spec: spec.clone(),
                program,
                state: ContainerState::Created,
                created_at: wall,
                started: None,
                exits: None,
                unhealthy: false,
            };
            self.containers.insert(id.clone(), container);
            if let Some(sandbox) = self.sandboxes.get_mut(sandbox) {
                sandbox.containers.insert((Arc::clone(&spec.name), spec.attempt), id.clone());
            }
            self.record_of(&id, wall, SimWhat::Created);
        }
        id
    }

    pub(super) fn start(&mut self, id: &ContainerId, now: Instant, wall: Timestamp) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.state != ContainerState::Created {
            return;
        }
        container.state = ContainerState::Running { started_at: wall };
        container.started = Some(now);
        let exits = container.program.exits.map(|(after, code)| (now + after, code, None));
        container.exits = exits;
        if let Some((at, ..)) = exits {
            self.due.insert((at, id.clone()));
        }
        self.record_of(id, wall, SimWhat::Started);
        self.changed(id);
    }

    /// Has a process exit at `at`, unless it does so sooner.
    pub(super) fn exit_at(&mut self, id: &ContainerId, at: Instant, code: i32, signal: Option<i32>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if !container.state.is_running() || container.exits.is_some_and(|(sooner, ..)| sooner <= at) {
            return;
        }
        if let Some((before, ..)) = container.exits.replace((at, code, signal)) {
            self.due.remove(&(before, id.clone()));
        }
        self.due.insert((at, id.clone()));
    }

    /// Ends a process now.
    pub(super) fn end(&mut self, id: &ContainerId, code: i32, signal: Option<i32>, wall: Timestamp) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let ContainerState::Running { started_at } = container.state else { return };
        container.state = ContainerState::Exited {
            exit_code: code,
            signal,
            oom_killed: false,
            started_at: Some(started_at),
            finished_at: wall,
            message: String::new(),
        };
        if let Some((at, ..)) = container.exits.take() {
            self.due.remove(&(at, id.clone()));
        }
        self.record_of(id, wall, SimWhat::Exited { code });
        self.changed(id);
    }

    pub(super) fn kill(&mut self, id: &ContainerId, wall: Timestamp) {
        if self.containers.get(id).is_some_and(|c| c.state.is_running()) {
            self.record_of(id, wall, SimWhat::Killed);
            self.end(id, KILLED_CODE, Some(KILL), wall);
        }
    }

    pub(super) fn remove(&mut self, id: &ContainerId, wall: Timestamp) {
        self.kill(id, wall);
        self.record_of(id, wall, SimWhat::Removed);
        self.changed(id);
        if let Some(container) = self.containers.remove(id)
            && let Some(sandbox) = self.sandboxes.get_mut(&container.sandbox)
        {
            sandbox.containers.remove(&(Arc::clone(&container.spec.name), container.spec.attempt));
        }
    }

    /// The host restarts: every process is dead, and nobody knows how it ended.
    pub(super) fn reboot(&mut self, wall: Timestamp) {
        let ids: Vec<SandboxId> = self.sandboxes.keys().cloned().collect();
        for id in ids {
            for container in self.containers_of(&id) {
                if self.containers.get(&container).is_some_and(|c| c.state.is_running()) {
                    self.kill(&container, wall);
                    if let Some(container) = self.containers.get_mut(&container) {
                        container.state = ContainerState::Unknown;
                    }
                }
            }
            self.stop_sandbox(&id, wall);
        }
        self.push(RuntimeEvent::Lost);
    }

    pub(super) fn containers_of(&self, id: &SandboxId) -> Vec<ContainerId> {
        self.sandboxes.get(id).map(|s| s.containers.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn status(&self, id: &SandboxId) -> Option<SandboxStatus> {
        let sandbox = self.sandboxes.get(id)?;
        let spec = &sandbox.spec;
        let (namespace, name) = (Arc::clone(&spec.namespace), Arc::clone(&spec.pod_name));
        let mut status = SandboxStatus::new(id.clone(), namespace, name, spec.pod_uid.clone(), spec.attempt);
        status.state = sandbox.state;
        status.ip = sandbox.ip;
        status.created_at = sandbox.created_at;
        let containers = sandbox.containers.values().filter_map(|id| Some((id, self.containers.get(id)?)));
        status.containers = containers
            .map(|(id, container)| {
                let (spec, name) = (&container.spec, Arc::clone(&container.spec.name));
                let mut status = ContainerStatus::new(id.clone(), name, spec.attempt, spec.image.clone());
                status.state = container.state.clone();
                status.created_at = container.created_at;
                status
            })
            .collect();
        Some(status)
    }

    pub(super) fn sandbox_at(&self, address: IpAddr) -> Option<&Sandbox> {
        self.sandboxes.get(self.by_address.get(&address)?)
    }

    /// Event number `cursor`, where it is there; a reader that lags too far behind is told so.
    pub(super) fn event(&self, cursor: &mut u64) -> Option<RuntimeEvent> {
        if *cursor < self.first_event {
            *cursor = self.first_event;
            return Some(RuntimeEvent::Lost);
        }
        let at = usize::try_from(*cursor - self.first_event).ok()?;
        let event = self.events.get(at).cloned()?;
        *cursor += 1;
        Some(event)
    }

    pub(super) fn next_event(&self) -> u64 {
        self.first_event + self.events.len() as u64
    }

    fn push(&mut self, event: RuntimeEvent) {
        if self.rng_says(self.faults.lose_event) {
            return;
        }
        if self.rng_says(self.faults.repeat_event) {
            self.events.push_back(event.clone());
        }
        self.events.push_back(event);
        while self.events.len() > EVENTS_KEPT {
            self.events.pop_front();
            self.first_event += 1;
        }
    }

    /// Draws only where something may come of it: a run without faults uses no numbers.
    pub(super) fn rng_says(&self, probability: f64) -> bool {
        probability > 0.0 && self.rng.chance(probability)
    }

    fn happened(&mut self, sandbox: &SandboxId) {
        if let Some(pod_uid) = self.sandboxes.get(sandbox).map(|s| s.spec.pod_uid.clone()) {
            self.push(RuntimeEvent::PodChanged { pod_uid, sandbox: sandbox.clone() });
        }
    }

    fn changed(&mut self, container: &ContainerId) {
        if let Some(sandbox) = self.containers.get(container).map(|c| c.sandbox.clone()) {
            self.happened(&sandbox);
        }
    }

    pub(super) fn record_of(&mut self, id: &ContainerId, wall: Timestamp, what: SimWhat) {
        let Some(container) = self.containers.get(id) else { return };
        let Some(sandbox) = self.sandboxes.get(&container.sandbox) else { return };
        let (uid, name) = (sandbox.spec.pod_uid.clone(), Arc::clone(&container.spec.name));
        let attempt = container.spec.attempt;
        self.record(wall, &uid, &name, attempt, what);
    }

    fn record(&mut self, at: Timestamp, pod: &Uid, container: &str, attempt: u32, what: SimWhat) {
        if self.records.len() >= RECORDS_KEPT {
            self.records.pop_front();
        }
        self.records.push_back(SimRecord {
            at,
            pod: pod.clone(),
            container: container.into(),
            attempt,
            what,
        });
    }
}

impl Container {
    /// Whether it answers yes when asked whether it is well.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        self.state.is_running()
            && !self.unhealthy
            && self
                .started
                .zip(self.program.ready_after)
                .is_some_and(|(started, after)| now >= started + after)
    }
}
