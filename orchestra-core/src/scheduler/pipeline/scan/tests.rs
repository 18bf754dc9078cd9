use std::sync::Arc;

use crate::model::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, TaintEffect,
    Toleration,
};
use crate::rng::Rng;
use crate::scheduler::testing::{node, pod, quantity, view};
use crate::scheduler::{Evaluation, Outcome, Pipeline, PipelineBuilder, View, schedule};

fn below(rng: &Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}

/// Adds, replaces or removes a node, or changes one.
fn change(rng: &Rng, view: &mut View) {
    let name = format!("n{}", rng.below(600));
    if rng.chance(0.2) {
        view.node_removed(&name);
        return;
    }
    let mut node = node(&name, "a");
    for (resource, amounts) in [("cpu", ["2", "4", "8"]), ("memory", ["4Gi", "8Gi", "12Gi"])] {
        node.status.allocatable.insert(resource.into(), quantity(amounts[below(rng, 3)]));
    }
    match rng.below(10) {
        0 => node.spec.unschedulable = true,
        1 => node.spec.taints.push(Taint::new("t", "v", TaintEffect::NoSchedule)),
        2 => node.spec.taints.push(Taint::new("t", "v", TaintEffect::PreferNoSchedule)),
        3 => drop(node.metadata.labels.insert("disk".into(), "ssd".into())),
        4 => drop(node.status.allocatable.remove("memory")),
        _ => {}
    }
    view.node_changed(&Arc::new(node));
}

/// A pod that mostly is like no other.
fn different(rng: &Rng, number: usize) -> Pod {
    let mut pod = pod(&format!("p{number:05}"), "web", &format!("{}m", 100 * (1 + rng.below(20))));
    let memory = quantity(&format!("{}Mi", 100 * (1 + rng.below(40))));
    if rng.chance(0.9) {
        pod.spec_mut().containers[0].resources.requests.insert("memory".into(), memory);
    }
    match rng.below(10) {
        0 => pod.spec_mut().tolerations.push(Toleration::exists("t")),
        1 => drop(pod.spec_mut().node_selector.insert("disk".into(), "ssd".into())),
        2 => by_name(rng, &mut pod),
        _ => {}
    }
    pod
}

/// Has a pod ask for a few nodes by name, or, rarely, for many.
fn by_name(rng: &Rng, pod: &mut Pod) {
    let term = |name: String| {
        let key = "metadata.name".to_owned();
        let requirement = NodeSelectorRequirement { key, values: vec![name], ..Default::default() };
        NodeSelectorTerm { match_fields: vec![requirement], ..Default::default() }
    };
    let count = if rng.chance(0.1) { 30 } else { 1 + rng.below(4) };
    let node_selector_terms = (0..count).map(|_| term(format!("n{}", rng.below(600)))).collect();
    let required = Some(NodeSelector { node_selector_terms, ..Default::default() });
    let node_affinity = Some(NodeAffinity { required, ..Default::default() });
    pod.spec_mut().affinity = Some(Affinity { node_affinity, ..Default::default() });
}

/// Makes the builder of one kind of pipeline.
type Builder = fn() -> PipelineBuilder;

/// Over many blocks of nodes that come, change and go, each way gives the same placements.
#[test]
fn a_scan_decides_as_the_rankings_do() {
    let kinds: [(&str, Builder); 3] = [
        ("kubernetes", Pipeline::builder),
        ("packing", || {
            Pipeline::builder().with_score("NodeResourcesFit", 5, crate::scheduler::MostAllocated)
        }),
        ("odd", || {
            Pipeline::builder().filter("odd", |pod, node| (pod.name().len() + node.name().len()) % 3 != 0)
        }),
    ];
    let rng = Rng::seeded(11);
    for (name, builder) in kinds {
        let mut view = view((0..below(&rng, 500)).map(|i| node(&format!("n{i}"), "a")));
        let [mut scans, mut rankings, mut cheapest] =
            [Evaluation::Scans, Evaluation::Rankings, Evaluation::Cheapest]
                .map(|by| builder().preemption(false).seed(3).evaluation(by).build());
        let (mut number, mut placed) = (0, 0);
        for round in 0..60 {
            for _ in 0..below(&rng, 30) {
                change(&rng, &mut view);
            }
            let mut pods: Vec<Arc<Pod>> = Vec::new();
            for _ in 0..10 {
                let template = different(&rng, number);
                for _ in 0..1 + rng.below(2) {
                    number += 1;
                    let mut pod = template.clone();
                    pod.metadata.name = format!("p{number:05}");
                    pod.metadata.uid = pod.metadata.name.as_str().into();
                    pods.push(Arc::new(pod));
                }
            }
            let outcomes = |scheduler: &mut Pipeline, view: &mut View| -> Vec<Outcome> {
                let decisions = schedule(scheduler, view, pods.iter().map(Arc::clone));
                decisions.into_iter().map(|d| d.outcome).collect()
            };
            let expected = view.what_if(|view| outcomes(&mut rankings, view));
            assert_eq!(view.what_if(|view| outcomes(&mut cheapest, view)), expected, "{name}, round {round}");
            assert_eq!(outcomes(&mut scans, &mut view), expected, "{name}, round {round}");
            placed += expected.iter().filter(|o| matches!(o, Outcome::Assigned(_))).count() as u64;
        }
        assert!(scans.scanned() * 4 > placed && placed > 100, "{name}: {} of {placed}", scans.scanned());
        assert!(cheapest.scanned() > 100 && rankings.scanned() == 0, "{name}: not each went its way");
    }
}

/// Who wins ties is the same for nodes that came one by one, without a new sorting in between.
#[test]
fn ties_are_the_same_for_nodes_that_came_later() {
    let place = |all_at_once: bool| {
        let mut view = view((0..200).map(|i| node(&format!("n{i}"), "a")));
        let mut scheduler = Pipeline::builder().evaluation(Evaluation::Scans).build();
        let pod = |i: usize| Arc::new(pod(&format!("p{i}"), "web", "100m"));
        let come = |view: &mut View| {
            for i in 200..250 {
                view.node_changed(&Arc::new(node(&format!("n{i}"), "a")));
            }
        };
        if all_at_once {
            come(&mut view);
        }
        let mut outcomes: Vec<Outcome> = Vec::new();
        view.what_if(|view| schedule(&mut scheduler, view, [pod(0)]));
        if !all_at_once {
            come(&mut view);
        }
        for i in 0..250 {
            outcomes.extend(schedule(&mut scheduler, &mut view, [pod(i)]).into_iter().map(|d| d.outcome));
        }
        assert_eq!(scheduler.scanned(), 251);
        outcomes
    };
    assert_eq!(place(true), place(false));
}
