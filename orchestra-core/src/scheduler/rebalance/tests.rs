use std::sync::Arc;

use super::{Objective, Rebalance};
use crate::model::{
    Affinity, LabelSelector, OwnerReference, Pod, PodAffinity, PodAffinityTerm, PodDisruptionBudget,
};
use crate::scheduler::testing::{bound, node, pod, view};
use crate::scheduler::{NodeView, Pipeline, View};

fn owned(mut pod: Pod, kind: &str) -> Pod {
    pod.metadata.owner_references.push(OwnerReference {
        kind: kind.into(),
        name: "owner".into(),
        controller: true,
        ..OwnerReference::default()
    });
    pod
}

fn replica(name: &str, cpu: &str) -> Pod {
    owned(pod(name, "web", cpu), "ReplicaSet")
}

/// Three nodes with pods of so many CPUs, each made by a controller.
fn three(cpus: [&[&str]; 3]) -> View {
    let mut view = view((0..3).map(|i| node(&format!("n{i}"), "a")));
    for (i, cpus) in cpus.iter().enumerate() {
        for (j, cpu) in cpus.iter().enumerate() {
            view.pod_changed(&bound(replica(&format!("p{i}{j}"), cpu), &format!("n{i}")));
        }
    }
    view
}

fn moves(view: &mut View, rebalance: &Rebalance) -> Vec<String> {
    let pods = view.pod_count();
    let plan = rebalance.plan(&mut Pipeline::kubernetes(), view);
    assert_eq!(view.pod_count(), pods, "nothing has moved");
    assert!(view.pods().all(|(pod, node)| pod.node_name.as_deref() == Some(node)));
    plan.moves().iter().map(ToString::to_string).collect()
}

#[test]
fn the_emptiest_node_is_emptied_into_the_fullest() {
    let mut view = three([&["1"], &["2"], &["2", "1"]]);
    let emptying = Rebalance::emptying_nodes();
    assert_eq!(moves(&mut view, &emptying), ["default/p00 n0 -> n2"]);
    let plan = emptying.plan(&mut Pipeline::kubernetes(), &mut view);
    assert_eq!(plan.emptied().collect::<Vec<_>>(), ["n0"]);
    assert!((plan.cost_before(), plan.cost_after()) == (3.0, 2.0));
}

#[test]
fn a_node_is_emptied_wholly_or_not_at_all_and_moves_are_bounded() {
    // Of n0 one pod would find room, the other none.
    let mut view = three([&["1", "2"], &["3"], &["3"]]);
    assert!(moves(&mut view, &Rebalance::emptying_nodes()).is_empty());
    let mut view = three([&["500m", "500m"], &["1"], &["2"]]);
    assert_eq!(moves(&mut view, &Rebalance::emptying_nodes()).len(), 3);
    assert_eq!(moves(&mut view, &Rebalance::emptying_nodes().most_moves(2)).len(), 2);
    assert_eq!(moves(&mut view, &Rebalance::emptying_nodes().most_moves(1)), ["default/p10 n1 -> n2"]);
    assert!(moves(&mut view, &Rebalance::emptying_nodes().most_moves(0)).is_empty());
}

#[test]
fn only_pods_that_are_made_anew_move() {
    for (kind, annotation, moved) in
        [("ReplicaSet", "true", 1), ("ReplicaSet", "false", 0), ("", "true", 0), ("DaemonSet", "true", 0)]
    {
        let mut view = three([&[], &[], &[]]);
        view.pod_changed(&bound(pod("fixed", "web", "2"), "n1"));
        let mut small = pod("small", "web", "1");
        if !kind.is_empty() {
            small = owned(small, kind);
        }
        small.metadata.annotations.insert(super::SAFE_TO_EVICT.into(), annotation.into());
        view.pod_changed(&bound(small, "n0"));
        assert_eq!(moves(&mut view, &Rebalance::emptying_nodes()).len(), moved, "{kind} {annotation}");
    }
    // A node with nothing but a DaemonSet's pod is empty: nothing goes there.
    let mut view = three([&["1"], &[], &[]]);
    view.pod_changed(&bound(owned(pod("daemon", "d", "1"), "DaemonSet"), "n1"));
    assert!(moves(&mut view, &Rebalance::emptying_nodes()).is_empty());
}

#[test]
fn budgets_are_kept() {
    let mut view = three([&["1"], &["2"], &[]]);
    let mut budget = PodDisruptionBudget::new("web");
    budget.metadata.namespace = "default".into();
    view.budget_changed(&Arc::new(budget.clone()));
    assert!(moves(&mut view, &Rebalance::emptying_nodes()).is_empty());
    budget.status.disruptions_allowed = 1;
    view.budget_changed(&Arc::new(budget));
    assert_eq!(moves(&mut view, &Rebalance::emptying_nodes()).len(), 1);
}

#[test]
fn nobody_loses_the_company_that_it_needs() {
    let mut view = three([&["1"], &["3"], &[]]);
    let mut needy = pod("needy", "needy", "100m");
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector::labels([("app", "web")])),
        topology_key: "kubernetes.io/hostname".into(),
        ..PodAffinityTerm::default()
    };
    let side = PodAffinity { required: vec![term], ..PodAffinity::default() };
    needy.spec_mut().affinity = Some(Affinity { pod_affinity: Some(side), ..Affinity::default() });
    let web_alone = Rebalance::emptying_nodes().movable(|pod| pod.metadata.name.starts_with('p'));
    assert_eq!(moves(&mut view, &web_alone), ["default/p00 n0 -> n1"]);
    view.pod_changed(&bound(needy, "n0"));
    assert!(
        moves(&mut view, &Rebalance::lowering(crowd).movable(|pod| pod.metadata.name == "p00")).is_empty()
    );
    // Another of the same kind beside it, and the first may go.
    view.pod_changed(&bound(replica("p01", "1"), "n0"));
    assert_eq!(
        moves(&mut view, &Rebalance::lowering(crowd).movable(|pod| pod.metadata.name == "p00")).len(),
        1
    );
}

/// The square of the number of pods.
fn crowd(node: &NodeView<'_>) -> f64 {
    let pods = f64::from(u32::try_from(node.pods().len()).unwrap());
    pods * pods
}

#[test]
fn an_objective_is_lowered_by_the_best_moves_until_none_helps() {
    let mut view = three([&["100m", "100m", "100m", "100m"], &["100m"], &["100m"]]);
    let plan = Rebalance::lowering(crowd).plan(&mut Pipeline::kubernetes(), &mut view);
    assert_eq!(plan.moves().len(), 2);
    assert!((plan.cost_before(), plan.cost_after()) == (18.0, 12.0), "{plan}");
    assert!(plan.to_string().starts_with("2 moves, cost 18 -> 12: default/p0"), "{plan}");
    let _: &dyn Objective = &crowd;
}
