//! The default scheduler against its contract and its oracle.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::{Container, GPU, GPU_MILLI, Pod, PodSpec};
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{
    Batch, Decision, Evaluation, Fragmentation, Outcome, Pipeline, PipelineBuilder, Reads, Scheduler,
    TypicalPods, View, schedule,
};
use orchestra_testkit::scheduler_contract::random::{Cluster, content};
use orchestra_testkit::scheduler_contract::{self, NaiveScheduler, Promises};

/// How many random histories the pipeline is compared with the oracle on.
const HISTORIES: u64 = 250;

#[test]
fn the_pipeline_keeps_the_contract() {
    scheduler_contract::run(|| Box::new(Pipeline::kubernetes()));
}

#[test]
fn a_scheduler_against_fragments_keeps_the_contract() {
    scheduler_contract::run(|| Box::new(Pipeline::fragmentation()));
}

#[test]
fn a_pipeline_with_plugins_that_declare_nothing_keeps_the_contract() {
    let undeclared = || {
        let builder =
            Pipeline::builder().filter("odd", |pod, node| (pod.name().len() + node.name().len()) % 5 != 0);
        builder.score("name", 3, |_, node| node.name().len()).build()
    };
    let promises = Promises::default().without_placing_what_fits();
    scheduler_contract::run_with(|| Box::new(undeclared()), promises);
}

#[test]
fn the_oracle_keeps_the_contract() {
    scheduler_contract::run_with(
        || Box::new(NaiveScheduler::default()),
        Promises::default().without_hard_constraints(),
    );
}

