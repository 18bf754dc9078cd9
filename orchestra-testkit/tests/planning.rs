//! What schedulers say they would do against what they do, on random clusters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::{Node, Pod, PodStatus};
use orchestra_core::rng::Rng;
use orchestra_core::scheduler::{Decision, Outcome, Pipeline, WhatIf, explain, schedule};
use orchestra_testkit::scheduler_contract::random::{Cluster, content};

/// How many random histories are looked at.
const HISTORIES: u64 = 120;

fn below(rng: &Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}

/// The pod as one that waits.
fn unbound(pod: &Pod) -> Arc<Pod> {
    let mut pod = pod.clone();
    (pod.node_name, pod.status) = (None, PodStatus::default());
    Arc::new(pod)
}

/// Random suppositions, each also done to `cluster`, which is left without the pods that look for another place: those
/// are added to `waiting`.
fn suppose(rng: &Rng, cluster: &mut Cluster, waiting: &mut Vec<Arc<Pod>>) -> WhatIf {
    let mut what_if = WhatIf::new().pending(waiting.clone());
    for _ in 0..1 + below(rng, 4) {
        let names: Vec<String> = cluster.nodes.keys().cloned().collect();
        let any = (!names.is_empty()).then(|| names[below(rng, names.len())].clone());
        match (rng.below(5), any) {
            (0, _) => {
                let node =
                    Node::new("node-99").capacity("cpu", "4").capacity("memory", "4Gi").capacity("pods", "9");
                what_if = what_if.node(node.clone());
                cluster.view.node_changed(&Arc::new(node));
            }
            (1, Some(name)) => {
                what_if = what_if.without_node(name.as_str());
                let pods = residents(cluster, &name);
                cluster.nodes.remove(&name);
                cluster.view.node_removed(&name);
                displace(cluster, &pods, waiting);
            }
            (2, Some(name)) => {
                what_if = what_if.drain(name.as_str());
                let pods = residents(cluster, &name);
                cordon(cluster, &name);
                displace(cluster, &pods, waiting);
            }
            (3, Some(name)) => {
                what_if = what_if.cordon(name.as_str());
                cordon(cluster, &name);
            }
            (4, Some(name)) => {
                let Some(pod) = residents(cluster, &name).pop() else { continue };
                what_if = what_if.without_pod(&*pod.metadata.namespace, &*pod.metadata.name);
                cluster.view.pod_removed(&pod.metadata.uid);
            }
            _ => {}
        }
    }
    what_if
}

fn residents(cluster: &Cluster, name: &str) -> Vec<Arc<Pod>> {
    cluster.view.node_named(name).map(|node| node.pods().cloned().collect()).unwrap_or_default()
}

fn cordon(cluster: &mut Cluster, name: &str) {
    let mut node = Node::clone(cluster.view.node_named(name).unwrap().node());
    node.spec.unschedulable = true;
    cluster.view.node_changed(&Arc::new(node));
}

fn displace(cluster: &mut Cluster, pods: &[Arc<Pod>], waiting: &mut Vec<Arc<Pod>>) {
    for pod in pods {
        cluster.view.pod_removed(&pod.metadata.uid);
        if !pod.is_terminating() {
            waiting.push(unbound(pod));
        }
    }
}

fn nodes_of<'a>(
    decided: impl Iterator<Item = (&'a Arc<Pod>, &'a Outcome)>,
) -> BTreeMap<String, Option<Arc<str>>> {
    let node = |outcome: &Outcome| match outcome {
        Outcome::Assigned(node) | Outcome::Preempting { node, .. } => Some(Arc::clone(node)),
        _ => None,
    };
    decided.map(|(pod, outcome)| (pod.metadata.name.clone(), node(outcome))).collect()
}

