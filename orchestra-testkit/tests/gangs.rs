//! Gangs on random clusters: all or nothing, in one domain, as the oracle has it, also where others must leave for them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orchestra_core::model::Pod;
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{Decision, Evaluation, Outcome, Pending, Pipeline, schedule};
use orchestra_testkit::scheduler_contract::ZONE;
use orchestra_testkit::scheduler_contract::random::{Cluster, content};

/// How many random histories are looked at.
const HISTORIES: u64 = 120;

/// What is asked of a gang.
#[derive(Clone, Debug)]
struct Wish {
    least: usize,
    within: Option<&'static str>,
}

fn below(rng: &Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}

/// Pods that wait, most of them in gangs.
fn gangs(rng: &Rng, mut pods: Vec<Arc<Pod>>) -> (Vec<Pending>, BTreeMap<String, Wish>) {
    let (mut units, mut wishes) = (Vec::new(), BTreeMap::new());
    while !pods.is_empty() {
        let members: Vec<_> = pods.drain(..pods.len().min(1 + below(rng, 4))).collect();
        if rng.chance(0.3) {
            units.extend(members.into_iter().map(Pending::from));
            continue;
        }
        let within = [None, Some(ZONE), Some("disk")][below(rng, 3)];
        let wish = Wish { least: 1 + below(rng, members.len()), within };
        let name = format!("gang-{}", wishes.len());
        let gang = Pending::gang(name.as_str(), members, wish.least);
        units.push(wish.within.map_or(gang.clone(), |key| gang.within(key)));
        wishes.insert(name, wish);
    }
    (units, wishes)
}

fn outcomes(decisions: &[Decision]) -> BTreeMap<String, Option<Arc<str>>> {
    let node = |d: &Decision| match &d.outcome {
        Outcome::Assigned(node) | Outcome::Preempting { node, .. } => Some(Arc::clone(node)),
        _ => None,
    };
    decisions.iter().map(|d| (d.pod.metadata.name.clone(), node(d))).collect()
}

/// Checks every gang. Answers how many were placed, and how many were not.
fn check(
    cluster: &Cluster,
    wishes: &BTreeMap<String, Wish>,
    decisions: &[Decision],
    at: &str,
) -> (usize, usize) {
    let mut of: BTreeMap<&str, Vec<&Decision>> = BTreeMap::new();
    for decision in decisions {
        if let Some(gang) = decision.gang.as_deref() {
            of.entry(gang).or_default().push(decision);
        }
    }
    let (mut placed_gangs, mut waiting) = (0, 0);
    for (name, wish) in wishes {
        let decisions = &of[name.as_str()];
        let waits = decisions.iter().filter(|d| matches!(d.outcome, Outcome::Preempting { .. })).count();
        let nodes: Vec<&Arc<str>> = decisions
            .iter()
            .filter_map(|d| match &d.outcome {
                Outcome::Assigned(node) | Outcome::Preempting { node, .. } => Some(node),
                _ => None,
            })
            .collect();
        let placed = nodes.len();
        assert!(placed == 0 || placed >= wish.least, "{at}: {placed} of {name}, {wish:?}");
        assert!(
            waits == 0 || waits == placed,
            "{at}: {waits} of {placed} of {name} wait for others to leave"
        );
        if let Some(key) = wish.within {
            let domain =
                |node: &&Arc<str>| cluster.nodes[&***node].metadata.labels.value(key).map(str::to_owned);
            let domains: BTreeSet<Option<String>> = nodes.iter().map(domain).collect();
            assert!(
                domains.len() <= 1 && !domains.contains(&None),
                "{at}: {name}, {wish:?} is in {domains:?}"
            );
        }
        if placed > 0 { placed_gangs += 1 } else { waiting += 1 }
    }
    (placed_gangs, waiting)
}

#[test]
fn gangs_are_placed_as_by_the_oracle_and_never_in_part() {
    let (mut placed, mut waiting) = (0, 0);
    for (seed, by) in (0..HISTORIES)
        .flat_map(|s| [(s, Evaluation::Cheapest), (s, Evaluation::Rankings), (s, Evaluation::Scans)])
    {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        let mut pipeline = Pipeline::builder().preemption(false).seed(seed).evaluation(by).build();
        for round in 0..6 {
            let at = format!("{by:?}, seed {seed}, round {round}");
            let pods = cluster.pending(&rng);
            let (units, wishes) = gangs(&rng, pods);
            let before = content(&cluster.view);
            let mut oracle = cluster.oracle(seed);
            let expected = cluster.view.what_if(|view| outcomes(&schedule(&mut oracle, view, units.clone())));
            assert_eq!(content(&cluster.view), before, "{at}: trying out leaves a trace");
            let decisions = schedule(&mut pipeline, &mut cluster.view, units);
            assert_eq!(outcomes(&decisions), expected, "{at}");
            let (some, none) = check(&cluster, &wishes, &decisions, &at);
            (placed, waiting) = (placed + some, waiting + none);
            cluster.confirm(&rng, &decisions);
            cluster.change(&rng);
            assert_eq!(content(&cluster.view), content(&cluster.rebuilt()), "{at}: followed and made anew");
        }
    }
    assert!(placed > 500 && waiting > 500, "one-sided: {placed} placed, {waiting} waiting");
}

/// A gang has others leave for all that it needs or for nobody; whoever leaves is less important than all who stay for it;
/// and where a gang waits, the view has nobody on the way out for it.
#[test]
fn gangs_preempt_for_all_or_for_none() {
    let (mut preempting, mut victims_seen) = (0, 0);
    for seed in 0..HISTORIES {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        let mut pipeline = Pipeline::builder().seed(seed).build();
        for round in 0..8 {
            let at = format!("seed {seed}, round {round}");
            let pods = cluster.pending(&rng);
            let (units, wishes) = gangs(&rng, pods);
            let before = content(&cluster.view);
            let again = cluster.view.what_if(|view| outcomes(&schedule(&mut pipeline, view, units.clone())));
            assert_eq!(content(&cluster.view), before, "{at}: trying out leaves a trace");
            let decisions = schedule(&mut pipeline, &mut cluster.view, units);
            assert_eq!(outcomes(&decisions), again, "{at}: a second try");
            check(&cluster, &wishes, &decisions, &at);
            let mut leaving = BTreeSet::new();
            for decision in &decisions {
                let Outcome::Preempting { victims, .. } = &decision.outcome else { continue };
                preempting += usize::from(decision.gang.is_some());
                for victim in victims {
                    victims_seen += 1;
                    leaving.insert(victim.metadata.uid.clone());
                    assert!(victim.spec.importance() < decision.pod.spec.importance(), "{at}");
                    let own = decisions.iter().any(|d| {
                        d.gang.is_some()
                            && d.gang == decision.gang
                            && d.pod.metadata.uid == victim.metadata.uid
                    });
                    assert!(!own, "{at}: {} makes one of its own gang leave", decision.pod.metadata.name);
                }
            }
            for (pod, _) in cluster.view.pods() {
                let uid = &pod.metadata.uid;
                assert_eq!(
                    cluster.view.is_preempted(uid),
                    leaving.contains(uid),
                    "{at}: {}",
                    pod.metadata.name
                );
            }
            cluster.confirm(&rng, &decisions);
            cluster.change(&rng);
        }
    }
    assert!(
        preempting > 50 && victims_seen > 50,
        "one-sided: {preempting} preempting, {victims_seen} victims"
    );
}
