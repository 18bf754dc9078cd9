//! A host and what really runs on it. Nobody is asked: this is the ground truth.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestra_core::engine::Tasks;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, RuntimeEvent, SandboxId, SandboxSpec,
    SandboxState, SandboxStatus,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::event::{ExitCause, Ground};
use super::image::Image;
use super::world::World;

/// The exit code of a process that was killed: 128 and SIGKILL.
const KILLED: i32 = 137;

/// The exit code of a process that ended at the stop signal: 128 and SIGTERM.
const TERMINATED: i32 = 143;

/// How long a process takes at most to end after its stop signal, if it obeys.
const OBEYS: Duration = Duration::from_millis(800);

/// A host: its power, and its processes.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) world: Arc<World>,
    pub(crate) index: usize,
    state: Mutex<State>,
    /// Something ended.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// The timers of running processes. They end with the power.
    clocks: Tasks,
    powered: bool,
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    images: BTreeSet<String>,
    addresses: u32,
    listeners: Vec<mpsc::UnboundedSender<RuntimeEvent>>,
}

#[derive(Debug)]
struct Sandbox {
    status: SandboxStatus,
    runs: BTreeMap<ContainerId, Process>,
}

#[derive(Debug)]
struct Process {
    image: Image,
    since: Instant,
    hung: bool,
}