#[test]
#[should_panic(expected = "nothing was decided about")]
fn a_scheduler_that_decides_nothing_is_found_out() {
    #[derive(Debug)]
    struct Idle;
    impl Scheduler for Idle {
        fn schedule(&mut self, _batch: &mut Batch<'_>) {}
    }
    scheduler_contract::run(|| Box::new(Idle));
}

#[test]
#[should_panic(expected = "breaks its constraints")]
fn a_scheduler_that_looks_at_room_alone_is_found_out() {
    #[derive(Debug)]
    struct AnyRoom;
    impl Scheduler for AnyRoom {
        fn schedule(&mut self, batch: &mut Batch<'_>) {
            while let Some(unit) = batch.next() {
                batch.place(&unit, |batch, pod| {
                    let found = batch.nodes().find(|node| node.fits(pod)).map(|node| node.id());
                    found.ok_or_else(|| "no room".into())
                });
            }
        }
    }
    scheduler_contract::run(|| Box::new(AnyRoom));
}

#[test]
#[should_panic(expected = "what a scheduler remembers changes what it decides")]
fn a_scheduler_whose_memory_shows_is_found_out() {
    #[derive(Debug)]
    struct Rotating(usize);
    impl Scheduler for Rotating {
        fn schedule(&mut self, batch: &mut Batch<'_>) {
            while let Some(unit) = batch.next() {
                self.0 += 1;
                let turn = self.0;
                batch.place(&unit, |batch, pod| {
                    let nodes: Vec<_> = batch.feasible(pod).map(|node| node.id()).collect();
                    nodes.get(turn % nodes.len().max(1)).copied().ok_or_else(|| batch.explain(pod))
                });
            }
        }
    }
    scheduler_contract::run(|| Box::new(Rotating(0)));
}

fn outcomes(decisions: &[Decision]) -> BTreeMap<String, Option<Arc<str>>> {
    let node = |d: &Decision| match &d.outcome {
        Outcome::Assigned(node) => Some(Arc::clone(node)),
        _ => None,
    };
    decisions.iter().map(|d| (d.pod.metadata.name.clone(), node(d))).collect()
}

/// Each way the pipeline, with all it keeps, places every pod where the oracle does, over a history of changes; what is
/// only tried out leaves no trace; and a view that followed the changes equals one that is made anew.
#[test]
fn the_pipeline_decides_as_its_oracle() {
    for by in [Evaluation::Cheapest, Evaluation::Rankings, Evaluation::Scans] {
        decides_as_its_oracle(by);
    }
}

fn decides_as_its_oracle(by: Evaluation) {
    let (mut placed, mut waiting, mut scanned) = (0, 0, 0);
    for seed in 0..HISTORIES {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        // The oracle makes nobody leave.
        let mut pipeline = Pipeline::builder().preemption(false).seed(seed).evaluation(by).build();
        for round in 0..8 {
            let at = format!("{by:?}, seed {seed}, round {round}");
            let pods = cluster.pending(&rng);
            let before = content(&cluster.view);
            let mut oracle = cluster.oracle(seed);
            let expected = cluster.view.what_if(|view| outcomes(&schedule(&mut oracle, view, pods.clone())));
            let tried = cluster.view.what_if(|view| outcomes(&schedule(&mut pipeline, view, pods.clone())));
            assert_eq!(content(&cluster.view), before, "{at}: trying out leaves a trace");
            let decisions = schedule(&mut pipeline, &mut cluster.view, pods);
            let got = outcomes(&decisions);
            assert_eq!(got, expected, "{at}");
            assert_eq!(got, tried, "{at}: a second try");
            for decision in &decisions {
                match &decision.outcome {
                    Outcome::Pending(why) => {
                        waiting += 1;
                        let counted: usize = why.reasons().iter().map(|r| r.nodes).sum();
                        assert_eq!(counted, cluster.nodes.len(), "{at}: {why}");
                    }
                    _ => placed += 1,
                }
            }
            cluster.confirm(&rng, &decisions);
            cluster.change(&rng);
            assert_eq!(content(&cluster.view), content(&cluster.rebuilt()), "{at}: followed and made anew");
        }
        scanned += pipeline.scanned();
    }
    assert!(
        placed > 1000 && waiting > 1000,
        "the histories are one-sided: {placed} placed, {waiting} waiting"
    );
    assert_eq!(scanned > 500, by != Evaluation::Rankings, "{by:?}: {scanned} pods were placed by scans");
}

/// The score against fragments, with typical pods given by hand, places as its plain definition does, over a history of
/// changes; learnt ones, which equal histories have equal, give the same placements each way.
#[test]
fn fragments_are_avoided_as_their_oracle_does() {
    let pod = |resources: &[(&str, &str)]| {
        let container = resources
            .iter()
            .fold(Container::new("main", "app:1"), |c, (name, amount)| c.request(name, *amount));
        Pod::new("typical").spec(PodSpec::new(container))
    };
    // Parts that floats add exactly in any order.
    let typical = vec![
        (pod(&[("cpu", "500m"), (GPU_MILLI, "450")]), 0.5),
        (pod(&[("cpu", "1"), (GPU, "1")]), 0.25),
        (pod(&[("cpu", "1"), ("memory", "1Gi")]), 0.125),
        (pod(&[("memory", "100Mi"), (GPU, "2")]), 0.125),
    ];
    let spread = [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)];
    for by in [Evaluation::Cheapest, Evaluation::Rankings, Evaluation::Scans] {
        let mut placed = 0;
        for seed in 0..HISTORIES / 2 {
            let rng = Rng::seeded(seed);
            let mut cluster = Cluster::new(&rng);
            let make = |score: Fragmentation, by| {
                let builder = PipelineBuilder::fragmentation(score).preemption(false).default_spread(spread);
                builder.seed(seed).evaluation(by).build()
            };
            let given =
                || Fragmentation::of(TypicalPods::weighted(typical.iter().map(|(pod, part)| (pod, *part))));
            let (mut pipeline, mut learning) = (make(given(), by), make(Fragmentation::learning(), by));
            for round in 0..8 {
                let at = format!("{by:?}, seed {seed}, round {round}");
                let pods = cluster.pending(&rng);
                let mut oracle = cluster.oracle(seed);
                oracle.typical.clone_from(&typical);
                let expected =
                    cluster.view.what_if(|view| outcomes(&schedule(&mut oracle, view, pods.clone())));
                let learnt = |view: &mut View, scheduler: &mut Pipeline| {
                    view.what_if(|view| outcomes(&schedule(scheduler, view, pods.clone())))
                };
                let kept = learnt(&mut cluster.view, &mut learning);
                let fresh =
                    learnt(&mut cluster.view, &mut make(Fragmentation::learning(), Evaluation::Rankings));
                assert_eq!(kept, fresh, "{at}: learnt");
                let decisions = schedule(&mut pipeline, &mut cluster.view, pods);
                assert_eq!(outcomes(&decisions), expected, "{at}");
                placed += expected.values().flatten().count();
                cluster.confirm(&rng, &decisions);
                cluster.change(&rng);
            }
        }
        assert!(placed > 1000, "{placed} placed");
    }
}

