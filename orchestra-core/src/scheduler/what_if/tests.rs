use std::sync::Arc;

use super::{Cause, WhatIf, WhatIfError};
use crate::model::{Namespace, Pod, PodDisruptionBudget};
use crate::scheduler::testing::{bound, node, pod, view};
use crate::scheduler::{MostAllocated, Pending, Pipeline, View, schedule};

/// Two nodes, with a pod of three CPUs on each.
fn two_nodes() -> View {
    let mut view = view([node("n0", "a"), node("n1", "a")]);
    for (name, at) in [("a", "n0"), ("b", "n1")] {
        view.pod_changed(&bound(pod(name, "web", "3"), at));
    }
    view
}

fn run(view: &mut View, what_if: &WhatIf) -> Vec<String> {
    let (nodes, pods) = (view.len(), view.pod_count());
    let forecast = what_if.run(&mut Pipeline::kubernetes(), view).unwrap();
    assert_eq!((view.len(), view.pod_count()), (nodes, pods), "nothing has happened");
    forecast.placements().iter().map(ToString::to_string).collect()
}

#[test]
fn pods_of_a_drained_node_move_and_those_without_room_wait() {
    let mut view = two_nodes();
    let moved = run(&mut view, &WhatIf::new().node(node("n2", "a")).drain("n0"));
    assert_eq!(moved, ["default/a: n0 -> n2"]);
    let waits = run(&mut view, &WhatIf::new().without_node("n0"));
    assert_eq!(waits, ["default/a: n0 -> none, 0/1 nodes: 1 insufficient cpu"]);
    assert!(view.node_named("n0").is_some_and(|node| !node.node().spec.unschedulable));
}

#[test]
fn waiting_pods_profit_from_what_is_supposed() {
    let mut view = two_nodes();
    let waiting: Vec<Arc<Pod>> = vec![Arc::new(pod("waits", "web", "2"))];
    let supposed = WhatIf::new().pending(waiting);
    assert_eq!(run(&mut view, &supposed), ["default/waits: none -> none, 0/2 nodes: 2 insufficient cpu"]);
    for (supposed, node) in [
        (supposed.clone().nodes_like(&node("n", "a"), 1), "n-0"),
        (supposed.clone().without_pod("default", "b"), "n1"),
    ] {
        assert_eq!(run(&mut view, &supposed), [format!("default/waits: none -> {node}")]);
    }
    assert_eq!(run(&mut view, &supposed.clone().without_pod("default", "waits")), Vec::<String>::new());
    let diagnosed = supposed.explained().run(&mut Pipeline::kubernetes(), &mut view).unwrap();
    let why = diagnosed.placements()[0].diagnosis.as_ref().unwrap().to_string();
    assert!(why.contains("2 nodes would fit if 1 more cpu were free"), "{why}");
}

#[test]
fn who_is_preempted_looks_for_another_place() {
    let mut view = view([node("n0", "a"), node("n1", "a")]);
    view.pod_changed(&bound(pod("low", "web", "3"), "n0"));
    let mut lower = pod("lower", "web", "1");
    lower.spec_mut().priority = Some(-1);
    view.pod_changed(&bound(lower, "n1"));
    let mut urgent = pod("urgent", "web", "4");
    urgent.spec_mut().priority = Some(10);
    let forecast = WhatIf::new().pod(urgent).run(&mut Pipeline::kubernetes(), &mut view).unwrap();
    let told: Vec<String> = forecast.placements().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["default/urgent: none -> n1 in place of lower", "default/lower: n1 -> n0"]);
    assert!(matches!(forecast.placements()[1].cause, Cause::Preempted(_)));
    assert!(view.preempted_pods().next().is_none());
}

#[test]
fn another_scheduler_and_a_gang_can_be_supposed() {
    let mut view = two_nodes();
    let gang = |cpu: &str| {
        let pods = (0..2).map(|i| Arc::new(pod(&format!("g{i}"), "g", cpu))).collect();
        WhatIf::new().gang(Pending::gang("g", pods, 2))
    };
    assert_eq!(gang("1").run(&mut Pipeline::kubernetes(), &mut view).unwrap().placed().count(), 2);
    assert_eq!(gang("2").run(&mut Pipeline::kubernetes(), &mut view).unwrap().placed().count(), 0);
    let mut packing = Pipeline::builder().with_score("NodeResourcesFit", 100, MostAllocated).build();
    let pods = (0..2).fold(WhatIf::new().node(node("n2", "a")).without_pod("default", "a"), |what_if, i| {
        what_if.pod(pod(&format!("p{i}"), "web", "500m"))
    });
    let spread = pods.run(&mut Pipeline::kubernetes(), &mut view).unwrap();
    assert!(spread.placed().all(|p| p.node().is_some_and(|node| &**node != "n1")));
    let packed = pods.run(&mut packing, &mut view).unwrap();
    assert!(packed.placed().all(|p| p.node().is_some_and(|node| &**node == "n1")));
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut view = two_nodes();
    let refused = |view: &mut View, what_if: WhatIf| {
        what_if.cordon("n1").run(&mut Pipeline::kubernetes(), view).map(drop).unwrap_err()
    };
    let no_node = refused(&mut view, WhatIf::new().drain("n0").without_node("n9"));
    assert_eq!(no_node, WhatIfError::NoNode { node: "n9".into() });
    assert!(matches!(
        refused(&mut view, WhatIf::new().without_pod("default", "x")),
        WhatIfError::NoPod { .. }
    ));
    assert!(matches!(
        refused(&mut view, WhatIf::new().pod(pod("a", "web", "1"))),
        WhatIfError::PodExists { .. }
    ));
    assert!(view.nodes().all(|node| !node.node().spec.unschedulable));
    assert_eq!(view.pod_count(), 2);
}

#[test]
fn namespaces_and_budgets_come_back_too() {
    let mut view = two_nodes();
    view.namespace_changed(&Namespace::new("x").label("team", "red"));
    let budget = |name: &str| {
        Arc::new(PodDisruptionBudget {
            metadata: crate::model::ObjectMeta::named(name),
            ..Default::default()
        })
    };
    view.budget_changed(&budget("old"));
    let before = format!("{:?} {:?}", view.namespaces(), view.budgets());
    view.what_if(|view| {
        view.namespace_changed(&Namespace::new("x").label("team", "blue"));
        view.namespace_removed("x");
        view.namespace_changed(&Namespace::new("y"));
        view.budget_removed("", "old");
        view.budget_changed(&budget("new"));
        schedule(&mut Pipeline::kubernetes(), view, [Arc::new(pod("p", "web", "1"))]);
    });
    assert_eq!(format!("{:?} {:?}", view.namespaces(), view.budgets()), before);
}
