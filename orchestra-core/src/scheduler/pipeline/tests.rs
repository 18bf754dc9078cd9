use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Pipeline, PipelineBuilder};
use crate::model::{Pod, Taint, TaintEffect, Toleration};
use crate::scheduler::testing::{bound, node, pod, run, view};
use crate::scheduler::{NodeView, PodInfo, Reads, Scheduler, View};

/// Places one pod.
fn place(scheduler: &mut dyn Scheduler, view: &mut View, pod: Pod) -> String {
    run(scheduler, view, [Arc::new(pod)]).remove(0).1
}

#[test]
fn equal_pods_fill_nodes_evenly_and_the_rest_waits_with_a_reason() {
    let mut view = view((0..3).map(|i| node(&format!("n{i}"), "a")));
    let pods = (0..15).map(|i| Arc::new(pod(&format!("p{i:02}"), "web", "1")));
    let placed = run(&mut Pipeline::kubernetes(), &mut view, pods);
    for name in ["n0", "n1", "n2"] {
        assert_eq!(placed.iter().filter(|(_, at)| at == name).count(), 4, "{placed:?}");
        assert_eq!(view.node_named(name).unwrap().free("cpu"), 0);
    }
    assert_eq!(placed[12].1, "0/3 nodes: 3 insufficient cpu");
    assert_eq!(placed[14], placed[14]);
}

#[test]
fn the_explanation_counts_each_node_once() {
    let mut nodes: Vec<_> = (0..5).map(|i| node(&format!("n{i}"), "a")).collect();
    for node in &mut nodes[..2] {
        node.spec.taints.push(Taint::new("x", "y", TaintEffect::NoSchedule));
    }
    let mut view = view(nodes);
    let mut scheduler = Pipeline::kubernetes();
    let why = "0/5 nodes: 3 insufficient cpu, 2 have taint x=y:NoSchedule";
    for i in 0..3 {
        assert_eq!(place(&mut scheduler, &mut view, pod(&format!("p{i}"), "web", "5")), why);
    }
    let mut tolerant = pod("tolerant", "web", "3");
    tolerant.spec_mut().tolerations.push(Toleration::exists("x"));
    tolerant.spec_mut().node_selector.insert("kubernetes.io/hostname".into(), "n1".into());
    assert_eq!(place(&mut scheduler, &mut view, tolerant), "n1");
}

#[test]
fn filters_are_asked_about_the_best_node_and_about_all_once_the_verdict_on_all_counts() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let counted = move |_: &PodInfo, _: &NodeView<'_>| count.fetch_add(1, Ordering::Relaxed) < usize::MAX;
    let mut view = view((0..1000).map(|i| node(&format!("n{i}"), "a")));
    let mut scheduler = Pipeline::builder().filter("counted", counted).reads(Reads::NODE).build();
    let placed = run(&mut scheduler, &mut view, (0..20).map(|i| Arc::new(pod(&format!("p{i}"), "web", "1"))));
    assert!(placed.iter().all(|(_, at)| at.starts_with('n')), "{placed:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 20);
    for i in 0..3 {
        let why = place(&mut scheduler, &mut view, pod(&format!("big{i}"), "web", "5"));
        assert_eq!(why, "0/1000 nodes: 1000 insufficient cpu");
        view.pod_changed(&bound(pod(&format!("more{i}"), "web", "2"), "n7"));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1020);
}

#[test]
fn closures_add_rules_and_preferences() {
    for reads in [Reads::NODE, Reads::ANYTHING] {
        let mut nodes: Vec<_> = (0..4).map(|i| node(&format!("n{i}"), "a")).collect();
        for (i, node) in nodes.iter_mut().enumerate() {
            node.metadata.labels.insert("price".into(), format!("{}", 40 - 10 * i));
        }
        let mut view = view(nodes);
        let mut scheduler = PipelineBuilder::kubernetes()
            .filter("not-last", |_, node| node.name() != "n3")
            .reads(reads)
            .score("price", 20, |_, node| 100.0 - node.label("price").map_or(100.0, |p| p.parse().unwrap()))
            .reads(reads)
            .build();
        let placed =
            run(&mut scheduler, &mut view, (0..6).map(|i| Arc::new(pod(&format!("p{i}"), "web", "1"))));
        let nodes: Vec<_> = placed.iter().map(|(_, at)| at.as_str()).collect();
        assert_eq!(nodes, ["n2", "n2", "n2", "n2", "n1", "n1"]);
        let why = place(&mut scheduler, &mut view, pod("big", "web", "9"));
        let expected = match reads {
            Reads::NODE => "0/4 nodes: 3 insufficient cpu, 1 rejected by not-last",
            _ => "0/4 nodes: 4 insufficient cpu",
        };
        assert_eq!(why, expected);
    }
}

#[test]
fn a_new_node_and_a_freed_one_are_seen() {
    let mut view = view([node("n0", "a")]);
    let mut scheduler = Pipeline::kubernetes();
    let full = bound(pod("full", "web", "4"), "n0");
    view.pod_changed(&full);
    for i in 0..3 {
        let why = place(&mut scheduler, &mut view, pod(&format!("w{i}"), "web", "2"));
        assert_eq!(why, "0/1 nodes: 1 insufficient cpu");
    }
    view.node_changed(&Arc::new(node("n1", "a")));
    assert_eq!(place(&mut scheduler, &mut view, pod("a", "web", "2")), "n1");
    view.pod_removed(&full.metadata.uid);
    assert_eq!(place(&mut scheduler, &mut view, pod("b", "web", "2")), "n0");
    view.node_removed("n1");
    assert_eq!(place(&mut scheduler, &mut view, pod("c", "web", "2")), "n0");
    assert_eq!(place(&mut scheduler, &mut view, pod("d", "web", "2")), "0/1 nodes: 1 insufficient cpu");
}

#[test]
fn one_seed_gives_one_order_of_ties_and_another_seed_another() {
    let order = |seed, reversed: bool| {
        let mut nodes: Vec<_> = (0..8).map(|i| node(&format!("n{i}"), "a")).collect();
        if reversed {
            nodes.reverse();
        }
        let mut view = view(nodes);
        let pods = (0..8).map(|i| Arc::new(pod(&format!("p{i}"), "web", "4")));
        run(&mut Pipeline::builder().seed(seed).build(), &mut view, pods)
    };
    assert_eq!(order(1, false), order(1, true));
    assert_ne!(order(1, false), order(2, false));
}