/// A plugin that declares what it reads and one that doesn't give the same placements.
#[test]
fn declaring_reads_changes_speed_alone() {
    for seed in 0..HISTORIES / 4 {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        let with = |reads: Reads| {
            let builder = Pipeline::builder().filter("few", |_, node| node.pods().len() < 3).reads(reads);
            builder
                .score("ssd", 9, |_, node| if node.label("disk") == Some("ssd") { 70 } else { 0 })
                .reads(reads)
                .build()
        };
        let (mut declared, mut undeclared) = (with(Reads::NODE | Reads::PODS), with(Reads::ANYTHING));
        for round in 0..6 {
            let pods = cluster.pending(&rng);
            let slow = cluster.view.what_if(|view| outcomes(&schedule(&mut undeclared, view, pods.clone())));
            let decisions = schedule(&mut declared, &mut cluster.view, pods);
            assert_eq!(outcomes(&decisions), slow, "seed {seed}, round {round}");
            cluster.confirm(&rng, &decisions);
            cluster.change(&rng);
        }
    }
}

/// Whoever has others leave could not go anywhere without it, can go there then, and not if one of them stayed; and
/// whoever waits could go nowhere even if all of lower priority left.
#[test]
fn preemption_helps_is_needed_and_is_found() {
    let (mut preempting, mut waiting) = (0, 0);
    let priority = |pod: &Pod| pod.spec.priority.unwrap_or(0);
    for seed in 0..HISTORIES {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        let mut pipeline = Pipeline::builder().seed(seed).build();
        for round in 0..8 {
            // One by one: later decisions would change what is looked at.
            for pod in cluster.pending(&rng).into_iter().take(4) {
                let at = format!("seed {seed}, round {round}, {}", pod.metadata.name);
                let before = content(&cluster.view);
                let again =
                    cluster.view.what_if(|view| schedule(&mut pipeline, view, [Arc::clone(&pod)]).remove(0));
                assert_eq!(content(&cluster.view), before, "{at}: trying out leaves a trace");
                let oracle = cluster.oracle(seed);
                let nodes: Vec<String> = cluster.nodes.keys().cloned().collect();
                let allowed_without = |view: &mut View, node: &str, gone: &[Arc<Pod>]| {
                    view.what_if(|view| {
                        for pod in gone {
                            view.pod_removed(&pod.metadata.uid);
                        }
                        oracle.allows(view, &pod, node)
                    })
                };
                match &again.outcome {
                    Outcome::Preempting { node, victims } => {
                        preempting += 1;
                        let nowhere = nodes.iter().all(|n| !allowed_without(&mut cluster.view, n, &[]));
                        assert!(nowhere, "{at}: others leave though there is a node for it");
                        assert!(allowed_without(&mut cluster.view, node, victims), "{at}: not there even so");
                        for spared in 0..victims.len() {
                            let mut fewer = victims.clone();
                            if fewer.remove(spared).is_terminating() {
                                continue;
                            }
                            let needless = allowed_without(&mut cluster.view, node, &fewer);
                            assert!(!needless, "{at}: {} could stay", victims[spared].metadata.name);
                        }
                    }
                    Outcome::Pending(_) => {
                        waiting += 1;
                        for node in &nodes {
                            let there = cluster.view.node_named(node).unwrap();
                            let lower = there.pods().filter(|p| priority(p) < priority(&pod));
                            let lower: Vec<Arc<Pod>> = lower.cloned().collect();
                            let room = !lower.is_empty() && allowed_without(&mut cluster.view, node, &lower);
                            assert!(!room, "{at}: room on {node} was not found");
                        }
                    }
                    _ => {}
                }
                let decisions = schedule(&mut pipeline, &mut cluster.view, [pod]);
                assert_eq!(decisions[0].outcome, again.outcome, "{at}: a second try");
                cluster.confirm(&rng, &decisions);
            }
            cluster.change(&rng);
            assert_eq!(content(&cluster.view), content(&cluster.rebuilt()), "seed {seed}, round {round}");
        }
    }
    assert!(preempting > 100 && waiting > 300, "one-sided: {preempting} preempting, {waiting} waiting");
}