impl Machine {
    pub(crate) fn new(world: &Arc<World>, index: usize) -> Arc<Self> {
        let state = State {
            clocks: Tasks::new(),
            powered: true,
            sandboxes: BTreeMap::new(),
            images: BTreeSet::new(),
            addresses: 0,
            listeners: Vec::new(),
        };
        Arc::new(Self { world: Arc::clone(world), index, state: Mutex::new(state), ended: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_powered(&self) -> bool {
        self.lock().powered
    }

    /// All that runs dies.
    pub(crate) fn power_off(&self) {
        self.world.power(self.index, false);
        let mut state = self.lock();
        state.powered = false;
        state.listeners.clear();
        state.clocks.cancel();
        state.clocks = Tasks::new();
        drop(state);
        let all: Vec<SandboxId> = self.lock().sandboxes.keys().cloned().collect();
        all.iter().for_each(|sandbox| self.tear_down(sandbox));
    }

    /// The host starts. Its runtime remembers what ran, or does not.
    pub(crate) fn power_on(&self) {
        if self.world.rng.chance(0.5) {
            let gone = std::mem::take(&mut self.lock().sandboxes);
            for sandbox in gone.into_values() {
                let uid = &sandbox.status.pod_uid;
                let id = sandbox.status.id.0.to_string();
                self.world.ground(self.index, uid, &Ground::SandboxGone { sandbox: id });
            }
        }
        self.lock().powered = true;
        self.world.power(self.index, true);
    }

    pub(super) fn listen(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.push(sender);
        receiver
    }

    fn tell(&self, pod_uid: &Uid, sandbox: &SandboxId) {
        let faults = &self.world.options.faults;
        if self.world.strikes(faults.event_lost) {
            return;
        }
        let times = if self.world.strikes(faults.event_twice) { 2 } else { 1 };
        let event = RuntimeEvent::PodChanged { pod_uid: pod_uid.clone(), sandbox: sandbox.clone() };
        self.lock().listeners.retain(|listener| (0..times).all(|_| listener.send(event.clone()).is_ok()));
    }

    pub(super) fn has_image(&self, name: &str) -> bool {
        self.lock().images.contains(name)
    }

    pub(super) fn add_image(&self, name: &str) {
        self.lock().images.insert(name.to_owned());
    }

    pub(super) fn run_sandbox(&self, spec: &SandboxSpec) -> SandboxStatus {
        let id = SandboxId(format!("{}-{}", spec.pod_uid, spec.attempt).into());
        let mut state = self.lock();
        if let Some(sandbox) = state.sandboxes.get(&id) {
            return sandbox.status.clone();
        }
        state.addresses += 1;
        let [_, _, high, low] = state.addresses.to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, u8::try_from(self.index).unwrap_or(0), high, low));
        let (namespace, name) = (Arc::clone(&spec.namespace), Arc::clone(&spec.pod_name));
        let mut status = SandboxStatus::new(id.clone(), namespace, name, spec.pod_uid.clone(), spec.attempt);
        status.ip = Some(ip);
        status.created_at = self.world.clock.now();
        state.sandboxes.insert(id.clone(), Sandbox { status: status.clone(), runs: BTreeMap::new() });
        drop(state);
        let up = Ground::SandboxUp { sandbox: id.0.to_string(), ip: Some(ip) };
        self.world.ground(self.index, &spec.pod_uid, &up);
        self.tell(&spec.pod_uid, &id);
        status
    }

    /// Kills what runs in a sandbox, and takes its address.
    pub(super) fn tear_down(&self, id: &SandboxId) {
        let (uid, running, was_ready) = {
            let mut state = self.lock();
            let Some(sandbox) = state.sandboxes.get_mut(id) else { return };
            let was_ready = sandbox.status.state == SandboxState::Ready;
            sandbox.status.state = SandboxState::NotReady;
            sandbox.status.ip = None;
            let running = sandbox.status.containers.iter().filter(|c| c.state.is_running());
            (sandbox.status.pod_uid.clone(), running.map(|c| c.id.clone()).collect::<Vec<_>>(), was_ready)
        };
        if was_ready {
            self.world.ground(self.index, &uid, &Ground::SandboxDown { sandbox: id.0.to_string() });
        }
        for container in running {
            self.exit(&container, KILLED, ExitCause::TornDown);
        }
        self.tell(&uid, id);
    }

    pub(super) fn remove_sandbox(&self, id: &SandboxId) {
        self.tear_down(id);
        let Some(sandbox) = self.lock().sandboxes.remove(id) else { return };
        let gone = Ground::SandboxGone { sandbox: id.0.to_string() };
        self.world.ground(self.index, &sandbox.status.pod_uid, &gone);
        self.tell(&sandbox.status.pod_uid, id);
    }

    pub(super) fn sandbox(&self, id: &SandboxId) -> Option<SandboxStatus> {
        self.lock().sandboxes.get(id).map(|sandbox| sandbox.status.clone())
    }

    pub(super) fn list(&self) -> Vec<SandboxStatus> {
        self.lock().sandboxes.values().map(|sandbox| sandbox.status.clone()).collect()
    }

    /// Creates a container in a sandbox that stands; finds the one that is there.
    pub(super) fn create(&self, id: &SandboxId, spec: &ContainerSpec) -> Option<ContainerId> {
        let mut state = self.lock();
        let sandbox = state.sandboxes.get_mut(id).filter(|s| s.status.state == SandboxState::Ready)?;
        let container = ContainerId(format!("{}/{}/{}", id.0, spec.name, spec.attempt).into());
        if sandbox.status.containers.iter().any(|c| c.id == container) {
            return Some(container);
        }
        let mut status =
            ContainerStatus::new(container.clone(), Arc::clone(&spec.name), spec.attempt, spec.image.clone());
        status.created_at = self.world.clock.now();
        sandbox.status.containers.push(status);
        sandbox.status.containers.sort_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
        Some(container)
    }

    fn with<R>(&self, id: &ContainerId, look: impl FnOnce(&mut Sandbox, usize) -> R) -> Option<R> {
        let mut state = self.lock();
        let sandbox =
            state.sandboxes.values_mut().find(|s| s.status.containers.iter().any(|c| c.id == *id))?;
        let place = sandbox.status.containers.iter().position(|c| c.id == *id)?;
        Some(look(sandbox, place))
    }

    pub(super) fn state_of(&self, id: &ContainerId) -> Option<ContainerState> {
        self.with(id, |sandbox, place| sandbox.status.containers[place].state.clone())
    }

    /// Runs a created container. Answers whether there is such a container in a sandbox that stands.
    pub(super) fn start(self: &Arc<Self>, id: &ContainerId) -> bool {
        let now = self.world.clock.now();
        let started = self.with(id, |sandbox, place| {
            let container = &mut sandbox.status.containers[place];
            if !matches!(container.state, ContainerState::Created) {
                return Some(None);
            }
            if sandbox.status.state != SandboxState::Ready {
                return None;
            }
            container.state = ContainerState::Running { started_at: now };
            let image = Image::parse(&container.image.name);
            let what = Ground::Started {
                sandbox: sandbox.status.id.0.to_string(),
                container: container.name.to_string(),
                attempt: container.attempt,
            };
            sandbox.runs.insert(id.clone(), Process { image, since: Instant::now(), hung: false });
            Some(Some((sandbox.status.pod_uid.clone(), sandbox.status.id.clone(), what, image)))
        });
        let Some(Some(started)) = started else { return false };
        let Some((uid, sandbox, what, image)) = started else { return true };
        self.world.ground(self.index, &uid, &what);
        self.tell(&uid, &sandbox);
        if let Some((life, code)) = image.ends {
            let life = life / 2 + self.world.up_to(life);
            self.after(life, id, code, ExitCause::Itself);
        }
        true
    }

    /// Ends a process at a later time, unless it has ended before.
    fn after(self: &Arc<Self>, time: Duration, id: &ContainerId, code: i32, cause: ExitCause) {
        let (machine, id) = (Arc::clone(self), id.clone());
        let clocks = self.lock().clocks.clone();
        clocks.spawn("process", async move {
            tokio::time::sleep(time).await;
            machine.exit(&id, code, cause);
        });
    }

    /// Sends the stop signal, and sees to it that the process is killed after its grace.
    pub(super) fn stop(self: &Arc<Self>, id: &ContainerId, grace: Duration) {
        let asked = self.with(id, |sandbox, place| {
            let container = &sandbox.status.containers[place];
            let image = sandbox
                .runs
                .get(id)
                .map_or(Image::GOOD, |run| if run.hung { Image::DEAF } else { run.image });
            container.state.is_running().then(|| {
                let what = Ground::StopAsked {
                    container: container.name.to_string(),
                    attempt: container.attempt,
                    grace,
                };
                (sandbox.status.pod_uid.clone(), what, image)
            })
        });
        let Some(Some((uid, what, image))) = asked else { return };
        self.world.ground(self.index, &uid, &what);
        let obeys = self.world.up_to(OBEYS);
        if image.deaf || obeys >= grace {
            self.after(grace, id, KILLED, ExitCause::Killed);
        } else {
            self.after(obeys, id, TERMINATED, ExitCause::Stopped);
        }
    }

    /// Resolves when the container is over, or gone.
    pub(super) async fn over(&self, id: &ContainerId) {
        loop {
            let ended = self.ended.notified();
            if self.state_of(id).is_none_or(|state| !state.is_running()) {
                return;
            }
            ended.await;
        }
    }

    /// Removes a container that does not run. Answers whether it ran.
    pub(super) fn remove(&self, id: &ContainerId) -> bool {
        let removed = self.with(id, |sandbox, place| {
            if sandbox.status.containers[place].state.is_running() {
                return true;
            }
            sandbox.status.containers.remove(place);
            sandbox.runs.remove(id);
            false
        });
        removed.unwrap_or(false)
    }

    /// A process ends, if it runs.
    pub(crate) fn exit(&self, id: &ContainerId, code: i32, cause: ExitCause) {
        let now = self.world.clock.now();
        if cause.by_agent() && self.world.mutates(super::Mutant::LeavesBehind, 0.1) {
            self.with(id, |sandbox, place| mark_exited(&mut sandbox.status.containers[place], code, now));
            self.ended.notify_waiters();
            return;
        }
        let ended = self.with(id, |sandbox, place| {
            let container = &mut sandbox.status.containers[place];
            if !container.state.is_running() {
                return None;
            }
            mark_exited(container, code, now);
            let what = Ground::Exited {
                container: container.name.to_string(),
                attempt: container.attempt,
                code,
                cause,
            };
            Some((sandbox.status.pod_uid.clone(), sandbox.status.id.clone(), what))
        });
        if let Some(Some((uid, sandbox, what))) = ended {
            self.world.ground(self.index, &uid, &what);
            self.ended.notify_waiters();
            self.tell(&uid, &sandbox);
        }
    }

    /// The containers that run.
    pub(crate) fn running(&self) -> Vec<ContainerId> {
        let state = self.lock();
        let all = state.sandboxes.values().flat_map(|s| &s.status.containers);
        all.filter(|c| c.state.is_running()).map(|c| c.id.clone()).collect()
    }

    /// A process goes on running and answers nobody any more.
    pub(crate) fn hang(&self, id: &ContainerId) {
        let hung = self.with(id, |sandbox, _| {
            let run = sandbox.runs.get_mut(id)?;
            run.hung = true;
            Some(sandbox.status.pod_uid.clone())
        });
        if let Some(Some(uid)) = hung {
            self.world.hung(self.index, &uid);
        }
    }

    /// What hangs goes on.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        state.sandboxes.values_mut().flat_map(|s| s.runs.values_mut()).for_each(|run| run.hung = false);
    }

