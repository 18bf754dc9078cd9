//! The handle to a simulated runtime: what tests and simulations do with it beside running containers.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::model::{Timestamp, Uid};
use orchestra_core::rng::Rng;
use orchestra_core::runtime::{ContainerId, RuntimeError};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fault::{SimFault, SimFaults, SimOp};
use super::prober::SimProber;
use super::program::SimProgram;
use super::record::{SimContainer, SimRecord};
use super::world::World;

/// A runtime whose containers exist in memory, on tokio's time. Clones are the same runtime: its containers outlive
/// any of them, as processes outlive the agent that started them.
#[derive(Clone)]
pub struct SimRuntime(pub(super) Arc<Inner>);

pub(super) struct Inner {
    world: Mutex<World>,
    pub(super) clock: SharedClock,
    /// Something has happened that a reader of events waits for.
    pub(super) happened: Notify,
    /// The faults have ended.
    healed: Notify,
}

/// A transient failure of the simulated host.
#[derive(Debug, thiserror::Error)]
#[error("simulated fault")]
struct Simulated;

impl SimRuntime {
    /// A runtime without images, on a clock that begins now at a fixed date. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let start = Timestamp::from_micros(1_750_000_000_000_000);
        Self::with_clock(
            Rng::seeded(seed),
            Arc::new(TokioClock::starting_at(start)),
            Ipv4Addr::new(10, 0, 0, 1),
        )
    }

    /// A runtime that stamps with `clock`, draws from `rng`, and gives out addresses from `first_address` upwards,
    /// none of them twice.
    #[must_use]
    pub fn with_clock(rng: Rng, clock: SharedClock, first_address: Ipv4Addr) -> Self {
        Self(Arc::new(Inner {
            world: Mutex::new(World::new(rng, first_address)),
            clock,
            happened: Notify::new(),
            healed: Notify::new(),
        }))
    }

    /// Adds an image, or replaces it for containers that are created from now on.
    pub fn image(&self, name: impl Into<String>, program: SimProgram) {
        self.lock().programs.insert(name.into(), program);
    }

    /// Sets what images do that were not added. Without it they don't exist.
    pub fn any_image(&self, program: SimProgram) {
        self.lock().any = Some(program);
    }

    /// Takes an image away: it can't be pulled, and is not present.
    pub fn forget_image(&self, name: &str) {
        let mut world = self.lock();
        world.programs.remove(name);
        world.present.remove(name);
    }

    /// Sets how often calls go wrong from now on, and lets those that hang answer.
    pub fn set_faults(&self, faults: SimFaults) {
        self.lock().faults = faults;
        self.0.healed.notify_waiters();
    }

    /// Ends all faults, also those put in by hand, and lets calls that hang answer.
    pub fn heal(&self) {
        let mut world = self.lock();
        world.faults = SimFaults::none();
        world.scripted.clear();
        world.available = true;
        drop(world);
        self.0.healed.notify_waiters();
    }

    /// Has the next call of this kind go wrong, after those put in before.
    pub fn fail_next(&self, op: SimOp, fault: SimFault) {
        self.lock().scripted.entry(op).or_default().push_back(fault);
    }

    /// Sets how long calls of this kind take: between `least` and `most`.
    pub fn set_latency(&self, op: SimOp, least: Duration, most: Duration) {
        self.lock().latency.insert(op, (least, most));
    }

    /// Whether the runtime answers at all. Where it does not, its containers go on running.
    pub fn set_available(&self, available: bool) {
        self.lock().available = available;
    }

    /// The host restarts: all processes are dead, sandboxes and exited containers are still known.
    pub fn reboot(&self) {
        self.lock().reboot(self.0.clock.now());
        self.0.happened.notify_waiters();
    }

    /// A process ends by itself, with `code`. Answers whether there was one.
    pub fn exit(&self, pod: &Uid, container: &str, code: i32) -> bool {
        self.with_live(pod, container, |world, id, wall| world.end(id, code, None, wall))
    }

    /// Somebody kills a process. Answers whether there was one.
    pub fn kill(&self, pod: &Uid, container: &str) -> bool {
        self.with_live(pod, container, World::kill)
    }

    /// Somebody removes all ended containers of a pod, and their traces with them.
    pub fn prune(&self, pod: &Uid) {
        let wall = self.0.clock.now();
        let mut world = self.lock();
        let over = |world: &World, id: &ContainerId| {
            world.containers.get(id).is_some_and(|c| c.state.is_over())
                && world
                    .containers
                    .get(id)
                    .and_then(|c| world.sandboxes.get(&c.sandbox))
                    .is_some_and(|s| s.spec.pod_uid == *pod)
        };
        let ids: Vec<_> = world.containers.keys().filter(|id| over(&world, id)).cloned().collect();
        ids.iter().for_each(|id| world.remove(id, wall));
        drop(world);
        self.0.happened.notify_waiters();
    }

    /// Somebody removes a pod's sandboxes with all in them. Answers how many there were.
    pub fn remove_by_hand(&self, pod: &Uid) -> usize {
        let wall = self.0.clock.now();
        let mut world = self.lock();
        let ids: Vec<_> = world
            .sandboxes
            .iter()
            .filter(|(_, s)| s.spec.pod_uid == *pod)
            .map(|(id, _)| id.clone())
            .collect();
        ids.iter().for_each(|id| world.remove_sandbox(id, wall));
        drop(world);
        self.0.happened.notify_waiters();
        ids.len()
    }

    /// Makes a running container answer its probes with no, or with yes again. Answers whether there was one.
    pub fn set_unhealthy(&self, pod: &Uid, container: &str, unhealthy: bool) -> bool {
        self.with_live(pod, container, |world, id, _| {
            if let Some(container) = world.containers.get_mut(id) {
                container.unhealthy = unhealthy;
            }
        })
    }

    /// What happened so far, in order.
    #[must_use]
    pub fn records(&self) -> Vec<SimRecord> {
        self.lock().records.iter().cloned().collect()
    }

    /// What happened so far to one pod, in order.
    #[must_use]
    pub fn records_of(&self, pod: &Uid) -> Vec<SimRecord> {
        self.lock().records.iter().filter(|r| r.pod == *pod).cloned().collect()
    }

    /// The containers whose processes run now, ordered by pod and name.
    #[must_use]
    pub fn live(&self) -> Vec<SimContainer> {
        let world = self.lock();
        let mut live: Vec<SimContainer> =
            world.containers.values().filter_map(|container| live_container(&world, container)).collect();
        live.sort();
        live
    }

    /// How many sandboxes there are, whatever their state.
    #[must_use]
    pub fn sandboxes(&self) -> usize {
        self.lock().sandboxes.len()
    }

    /// Puts the questions of network probes to this runtime's containers.
    #[must_use]
    pub fn prober(&self) -> SimProber {
        SimProber::new(std::slice::from_ref(self))
    }

    /// The world, with everything in it that is due by now.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        let mut world = self.0.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.settle(Instant::now(), self.0.clock.now());
        world
    }

    fn with_live(
        &self,
        pod: &Uid,
        name: &str,
        act: impl FnOnce(&mut World, &ContainerId, Timestamp),
    ) -> bool {
        let wall = self.0.clock.now();
        let mut world = self.lock();
        let found = world.containers.iter().find(|(_, c)| {
            c.state.is_running()
                && *c.spec.name == *name
                && world.sandboxes.get(&c.sandbox).is_some_and(|s| s.spec.pod_uid == *pod)
        });
        let Some(id) = found.map(|(id, _)| id.clone()) else { return false };
        act(&mut world, &id, wall);
        drop(world);
        self.0.happened.notify_waiters();
        true
    }

    /// Begins a call: lets its time pass and its faults happen. Answers whether its answer is to be lost.
    pub(super) async fn begin(&self, op: SimOp, subject: &str) -> Result<bool, RuntimeError> {
        // Before the fault is drawn: a healing in between ends it too.
        let healed = self.0.healed.notified();
        let (latency, fault, available) = {
            let mut world = self.lock();
            let latency = world.latency.get(&op).copied().map(|(least, most)| {
                let spread = u64::try_from((most.saturating_sub(least)).as_micros()).unwrap_or(u64::MAX);
                least + Duration::from_micros(world.rng.below(spread.saturating_add(1)))
            });
            let scripted = world.scripted.get_mut(&op).and_then(std::collections::VecDeque::pop_front);
            (latency, scripted.or_else(|| draw(&world)), world.available)
        };
        if let Some(latency) = latency.filter(|l| !l.is_zero()) {
            tokio::time::sleep(latency).await;
        }
        if !available {
            return Err(unavailable());
        }
        match fault {
            None => Ok(false),
            Some(SimFault::Before) => Err(failed(op, subject)),
            Some(SimFault::After) if op == SimOp::Read => Err(unavailable()),
            Some(SimFault::After) => Ok(true),
            Some(SimFault::Slow(by)) => {
                tokio::time::sleep(by).await;
                Ok(false)
            }
            Some(SimFault::Hang) => {
                healed.await;
                Err(unknown(op, subject))
            }
        }
    }

    /// Ends a call that had its effect.
    pub(super) fn end<R>(&self, lost: bool, op: SimOp, subject: &str, result: R) -> Result<R, RuntimeError> {
        self.0.happened.notify_waiters();
        if lost { Err(unknown(op, subject)) } else { Ok(result) }
    }
}

