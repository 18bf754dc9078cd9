//! When what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use orchestra_core::model::{Revision, Scheme};
use orchestra_core::rng::Rng;
use orchestra_core::store::{Scope, Store};

use super::control_plane::ControlPlane;
use super::event::ExitCause;
use super::host::{Host, Hosts};
use super::world::World;

/// How long an agent, the control plane or a network is away at most: longer than a lease lasts.
const AWAY: Duration = Duration::from_secs(90);

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Compaction,
    Freeze,
    ControlCrash,
    AgentCrash,
    Exit,
    Hang,
    PowerLoss,
    Partition,
}

/// Makes things go wrong, one after the other, and has them end.
#[derive(Debug)]
pub(crate) struct Mischief {
    world: Arc<World>,
    scheme: Arc<Scheme>,
    hosts: Hosts,
    control: Option<ControlPlane>,
    rng: Rng,
}

/// What a step of the schedule does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(Fault),
    ControlBack,
    AgentBack(usize),
    PowerBack(usize),
    LinkBack(usize),
}

impl Mischief {
    pub(crate) fn new(
        world: &Arc<World>,
        scheme: &Arc<Scheme>,
        hosts: &Hosts,
        control: ControlPlane,
    ) -> Self {
        Self {
            world: Arc::clone(world),
            scheme: Arc::clone(scheme),
            hosts: hosts.clone(),
            control: Some(control),
            rng: world.rng.fork(),
        }
    }

    /// All faults of the options, each at a random moment of `time`. Then everything is back.
    pub(crate) async fn wreak(&mut self, time: Duration) {
        let faults = &self.world.options.faults;
        let kinds = [
            (Fault::Compaction, faults.compactions),
            (Fault::Freeze, faults.freezes),
            (Fault::ControlCrash, faults.control_crashes),
            (Fault::AgentCrash, faults.agent_crashes),
            (Fault::Exit, faults.exits),
            (Fault::Hang, faults.hangs),
            (Fault::PowerLoss, faults.power_losses),
            (Fault::Partition, faults.partitions),
        ];
        let mut steps: Vec<(Duration, Step)> = Vec::new();
        for (fault, count) in kinds {
            steps.extend((0..count).map(|_| (self.some(time), Step::Begin(fault))));
        }
        steps.sort_by_key(|(at, _)| *at);
        let start = self.world.at();
        while !steps.is_empty() {
            let (at, step) = steps.remove(0);
            tokio::time::sleep(at.saturating_sub(self.world.at().saturating_sub(start))).await;
            if let Some((later, back)) = self.step(step).await {
                let at = at + later;
                let place = steps.partition_point(|(other, _)| *other <= at);
                steps.insert(place, (at, back));
            }
        }
        tokio::time::sleep(time.saturating_sub(self.world.at().saturating_sub(start))).await;
        self.heal();
    }

    /// Everything that is away comes back.
    fn heal(&mut self) {
        if self.control.is_none() {
            self.control = Some(ControlPlane::start(&self.world, &self.scheme));
        }
        for host in self.hosts.values() {
            host.link.set(true);
            host.power_on();
            // Not every pod has a liveness probe that would have it started again.
            host.machine.wake();
        }
    }

    fn some(&self, most: Duration) -> Duration {
        Duration::from_millis(self.rng.below(u64::try_from(most.as_millis()).unwrap_or(1)))
    }

    /// How long something is away: mostly short, sometimes until all notice.
    fn away(&self) -> Duration {
        self.some(if self.rng.chance(0.5) { AWAY / 10 } else { AWAY })
    }

    fn host(&self) -> Arc<Host> {
        let pick = usize::try_from(self.rng.below(self.hosts.len() as u64)).unwrap_or(0);
        Arc::clone(&self.hosts[&pick])
    }

    async fn step(&mut self, step: Step) -> Option<(Duration, Step)> {
        match step {
            Step::Begin(fault) => return self.begin(fault).await,
            Step::ControlBack => {
                if self.control.is_none() {
                    self.control = Some(ControlPlane::start(&self.world, &self.scheme));
                }
            }
            Step::AgentBack(host) => self.hosts[&host].start(),
            Step::PowerBack(host) => self.hosts[&host].power_on(),
            Step::LinkBack(host) => {
                self.world.note(format_args!("node-{host} link up"));
                self.hosts[&host].link.set(true);
            }
        }
        None
    }

    async fn begin(&mut self, fault: Fault) -> Option<(Duration, Step)> {
        let host = self.host();
        self.world.note(format_args!("fault {fault:?}"));
        match fault {
            Fault::Compaction => {
                let last = self.world.store.revision(&Scope::default()).await.unwrap_or_default();
                let through = Revision(last.0.saturating_sub(self.rng.below(3)));
                // A memory store has no way to fail here.
                let _compacted = self.world.store.compact(through).await.is_ok();
                None
            }
            Fault::Freeze => {
                let time = self.some(self.world.options.faults.freeze);
                if self.rng.chance(0.5) {
                    host.freeze(time);
                } else if let Some(control) = &self.control {
                    self.world.note(format_args!("control plane freezes for {time:?}"));
                    control.freeze(time);
                }
                None
            }
            Fault::ControlCrash => {
                self.control.take()?.crash();
                self.world.note(format_args!("control plane dies"));
                Some((self.away() / 3, Step::ControlBack))
            }
            Fault::AgentCrash => {
                host.crash();
                Some((self.away() / 2, Step::AgentBack(host.index)))
            }
            Fault::Exit | Fault::Hang => {
                let running = host.machine.running();
                let pick = usize::try_from(self.rng.below(running.len() as u64)).unwrap_or(0);
                let container = running.get(pick)?;
                if fault == Fault::Hang {
                    host.machine.hang(container);
                } else {
                    let codes = [0, 1, 139];
                    let code = codes[usize::try_from(self.rng.below(3)).unwrap_or(0)];
                    host.machine.exit(container, code, ExitCause::Itself);
                }
                None
            }
            Fault::PowerLoss => {
                host.power_off();
                Some((self.away(), Step::PowerBack(host.index)))
            }
            Fault::Partition => {
                self.world.note(format_args!("node-{} link down", host.index));
                host.link.set(false);
                Some((self.away(), Step::LinkBack(host.index)))
            }
        }
    }
}
