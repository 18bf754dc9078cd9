//! What every [`Scheduler`] must do, as a test to run on yours, and what a scheduler's author needs beside it:
//! clusters in a line ([`Nodes`], [`replicas`]), random ones ([`random`]), and a plain oracle ([`NaiveScheduler`]).
//!
//! ```
//! use orchestra_core::scheduler::Pipeline;
//! use orchestra_testkit::scheduler_contract;
//!
//! scheduler_contract::run(|| Box::new(Pipeline::kubernetes()));
//! ```

mod cluster;
mod naive;
mod naive_domains;
mod naive_fragmentation;
mod naive_gpus;
pub mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use cluster::{HOSTNAME, Nodes, ZONE, replicas};
pub use naive::NaiveScheduler;
use orchestra_core::model::{Container, Pod, PodSchedulingGate, PodSpec};
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{Decision, Outcome, Pending, Scheduler, UNDECIDED, View, schedule};

/// How many random clusters the suite runs: enough that each known mistake shows in every run, few enough for
/// about a second in a debug build.
const SEEDS: u64 = 40;

/// What a scheduler promises beyond the common contract.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Promises {
    /// A pod without wishes is placed where a node has room for it.
    pub places_what_fits: bool,
    /// Selectors, taints, affinity and spread hold for every placement. Room and host ports always must.
    pub hard_constraints: bool,
}

impl Default for Promises {
    fn default() -> Self {
        Self { places_what_fits: true, hard_constraints: true }
    }
}

impl Promises {
    /// It may leave a pod pending for reasons of its own.
    #[must_use]
    pub fn without_placing_what_fits(mut self) -> Self {
        self.places_what_fits = false;
        self
    }

    /// It places pods against Kubernetes' rules, by intent.
    #[must_use]
    pub fn without_hard_constraints(mut self) -> Self {
        self.hard_constraints = false;
        self
    }
}

/// Runs the suite on schedulers that `make` makes, each time a fresh one, all alike.
///
/// # Panics
/// Where the scheduler breaks its contract; the message names the seed.
pub fn run(make: impl Fn() -> Box<dyn Scheduler>) {
    run_with(make, Promises::default());
}

/// The same for a scheduler with other [`Promises`].
///
/// # Panics
/// Where the scheduler breaks its contract; the message names the seed.
pub fn run_with(make: impl Fn() -> Box<dyn Scheduler>, promises: Promises) {
    fills_a_cluster_and_no_more(&make, promises);
    keeps_back_what_must_not_be_placed(&make);
    places_a_gang_or_none_of_it(&make, promises);
    for seed in 0..SEEDS {
        survives_a_random_history(&make, promises, seed);
    }
}

fn spec(cpu: &str) -> PodSpec {
    PodSpec::new(Container::new("main", "app").request("cpu", cpu))
}

fn node_of(decision: &Decision) -> Option<&Arc<str>> {
    match &decision.outcome {
        Outcome::Assigned(node) => Some(node),
        _ => None,
    }
}

/// Twelve pods fit; whoever counts what it gives away places no more, and says why.
fn fills_a_cluster_and_no_more(make: &impl Fn() -> Box<dyn Scheduler>, promises: Promises) {
    let mut view = Nodes::uniform(3).view();
    let decisions = schedule(&mut *make(), &mut view, replicas("web", 20, spec("1")));
    check_decided(&decisions, "a full cluster");
    check_room(&view, "a full cluster");
    let placed = decisions.iter().filter(|d| node_of(d).is_some()).count();
    assert!(!promises.places_what_fits || placed == 12, "{placed} pods were placed where 12 have room");

    let mut empty = View::new();
    let decisions = schedule(&mut *make(), &mut empty, replicas("web", 2, spec("1")));
    assert!(decisions.iter().all(|d| node_of(d).is_none()), "a pod was placed in a cluster without nodes");
    check_decided(&decisions, "an empty cluster");
    assert!(schedule(&mut *make(), &mut view, Vec::<Arc<Pod>>::new()).is_empty());
}