/// What would happen is what happens, and asking changes nothing.
#[test]
fn a_forecast_is_what_comes_true_and_asking_leaves_no_trace() {
    let (mut placed, mut waited) = (0, 0);
    for seed in 0..HISTORIES {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        let mut asked = Pipeline::builder().preemption(false).build();
        let mut preempting = Pipeline::kubernetes();
        for round in 0..6 {
            let at = format!("seed {seed}, round {round}");
            let pods = cluster.pending(&rng);
            let decisions = schedule(&mut asked, &mut cluster.view, pods);
            cluster.confirm(&rng, &decisions);

            // A second cluster, in which it is really done.
            let mut done = Cluster::new(&Rng::seeded(seed));
            (done.view, done.nodes) = (cluster.rebuilt(), cluster.nodes.clone());
            let mut waiting = cluster.pending(&rng);
            let what_if = suppose(&rng, &mut done, &mut waiting);
            waiting.retain(|pod| done.view.node_of(&pod.metadata.uid).is_none());

            let before = content(&cluster.view);
            let preempted = what_if.run(&mut preempting, &mut cluster.view).unwrap();
            assert_eq!(content(&cluster.view), before, "{at}: asking leaves a trace");
            drop(preempted);
            let forecast = what_if.run(&mut asked, &mut cluster.view).unwrap();
            assert_eq!(content(&cluster.view), before, "{at}: asking leaves a trace");

            let decisions: Vec<Decision> =
                schedule(&mut Pipeline::builder().preemption(false).build(), &mut done.view, waiting);
            let came_true = nodes_of(decisions.iter().map(|d| (&d.pod, &d.outcome)));
            let foretold = nodes_of(forecast.placements().iter().map(|p| (&p.pod, &p.outcome)));
            assert_eq!(foretold, came_true, "{at}");
            placed += forecast.placed().count();
            waited += forecast.pending().count();
            cluster.change(&rng);
        }
    }
    assert!(placed > 1000 && waited > 1000, "one-sided: {placed} placed, {waited} waiting");
}

/// Every node has one report; what the first filters say adds up to the explanation; the node that is chosen has the most
/// points; and what is told to help does, of those changes that can be made to a pod.
#[test]
fn a_diagnosis_is_about_every_node_and_agrees_with_the_decision() {
    let (mut chosen, mut helped) = (0, 0);
    for seed in 0..HISTORIES {
        let rng = Rng::seeded(seed);
        let mut cluster = Cluster::new(&rng);
        let mut pipeline = Pipeline::builder().preemption(false).seed(seed).build();
        for round in 0..6 {
            let pods = cluster.pending(&rng);
            for pod in &pods {
                let at = format!("seed {seed}, round {round}, {}", pod.metadata.name);
                let before = content(&cluster.view);
                let diagnosis = explain(&mut pipeline, &mut cluster.view, pod);
                assert_eq!(content(&cluster.view), before, "{at}: asking leaves a trace");
                assert_eq!(diagnosis.nodes.len(), cluster.nodes.len(), "{at}");
                match &diagnosis.outcome {
                    Outcome::Assigned(node) => {
                        chosen += 1;
                        let report = diagnosis.node(node).unwrap();
                        assert!(report.is_feasible(), "{at}: {report}");
                        let most = diagnosis.nodes[0].points();
                        assert!((report.points() - most).abs() < 1e-6, "{at}: {report}, of {most}");
                    }
                    Outcome::Pending(why) => {
                        assert_eq!(diagnosis.feasible(), 0, "{at}: {why}");
                        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                        for node in &diagnosis.nodes {
                            *counts.entry(&node.rejections[0].text).or_insert(0) += 1;
                        }
                        let told = why.reasons().iter().map(|r| (&*r.text, r.nodes)).collect();
                        assert_eq!(counts, told, "{at}");
                        for help in &diagnosis.help {
                            assert!(!help.to_string().is_empty(), "{at}");
                            helped += 1;
                        }
                    }
                    other => panic!("{at}: {other:?}"),
                }
            }
            let decisions = schedule(&mut pipeline, &mut cluster.view, pods);
            cluster.confirm(&rng, &decisions);
            cluster.change(&rng);
        }
    }
    assert!(chosen > 1000 && helped > 1000, "one-sided: {chosen} chosen, {helped} ways to help");
}