    /// Whether a process answers questions about its health; `None`: it does not answer at all.
    pub(super) fn answers(&self, id: &ContainerId) -> Option<bool> {
        self.with(id, |sandbox, place| {
            let run = sandbox.runs.get(id).filter(|_| sandbox.status.containers[place].state.is_running())?;
            (!run.hung).then(|| !run.image.never_ready && run.since.elapsed() >= run.image.warm_up)
        })?
    }

    /// The pod that has an address, and its containers that run.
    pub(crate) fn at_address(&self, ip: IpAddr) -> Option<(Uid, Vec<ContainerId>)> {
        let state = self.lock();
        let sandbox = state.sandboxes.values().find(|s| s.status.ip == Some(ip))?;
        let running = sandbox.status.containers.iter().filter(|c| c.state.is_running());
        Some((sandbox.status.pod_uid.clone(), running.map(|c| c.id.clone()).collect()))
    }
}

fn mark_exited(container: &mut ContainerStatus, code: i32, now: orchestra_core::model::Timestamp) {
    let started_at = match &container.state {
        ContainerState::Running { started_at } => Some(*started_at),
        _ => None,
    };
    container.state = ContainerState::Exited {
        exit_code: code,
        signal: (code > 128).then_some(code - 128),
        oom_killed: false,
        started_at,
        finished_at: now,
        message: String::new(),
    };
}