fn keeps_back_what_must_not_be_placed(make: &impl Fn() -> Box<dyn Scheduler>) {
    let mut view = Nodes::uniform(3).view();
    let mut gated = Pod::clone(&replicas("gated", 1, spec("1"))[0]);
    let gate = PodSchedulingGate { name: "test".into(), ..PodSchedulingGate::default() };
    gated.spec_mut().scheduling_gates.push(gate);
    let bound = Pod::clone(&replicas("bound", 1, spec("1"))[0]).node("node-1");
    view.pod_changed(&Arc::new(bound.clone()));
    let decisions = schedule(&mut *make(), &mut view, [Arc::new(gated), Arc::new(bound)]);
    assert!(decisions.iter().all(|d| node_of(d).is_none()), "{decisions:?}");
    check_decided(&decisions, "pods that must not be placed");
}

fn places_a_gang_or_none_of_it(make: &impl Fn() -> Box<dyn Scheduler>, promises: Promises) {
    for (size, fits) in [(12, true), (13, false)] {
        let mut view = Nodes::uniform(3).view();
        let gang = Pending::gang("team", replicas("team", size, spec("1")), size);
        // Behind the gang, by name.
        let single = replicas("the-last", 1, spec("1")).into_iter().map(Pending::from);
        let decisions = schedule(&mut *make(), &mut view, [gang].into_iter().chain(single));
        check_decided(&decisions, "a gang");
        check_room(&view, "a gang");
        let of_gang = |d: &&Decision| d.pod.metadata.name.starts_with("team-");
        let placed = decisions.iter().filter(of_gang).filter(|d| node_of(d).is_some()).count();
        assert!(placed == 0 || placed == size, "{placed} of a gang of {size} were placed");
        assert!(!fits || !promises.places_what_fits || placed == size, "a gang that fits was not placed");
        assert!(fits || placed == 0, "a gang of 13 was placed where 12 have room");
    }
}

/// Batches with changes of the cluster between them: everything is decided, nothing overcommitted, constraints
/// hold, gone nodes get nothing, and neither a second scheduler nor one without memory decides otherwise.
fn survives_a_random_history(make: &impl Fn() -> Box<dyn Scheduler>, promises: Promises, seed: u64) {
    let rng = Rng::seeded(seed);
    let mut cluster = random::Cluster::new(&rng);
    let (mut one, mut two) = (make(), make());
    for round in 0..6 {
        let at = format!("seed {seed}, round {round}");
        let pods = cluster.pending(&rng);
        let again = cluster.view.what_if(|view| outcomes(&schedule(&mut *two, view, pods.clone())));
        let fresh = cluster.view.what_if(|view| outcomes(&schedule(&mut *make(), view, pods.clone())));
        let decisions = schedule(&mut *one, &mut cluster.view, pods.clone());
        check_decided(&decisions, &at);
        check_room(&cluster.view, &at);
        assert_eq!(decisions.len(), pods.len(), "{at}: one decision for each pod");
        assert_eq!(outcomes(&decisions), again, "{at}: two schedulers decide differently");
        assert_eq!(outcomes(&decisions), fresh, "{at}: what a scheduler remembers changes what it decides");
        for (decision, node) in decisions.iter().filter_map(|d| Some((d, node_of(d)?))) {
            let pod = &decision.pod;
            assert!(
                cluster.nodes.contains_key(&**node),
                "{at}: {} was put on {node}, which is gone",
                pod.metadata.name
            );
            assert_eq!(
                cluster.view.node_of(&pod.metadata.uid),
                Some(node),
                "{at}: the view has it elsewhere"
            );
            let apart_or_chosen = cluster.lasting_constraints_hold(pod, node);
            assert!(
                !promises.hard_constraints || apart_or_chosen,
                "{at}: {} on {node} breaks its constraints",
                pod.metadata.name
            );
        }
        cluster.confirm(&rng, &decisions);
        cluster.change(&rng);
    }
}