fn live_container(world: &World, container: &super::world::Container) -> Option<SimContainer> {
    let orchestra_core::runtime::ContainerState::Running { started_at } = container.state else {
        return None;
    };
    let spec = &world.sandboxes.get(&container.sandbox)?.spec;
    Some(SimContainer {
        pod: spec.pod_uid.clone(),
        namespace: Arc::clone(&spec.namespace),
        pod_name: Arc::clone(&spec.pod_name),
        container: Arc::clone(&container.spec.name),
        attempt: container.spec.attempt,
        since: started_at,
    })
}

fn draw(world: &World) -> Option<SimFault> {
    let faults = world.faults;
    if world.rng_says(faults.before) {
        return Some(SimFault::Before);
    }
    if world.rng_says(faults.after) {
        return Some(SimFault::After);
    }
    if world.rng_says(faults.hang) {
        return Some(SimFault::Hang);
    }
    world.rng_says(faults.slow).then(|| {
        let most = u64::try_from(faults.slow_by.as_micros()).unwrap_or(u64::MAX);
        SimFault::Slow(Duration::from_micros(world.rng.below(most.saturating_add(1))))
    })
}

fn unavailable() -> RuntimeError {
    RuntimeError::Unavailable { runtime: "sim".to_owned(), source: Box::new(Simulated) }
}

fn operation(op: SimOp) -> &'static str {
    match op {
        SimOp::Read => "read",
        SimOp::Pull => "pull the image",
        SimOp::RunSandbox => "run the sandbox",
        SimOp::StopSandbox => "stop the sandbox",
        SimOp::RemoveSandbox => "remove the sandbox",
        SimOp::Create => "create the container",
        SimOp::Start => "start the container",
        SimOp::Stop => "stop the container",
        SimOp::Remove => "remove the container",
        SimOp::Exec => "run the program",
    }
}

fn failed(op: SimOp, subject: &str) -> RuntimeError {
    let (subject, operation) = (subject.to_owned(), operation(op));
    RuntimeError::Failed { subject, operation, transient: true, source: Box::new(Simulated) }
}

fn unknown(op: SimOp, subject: &str) -> RuntimeError {
    let (subject, operation) = (subject.to_owned(), operation(op));
    RuntimeError::OutcomeUnknown { subject, operation, source: Box::new(Simulated) }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimRuntime")
    }
}
