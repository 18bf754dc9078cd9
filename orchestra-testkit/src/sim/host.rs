//! A node: a machine, a link to the store, and the real agent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::client::{Client, ListOptions};
use orchestra_core::clock::{Clock, SharedClock};
use orchestra_core::drain::Gates;
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::model::{Pod, Quantity, ResourceList, Scheme, Timestamp, Uid};
use orchestra_core::node::{NodeAgent, ProbeFailure, ProbeRequest, Prober};
use orchestra_core::store::Store;

use super::Mutant;
use super::machine::Machine;
use super::process::{Actor, Link, Process};
use super::runtime::FaultyRuntime;
use super::store::FaultyStore;
use super::world::World;
use crate::sim_runtime::SimVolumes;

/// What every node has: room for the largest workload on the half of the smallest cluster.
const CPU: i64 = 16_000;

/// One node.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) machine: Arc<Machine>,
    pub(crate) link: Arc<Link>,
    world: Arc<World>,
    scheme: Arc<Scheme>,
    gates: Gates,
    volumes: Arc<SimVolumes>,
    clock: SharedClock,
    agent: Mutex<Option<Running>>,
}

/// One life of an agent.
#[derive(Debug)]
struct Running {
    process: Arc<Process>,
    tasks: Tasks,
    _agent: NodeAgent,
}

impl Host {
    pub(crate) fn new(world: &Arc<World>, scheme: &Arc<Scheme>, gates: &Gates, index: usize) -> Self {
        let most = world.options.faults.clock_skew;
        let (ahead, off) = (world.rng.chance(0.5), world.up_to(most));
        Self {
            index,
            machine: Machine::new(world, index),
            link: Arc::new(Link::new()),
            world: Arc::clone(world),
            scheme: Arc::clone(scheme),
            gates: gates.clone(),
            volumes: Arc::default(),
            clock: Arc::new(Skewed { clock: Arc::clone(&world.clock), ahead, off }),
            agent: Mutex::new(None),
        }
    }

    /// Starts the agent, unless it runs or there is no power.
    pub(crate) fn start(&self) {
        let mut slot = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() || !self.machine.is_powered() {
            return;
        }
        self.world.agent(self.index, true);
        let process = Arc::new(Process::new());
        let tasks = Tasks::new();
        let store: Arc<dyn Store> =
            Arc::new(FaultyStore::new(&self.world, Actor::Node(self.index), &process, &self.link));
        let rng = self.world.rng.fork();
        let client =
            Client::new(Arc::clone(&store), Arc::clone(&self.scheme), Arc::clone(&self.clock), rng.clone());
        let caches = Caches::new(store, tasks.clone());
        let recorder = Recorder::start(&client, "node", &tasks);
        let capacity = ResourceList::from([("cpu".to_owned(), Quantity::from_milli(CPU))]);
        let agent = NodeAgent::builder(
            format!("node-{}", self.index),
            &client,
            &caches,
            Arc::new(FaultyRuntime::new(&self.machine, &process)),
        )
        .with_options(|options| options.capacity = capacity)
        .volumes(Arc::<SimVolumes>::clone(&self.volumes))
        .gates(&self.gates)
        .recorder(&recorder)
        .rng(rng)
        .prober(Arc::new(SimProber { machine: Arc::clone(&self.machine) }))
        .tasks(&tasks)
        .start();
        if self.world.options.mutant == Some(Mutant::WritesForEver) {
            tasks.spawn("mutant", write_for_ever(client, format!("node-{}", self.index)));
        }
        *slot = Some(Running { process, tasks, _agent: agent });
        drop(slot);
        if self.world.mutates(Mutant::StopsAtBoot, 1.0) {
            let running = self.machine.running();
            running.iter().for_each(|container| self.machine.stop(container, Duration::from_secs(1)));
        }
    }

    /// The agent dies at once, wherever it is. What it runs goes on.
    pub(crate) fn crash(&self) {
        let running = self.agent.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.process.kill();
            running.tasks.cancel();
            self.world.agent(self.index, false);
        }
    }

    /// The agent hears nothing of the store for a while.
    pub(crate) fn freeze(&self, time: Duration) {
        if let Some(running) = &*self.agent.lock().unwrap_or_else(PoisonError::into_inner) {
            self.world.note(format_args!("node-{} freezes for {time:?}", self.index));
            running.process.freeze(time);
        }
    }

    /// The power fails.
    pub(crate) fn power_off(&self) {
        self.crash();
        self.machine.power_off();
        // Some hosts keep their files over a loss of power. This one does not: `/run`.
        self.volumes.clear();
    }

    /// The power is back, and the agent is started with the host.
    pub(crate) fn power_on(&self) {
        if !self.machine.is_powered() {
            self.machine.power_on();
        }
        self.start();
    }

    /// The pods that have directories here.
    pub(crate) fn volumes(&self) -> Vec<Uid> {
        self.volumes.owners()
    }
}

/// A clock that is off.
#[derive(Debug)]
struct Skewed {
    clock: SharedClock,
    ahead: bool,
    off: Duration,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let off = i64::try_from(self.off.as_micros()).unwrap_or(i64::MAX);
        let micros = now.as_micros();
        Timestamp::from_micros(if self.ahead {
            micros.saturating_add(off)
        } else {
            micros.saturating_sub(off)
        })
    }
}

/// Asks the processes of a machine how they are.
#[derive(Debug)]
struct SimProber {
    machine: Arc<Machine>,
}

#[async_trait]
impl Prober for SimProber {
    async fn probe(&self, request: &ProbeRequest) -> Result<(), ProbeFailure> {
        self.machine.world.seam().await;
        let address = match request {
            ProbeRequest::Tcp { address }
            | ProbeRequest::Http { address, .. }
            | ProbeRequest::Grpc { address, .. } => *address,
            _ => return Err(ProbeFailure::Unsupported("the simulation has no such question".to_owned())),
        };
        let refused = || ProbeFailure::Failed("connection refused".to_owned());
        let ip: IpAddr = address.ip();
        let (_, running) = self.machine.at_address(ip).ok_or_else(refused)?;
        let answers: Vec<_> = running.iter().map(|id| self.machine.answers(id)).collect();
        if answers.is_empty() {
            return Err(refused());
        }
        if answers.contains(&None) {
            std::future::pending::<()>().await;
        }
        if answers.contains(&Some(false)) {
            Err(ProbeFailure::Failed("not ready".to_owned()))
        } else {
            Ok(())
        }
    }
}

/// All hosts, by their names.
pub(crate) type Hosts = BTreeMap<usize, Arc<Host>>;

/// Changes a pod of the node every minute, though nothing is to be changed.
async fn write_for_ever(client: Client, node: String) {
    for round in 0_u64.. {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let Ok(pods) = client.list::<Pod>(&ListOptions::all_namespaces()).await else { continue };
        let Some(pod) = pods.items.iter().find(|pod| pod.node_name.as_deref() == Some(&node)) else {
            continue;
        };
        let client = client.namespace(pod.metadata.namespace.as_str());
        let change = |pod: &mut Pod| {
            pod.metadata.annotations.insert("round".to_owned(), round.to_string());
        };
        let written = client.modify::<Pod>(&pod.metadata.name, change).await;
        tracing::trace!(ok = written.is_ok(), "written for nothing");
    }
}
