//! One run, from the seed to the outcome.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use orchestra_core::drain::{DrainGate, Gates};
use orchestra_core::engine::Tasks;
use orchestra_core::model::Scheme;

use super::control_plane::ControlPlane;
use super::event::Event;
use super::faults::Mischief;
use super::host::{Host, Hosts};
use super::traffic::SimTraffic;
use super::users::Users;
use super::world::{Phase, World};
use super::{Options, Outcome, Violation};

/// How long after the last fault everything must be as desired: two minutes, and the longest back-off.
const SETTLES: Duration = Duration::from_secs(120 + 300);

/// For how long nothing may happen then: longer than any net under lost events is wide.
const QUIET: Duration = Duration::from_secs(660);

thread_local! {
    /// What panicked on this thread: tasks that panic end silently.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A whole cluster, simulated.
#[derive(Clone, Copy, Debug)]
pub struct Simulation;

impl Simulation {
    /// Lives through the run that follows from `seed` and `options`, on a thread of its own.
    ///
    /// # Panics
    /// Where the operating system gives no thread.
    #[must_use]
    pub fn run(seed: u64, options: &Options) -> Outcome {
        let options = options.clone();
        let thread = std::thread::Builder::new().name(format!("seed-{seed}"));
        #[allow(clippy::expect_used, reason = "without threads there are no tests")]
        let running = thread.spawn(move || live(seed, &options)).expect("a thread can be started");
        #[allow(clippy::expect_used, reason = "a defect of the simulation itself, to be seen as such")]
        running.join().expect("the simulation does not panic")
    }
}

fn live(seed: u64, options: &Options) -> Outcome {
    watch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    #[allow(clippy::expect_used, reason = "a runtime without I/O needs nothing that could be missing")]
    let runtime = runtime.expect("a runtime can be built");
    let world = runtime.block_on(async {
        let world = World::new(seed, options);
        tokio::select! {
            biased;
            () = world.failed.notified() => {}
            () = life(&world) => {}
        }
        world
    });
    let simulated = runtime.block_on(async { world.at() });
    let mut violations = world.violations();
    for what in PANICS.with(|panics| std::mem::take(&mut *panics.borrow_mut())) {
        violations.insert(0, Violation { invariant: "panic", at: simulated, what });
    }
    let trace = world.trace.lines();
    Outcome {
        seed,
        options: options.clone(),
        violations,
        events: world.trace.events(),
        trace_hash: world.trace.hash(),
        simulated,
        trace,
    }
}

async fn life(world: &Arc<World>) {
    let scheme = Arc::new(Scheme::kubernetes());
    let (gates, tasks) = (Gates::new(), Tasks::new());
    let mut users = Users::new(world, &scheme);
    let hosts: Hosts = (0..world.options.nodes)
        .map(|index| (index, Arc::new(Host::new(world, &scheme, &gates, index))))
        .collect::<BTreeMap<_, _>>();
    let control = ControlPlane::start(world, &scheme);
    hosts.values().for_each(|host| host.start());
    let traffic = world.options.traffic.then(|| SimTraffic::start(world, &hosts, &tasks));
    let _registered = traffic.map(|traffic| gates.register(traffic as Arc<dyn DrainGate>));
    users.set_up().await;
    // Sometimes everything is up before anything goes wrong.
    if world.rng.chance(0.5) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    world.enter(Phase::Chaos);
    let mut mischief = Mischief::new(world, &scheme, &hosts, control);
    let (chaos, actions) = (world.options.chaos, world.options.actions);
    tokio::join!(mischief.wreak(chaos), users.act(actions, chaos));
    world.enter(Phase::Healing);
    users.put_right().await;
    tokio::time::sleep(SETTLES).await;
    world.milestone(&Event::Settled);
    leftovers(world, &hosts);
    world.enter(Phase::Quiet);
    tokio::time::sleep(QUIET).await;
    world.milestone(&Event::End);
}

/// S41: the directories of pods that are gone are gone.
fn leftovers(world: &Arc<World>, hosts: &Hosts) {
    for host in hosts.values() {
        for uid in host.volumes() {
            if world.look(|view| view.objects.pod(&uid).is_none()) {
                world.fail("S41", format!("the directories of pod {uid} are left on node-{}", host.index));
            }
        }
    }
}

/// Takes note of panics, by thread: a task that panics ends, and nobody else would tell.
fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.borrow_mut().push(info.to_string()));
            before(info);
        }));
    });
}