/// Pods by name with their nodes, and who must leave those for them.
fn outcomes(decisions: &[Decision]) -> BTreeMap<String, (Option<Arc<str>>, Vec<String>)> {
    let outcome = |d: &Decision| match &d.outcome {
        Outcome::Preempting { node, victims } => {
            (Some(Arc::clone(node)), victims.iter().map(|victim| victim.metadata.name.clone()).collect())
        }
        _ => (node_of(d).cloned(), Vec::new()),
    };
    decisions.iter().map(|d| (d.pod.metadata.name.clone(), outcome(d))).collect()
}

fn check_decided(decisions: &[Decision], at: &str) {
    for decision in decisions {
        let name = &decision.pod.metadata.name;
        if let Outcome::Preempting { node, victims } = &decision.outcome {
            let priority = |pod: &Pod| pod.spec.priority.unwrap_or(0);
            let fair = victims.iter().all(|victim| priority(victim) < priority(&decision.pod));
            assert!(fair, "{at}: {name} makes pods leave {node} whose priority is not lower");
            // Those of a gang may wait for who leaves for the others of it.
            assert!(
                decision.gang.is_some() || !victims.is_empty(),
                "{at}: {name} waits on {node} for nobody"
            );
        }
        if let Outcome::Pending(why) = &decision.outcome {
            assert_ne!(why.to_string(), UNDECIDED, "{at}: nothing was decided about {name}");
            assert!(!why.to_string().is_empty(), "{at}: {name} is pending without a reason");
        }
    }
}

/// No node is overcommitted, and no host port taken twice.
fn check_room(view: &View, at: &str) {
    let stays = |pod: &&Arc<Pod>| !view.is_preempted(&pod.metadata.uid) && !pod.is_terminating();
    for node in view.nodes() {
        let resources = node.node().status.allocatable.keys().map(String::as_str);
        for resource in resources.chain(["cpu", "memory", "pods"]) {
            let share = |pods: &mut dyn Iterator<Item = &Arc<Pod>>| -> i64 {
                pods.map(|pod| requested(pod, resource)).sum()
            };
            let has = node.allocatable(resource);
            assert_eq!(
                share(&mut node.pods()),
                node.used(resource),
                "{at}: the view counts {resource} of {} wrong",
                node.name()
            );
            // Whoever was preempted has its share until it is gone; what it leaves was given to another.
            let requested = share(&mut node.pods().filter(stays));
            let grown_small = random::shrank(node.node());
            assert!(
                requested <= has || grown_small,
                "{at}: {} of {has} {resource} on {}",
                requested,
                node.name()
            );
        }
        let gpus = naive_gpus::taken(node.node(), node.pods().map(|pod| &**pod));
        let left: Vec<u32> = gpus.iter().map(|taken| 1000_u32.saturating_sub(*taken)).collect();
        let counted: Vec<u32> = node.gpus().map(u32::from).collect();
        assert_eq!(left, counted, "{at}: the view counts GPUs of {} wrong", node.name());
        let staying = naive_gpus::taken(node.node(), node.pods().filter(stays).map(|pod| &**pod));
        let fits = staying.iter().all(|taken| *taken <= 1000) || random::shrank(node.node());
        assert!(fits, "{at}: GPUs of {} are taken twice: {staying:?}", node.name());
        let ports: Vec<_> = node.pods().filter(stays).flat_map(|pod| pod.spec.host_ports()).collect();
        for (i, port) in ports.iter().enumerate() {
            let clash = ports[..i].iter().any(|other| other.conflicts_with(port));
            assert!(!clash, "{at}: port {} is taken twice on {}", port.port, node.name());
        }
    }
}

fn requested(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" {
        return 1;
    }
    let amount = pod.spec.requests().get(resource).copied().unwrap_or_default();
    if resource == "cpu" { amount.milli() } else { amount.value() }
}
