//! Moves that a rebalance proposes, made one by one on random clusters: at no step is anything broken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::{Pod, PodDisruptionBudget};
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{NodeView, Pipeline, Rebalance, RebalancePlan, View, schedule};
use orchestra_testkit::scheduler_contract::NaiveScheduler;
use orchestra_testkit::scheduler_contract::random::{Cluster, content};

/// How many random histories are looked at.
const HISTORIES: u64 = 300;
/// How many moves are asked for at most.
const MOST: usize = 6;

/// Nodes that are half full cost most: neither have they room for large pods nor can they be switched off.
fn half_full(node: &NodeView<'_>) -> f64 {
    let used = node.used("cpu") as f64 / node.allocatable("cpu").max(1) as f64;
    (used * (1.0 - used)).max(0.0)
}

fn cost(view: &View) -> f64 {
    view.nodes().map(|node| half_full(&node)).sum()
}

/// The pods that could be placed where they are.
fn settled(oracle: &NaiveScheduler, view: &View) -> Vec<(Arc<Pod>, Arc<str>)> {
    let there = view.pods().filter(|(pod, node)| oracle.allows(view, pod, node));
    there.map(|(pod, node)| (Arc::clone(pod), Arc::clone(node))).collect()
}

/// Nothing that held before is broken now, but for the pod that moves.
fn assert_kept(oracle: &NaiveScheduler, view: &View, before: &[(Arc<Pod>, Arc<str>)], moved: &Pod, at: &str) {
    for (pod, node) in before.iter().filter(|(pod, _)| pod.metadata.uid != moved.metadata.uid) {
        let holds = oracle.allows(view, pod, node);
        assert!(holds, "{at}: {} on {node} has its constraints broken", pod.metadata.name);
    }
}

/// Makes the moves of a plan, and checks each.
fn carry_out(cluster: &mut Cluster, plan: &RebalancePlan, budgets: &[PodDisruptionBudget], at: &str) {
    let oracle = cluster.oracle(0);
    for step in plan.moves() {
        let (pod, at) = (&step.pod, format!("{at}, {step}"));
        let covering =
            budgets.iter().filter(|b| b.metadata.namespace == pod.metadata.namespace && b.covers(pod));
        assert!(covering.clone().all(|b| b.status.disruptions_allowed > 0), "{at}: a budget forbids it");
        assert!(!pod.is_terminating(), "{at}: goes anyway");
        assert_eq!(cluster.view.node_of(&pod.metadata.uid), Some(&step.from), "{at}: is elsewhere");
        let before = settled(&oracle, &cluster.view);
        cluster.view.pod_removed(&pod.metadata.uid);
        assert_kept(&oracle, &cluster.view, &before, pod, &at);
        assert!(oracle.allows(&cluster.view, pod, &step.to), "{at}: can't go there");
        cluster.view.pod_changed(&Arc::new(Pod::clone(pod).node(Arc::clone(&step.to))));
        assert_kept(&oracle, &cluster.view, &before, pod, &at);
    }
}

/// A cluster with a history, and budgets that allow something or nothing.
fn cluster(rng: &Rng) -> (Cluster, Vec<PodDisruptionBudget>) {
    let mut cluster = Cluster::new(rng);
    let mut pipeline = Pipeline::kubernetes();
    for _ in 0..3 {
        let pods = cluster.pending(rng);
        let decisions = schedule(&mut pipeline, &mut cluster.view, pods);
        cluster.confirm(rng, &decisions);
        cluster.change(rng);
    }
    // What is only assumed stays where it is.
    cluster.view = cluster.rebuilt();
    let budget = |(namespace, app): (&str, &str)| {
        let mut budget = PodDisruptionBudget::new(app);
        budget.metadata.namespace = namespace.into();
        budget.status.disruptions_allowed = u32::try_from(rng.below(3)).unwrap();
        budget
    };
    let budgets: Vec<_> = [("x", "a"), ("x", "b"), ("y", "a")].map(budget).into();
    for budget in &budgets {
        cluster.view.budget_changed(&Arc::new(budget.clone()));
    }
    (cluster, budgets)
}

#[test]
fn nodes_are_emptied_and_nothing_is_broken_at_any_step() {
    let (mut emptied, mut moves) = (0, 0);
    for seed in 0..HISTORIES {
        let (mut cluster, budgets) = cluster(&Rng::seeded(seed));
        let before = content(&cluster.view);
        let rebalance = Rebalance::emptying_nodes().most_moves(MOST).movable(|_| true);
        let plan = rebalance.plan(&mut Pipeline::kubernetes(), &mut cluster.view);
        assert_eq!(content(&cluster.view), before, "seed {seed}: planning leaves a trace");
        assert!(plan.moves().len() <= MOST);
        carry_out(&mut cluster, &plan, &budgets, &format!("seed {seed}"));
        for name in plan.emptied() {
            assert_eq!(cluster.view.node_named(name).unwrap().pods().len(), 0, "seed {seed}: {name}");
            emptied += 1;
        }
        let used = cluster.view.nodes().filter(|node| node.pods().len() > 0).count();
        assert_eq!(used as f64, plan.cost_after(), "seed {seed}");
        moves += plan.moves().len();
    }
    assert!(emptied > 30 && moves > 60, "one-sided: {emptied} emptied by {moves} moves");
}

#[test]
fn an_objective_gets_better_and_nothing_is_broken_at_any_step() {
    let mut moves = 0;
    for seed in 0..HISTORIES {
        let (mut cluster, budgets) = cluster(&Rng::seeded(seed));
        let before = (content(&cluster.view), cost(&cluster.view));
        let rebalance = Rebalance::lowering(half_full).most_moves(MOST).movable(|_| true);
        let plan = rebalance.plan(&mut Pipeline::kubernetes(), &mut cluster.view);
        assert_eq!(content(&cluster.view), before.0, "seed {seed}: planning leaves a trace");
        assert!(plan.moves().len() <= MOST && (plan.cost_before() - before.1).abs() < 1e-6);
        assert!(plan.moves().is_empty() || plan.cost_after() < plan.cost_before(), "seed {seed}: {plan}");
        carry_out(&mut cluster, &plan, &budgets, &format!("seed {seed}"));
        assert!((cost(&cluster.view) - plan.cost_after()).abs() < 1e-6, "seed {seed}: {plan}");
        let uids: BTreeMap<_, _> = plan.moves().iter().map(|step| (&step.pod.metadata.uid, ())).collect();
        assert_eq!(uids.len(), plan.moves().len(), "seed {seed}: a pod is moved twice");
        moves += plan.moves().len();
    }
    assert!(moves > 150, "one-sided: {moves} moves");
}
