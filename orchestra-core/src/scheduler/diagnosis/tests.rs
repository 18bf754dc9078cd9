use std::sync::Arc;

use super::{Diagnosis, Remedy, explain};
use crate::model::{Pod, Taint, TaintEffect, Uid};
use crate::scheduler::testing::{bound, node, pod, quantity, view};
use crate::scheduler::{Batch, Outcome, Pipeline, Scheduler, View, schedule};

fn why(view: &mut View, pod: Pod) -> Diagnosis {
    explain(&mut Pipeline::kubernetes(), view, &Arc::new(pod))
}

fn helps(diagnosis: &Diagnosis) -> Vec<String> {
    diagnosis.help.iter().map(ToString::to_string).collect()
}

#[test]
fn the_least_that_would_have_to_be_free_is_told() {
    let mut view = view([node("n0", "a"), node("n1", "a"), node("n2", "a")]);
    for (name, cpu, at) in [("a", "3500m", "n0"), ("b", "3500m", "n1"), ("c", "4", "n2")] {
        view.pod_changed(&bound(pod(name, "web", cpu), at));
    }
    let diagnosis = why(&mut view, pod("late", "web", "1"));
    assert!(matches!(diagnosis.outcome, Outcome::Pending(_)));
    assert_eq!(
        helps(&diagnosis),
        ["2 nodes would fit if 500m more cpu were free", "a new node like n0 would fit"]
    );
    assert_eq!(diagnosis.nodes.len(), 3);
    assert!(diagnosis.to_string().starts_with("default/late: 0/3 nodes: 3 insufficient cpu; 2 nodes would"));
}

#[test]
fn a_pod_that_no_node_could_ever_hold_is_told_so() {
    let mut view = view([node("n0", "a"), node("n1", "a")]);
    view.pod_changed(&bound(pod("other", "web", "1"), "n0"));
    let diagnosis = why(&mut view, pod("whale", "web", "64"));
    assert_eq!(helps(&diagnosis), ["no node is large enough: 64 cpu is requested, the largest has 4"]);
}

#[test]
fn every_filter_that_is_against_a_node_is_kept() {
    let mut nodes = [node("n0", "a"), node("n1", "a")];
    nodes[0].spec.taints.push(Taint::new("gpu", "yes", TaintEffect::NoSchedule));
    nodes[0].spec.unschedulable = true;
    let mut view = view(nodes);
    let mut choosy = pod("choosy", "web", "5");
    choosy.spec_mut().node_selector.insert("disk".into(), "ssd".into());
    let diagnosis = why(&mut view, choosy);
    let plugins = |name: &str| -> Vec<String> {
        diagnosis.node(name).unwrap().rejections.iter().map(|r| r.plugin.to_string()).collect()
    };
    assert_eq!(plugins("n0"), ["NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodeResourcesFit"]);
    assert_eq!(plugins("n1"), ["NodeAffinity", "NodeResourcesFit"]);
    assert_eq!(diagnosis.feasible(), 0);
    // No single change helps; two do, but for the size of the nodes.
    assert_eq!(helps(&diagnosis).len(), 1);
    assert_eq!(diagnosis.help[0].remedies.len(), 2);
}

#[test]
fn changes_of_the_pod_and_of_nodes_are_tried() {
    let mut nodes = [node("n0", "a"), node("n1", "a"), node("n2", "b"), node("n3", "b")];
    let taint = Taint::new("gpu", "yes", TaintEffect::NoSchedule);
    nodes[0].spec.taints.push(taint.clone());
    nodes[1].spec.taints.push(taint.clone());
    nodes[2].spec.unschedulable = true;
    let mut view = view(nodes);
    let mut picky = pod("picky", "web", "1");
    picky.spec_mut().node_selector.insert("topology.kubernetes.io/zone".into(), "a".into());
    let diagnosis = why(&mut view, picky.clone());
    assert_eq!(
        helps(&diagnosis),
        [
            "2 nodes would fit with a toleration for gpu=yes:NoSchedule",
            "1 node would fit without the node selector topology.kubernetes.io/zone=a",
        ]
    );
    // With the first of them done, it is placed: what is told to help does.
    assert!(matches!(&diagnosis.help[0].remedies[..], [Remedy::Tolerate(taints)] if *taints == [taint]));
    diagnosis.help[0].remedies[0].apply(picky.spec_mut());
    assert!(
        matches!(why(&mut view, picky).outcome, Outcome::Assigned(node) if ["n0", "n1"].contains(&&*node))
    );
}

#[test]
fn a_pod_on_a_node_is_judged_as_if_it_came_now() {
    let mut view = view([node("n0", "a"), node("n1", "a")]);
    let pods = [("a", "4"), ("b", "3")].map(|(name, cpu)| Arc::new(pod(name, "web", cpu)));
    schedule(&mut Pipeline::kubernetes(), &mut view, pods.clone());
    let version = view.pod_count();
    let diagnosis = explain(&mut Pipeline::kubernetes(), &mut view, &pods[0]);
    assert_eq!(diagnosis.on.as_ref(), view.node_of(&pods[0].metadata.uid));
    assert_eq!(diagnosis.feasible(), 1, "{diagnosis}");
    assert_eq!(view.pod_count(), version);
    assert!(diagnosis.to_string().contains("anew goes to"), "{diagnosis}");
}

#[test]
fn scores_are_told_part_by_part() {
    let mut view = view([node("n0", "a"), node("n1", "a")]);
    view.pod_changed(&bound(pod("other", "db", "2"), "n0"));
    let mut scheduler = Pipeline::builder().score("name", 7, |_, node| node.name().len()).build();
    let diagnosis = explain(&mut scheduler, &mut view, &Arc::new(pod("new", "web", "1")));
    let best = &diagnosis.nodes[0];
    assert_eq!(&*best.node, "n1");
    let part = |name: &str| best.scores.iter().find(|score| &*score.plugin == name).unwrap();
    assert!((part("name").points - 14.0).abs() < 1e-9 && part("name").weight == 7);
    assert!(part("NodeResourcesFit").points > 80.0);
    let sum: f64 = best.scores.iter().map(|score| score.points).sum();
    assert!((best.points() - sum).abs() < 1e-9);
    assert!(best.points() > diagnosis.nodes[1].points());
}

#[test]
fn a_scheduler_without_an_explanation_of_its_own_is_explained_by_kubernetes_constraints() {
    #[derive(Debug)]
    struct Never;
    impl Scheduler for Never {
        fn schedule(&mut self, batch: &mut Batch<'_>) {
            while let Some(unit) = batch.next() {
                batch.place(&unit, |_, _| Err("on strike".into()));
            }
        }
    }
    let mut view = view([node("n0", "a")]);
    let mut one = pod("one", "web", "1");
    one.metadata.uid = Uid::from("one");
    let diagnosis = explain(&mut Never, &mut view, &Arc::new(one));
    assert_eq!(diagnosis.feasible(), 1);
    assert_eq!(diagnosis.to_string(), "default/one: on strike");
    assert!(quantity("1").milli() == 1000 && diagnosis.help.is_empty());
}
