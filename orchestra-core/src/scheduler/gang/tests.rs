use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Pod, PodDisruptionBudget, PreemptionPolicy};
use crate::scheduler::testing::{bound, node, pod, run, view};
use crate::scheduler::{Batch, Outcome, Pending, Pipeline, Scheduler, View, schedule};

const ZONE: &str = "topology.kubernetes.io/zone";

fn members(count: usize, cpu: &str, priority: i32) -> Vec<Arc<Pod>> {
    let member = |i: usize| {
        let mut pod = pod(&format!("g{i}"), "gang", cpu);
        pod.spec_mut().priority = Some(priority);
        Arc::new(pod)
    };
    (0..count).map(member).collect()
}

fn gang(count: usize, least: usize) -> Pending {
    Pending::gang("g", members(count, "3", 0), least)
}

/// Three nodes in zone a, two in b, one in c, and one in none.
fn zones() -> View {
    let zones = ["a", "b", "a", "b", "a", "c"];
    let nodes = zones.iter().enumerate().map(|(i, zone)| node(&format!("n{i}"), zone));
    let mut homeless = node("n6", "");
    homeless.metadata.labels.remove(ZONE);
    view(nodes.chain([homeless]))
}

/// The zones that the pods were placed in, and how many were placed.
fn placed_in(view: &View, placed: &[(String, String)]) -> (BTreeSet<String>, usize) {
    let nodes: Vec<_> = placed.iter().filter_map(|(_, at)| view.node_named(at)).collect();
    (nodes.iter().filter_map(|node| node.label(ZONE)).map(str::to_owned).collect(), nodes.len())
}

fn zone(name: &str) -> BTreeSet<String> {
    [name.to_owned()].into()
}

#[test]
fn a_gang_goes_to_the_tightest_domain_that_holds_all_of_it() {
    for (count, expected) in [(3, "a"), (2, "b"), (1, "c")] {
        let mut view = zones();
        let placed = run(&mut Pipeline::kubernetes(), &mut view, [gang(count, count).within(ZONE)]);
        assert_eq!(placed_in(&view, &placed), (zone(expected), count), "{placed:?}");
    }
}

#[test]
fn a_gang_that_no_domain_holds_takes_the_one_that_holds_most_or_waits() {
    let mut view = zones();
    let placed = run(&mut Pipeline::kubernetes(), &mut view, [gang(5, 2).within(ZONE)]);
    assert_eq!(placed_in(&view, &placed), (zone("a"), 3), "{placed:?}");
    let mut view = zones();
    let waits = run(&mut Pipeline::kubernetes(), &mut view, [gang(5, 4).within(ZONE)]);
    assert_eq!(view.pod_count(), 0);
    let why = "gang g needs 4 pods placed together in one domain of topology.kubernetes.io/zone, such as a, 3 can be";
    assert!(waits.iter().all(|(_, at)| at.starts_with(why)), "{waits:?}");
    // Without the wish they fit.
    let placed = run(&mut Pipeline::kubernetes(), &mut view, [gang(5, 4)]);
    assert_eq!(placed_in(&view, &placed).1, 5);
}

#[test]
fn the_rest_of_a_gang_joins_those_that_are_placed() {
    let mut view = zones();
    let rest = gang(2, 1).within(ZONE).beside(["n5".into()]);
    let placed = run(&mut Pipeline::kubernetes(), &mut view, [rest]);
    assert_eq!(placed_in(&view, &placed), (zone("c"), 1), "{placed:?}");
    let nowhere = gang(2, 1).within(ZONE).beside(["n6".into()]);
    let placed = run(&mut Pipeline::kubernetes(), &mut view, [nowhere]);
    assert_eq!(placed_in(&view, &placed).1, 0);
    // What has ended on nodes that are gone holds nobody back.
    let mut view = zones();
    let rest = gang(2, 1).within(ZONE).beside(["gone".into()]);
    let placed = run(&mut Pipeline::kubernetes(), &mut view, [rest]);
    assert_eq!(placed_in(&view, &placed), (zone("b"), 2), "{placed:?}");
    let rest = gang(2, 1).within(ZONE).beside(["gone".into(), "n5".into()]);
    let placed = run(&mut Pipeline::kubernetes(), &mut zones(), [rest]);
    assert_eq!(placed_in(&zones(), &placed), (zone("c"), 1), "{placed:?}");
}

#[test]
fn a_scheduler_that_ignores_selectors_still_keeps_to_the_domain() {
    /// The first node with room.
    #[derive(Debug)]
    struct First;
    impl Scheduler for First {
        fn schedule(&mut self, batch: &mut Batch<'_>) {
            while let Some(unit) = batch.next() {
                batch.place(&unit, |batch, pod| {
                    let found = batch.nodes().find(|node| node.fits(pod)).map(|node| node.id());
                    found.ok_or_else(|| "no room".into())
                });
            }
        }
    }
    let mut view = zones();
    let placed = run(&mut First, &mut view, [gang(3, 2).within(ZONE)]);
    assert!(placed_in(&view, &placed).1 == 0 || placed_in(&view, &placed).0.len() == 1, "{placed:?}");
    assert_eq!(view.pod_count(), placed_in(&view, &placed).1);
}

/// Two nodes in zone a and two in b, each with a pod of four CPUs and the priority `low`.
fn full(low: impl Fn(usize) -> i32) -> View {
    let mut view = view((0..4).map(|i| node(&format!("n{i}"), if i < 2 { "a" } else { "b" })));
    for i in 0..4 {
        let mut low_pod = pod(&format!("low{i}"), "low", "4");
        low_pod.spec_mut().priority = Some(low(i));
        view.pod_changed(&bound(low_pod, &format!("n{i}")));
    }
    view
}

fn victims(outcomes: &[Outcome]) -> Vec<String> {
    let mut victims: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| match outcome {
            Outcome::Preempting { victims, .. } => victims.as_slice(),
            _ => &[],
        })
        .map(|victim| victim.metadata.name.clone())
        .collect();
    victims.sort();
    victims
}

fn outcomes(view: &mut View, gang: Pending) -> Vec<Outcome> {
    schedule(&mut Pipeline::kubernetes(), view, [gang]).into_iter().map(|decision| decision.outcome).collect()
}

#[test]
fn a_gang_preempts_for_all_of_it_or_not_at_all() {
    let urgent = |count: usize| Pending::gang("g", members(count, "4", 10), count);
    let mut view = full(|_| 0);
    view.node_changed(&Arc::new(node("free", "c")));
    let decided = outcomes(&mut view, urgent(3));
    assert_eq!(victims(&decided).len(), 2);
    // One of them would have had room, and waits with the others.
    assert!(decided.iter().all(|outcome| matches!(outcome, Outcome::Preempting { .. })), "{decided:?}");

    for spared in [3, 2] {
        // Not enough are of lower priority: nobody leaves.
        let mut view = full(|i| if i < spared { 10 } else { 0 });
        let decided = outcomes(&mut view, urgent(3));
        assert_eq!((victims(&decided).len(), view.pod_count()), (0, 4), "{decided:?}");
        assert!(view.preempted_pods().next().is_none());
    }
    let mut patient = members(2, "4", 10);
    patient.iter_mut().for_each(|pod| {
        Arc::make_mut(pod).spec_mut().preemption_policy = Some(PreemptionPolicy::Never);
    });
    assert!(victims(&outcomes(&mut full(|_| 0), Pending::gang("g", patient, 2))).is_empty());
}

#[test]
fn a_gang_preempts_within_one_domain() {
    let urgent = || Pending::gang("g", members(2, "4", 10), 2).within(ZONE);
    // In zone a only one may go.
    let decided = outcomes(&mut full(|i| if i == 0 { 10 } else { 0 }), urgent());
    assert_eq!(victims(&decided), ["low2", "low3"]);
    let decided = outcomes(&mut full(|i| if i % 2 == 0 { 10 } else { 0 }), urgent());
    assert!(victims(&decided).is_empty());
}

#[test]
fn a_gang_overdraws_no_budget_and_makes_none_of_its_own_leave() {
    let mut budget = PodDisruptionBudget::new("low");
    budget.metadata.namespace = "default".into();
    budget.status.disruptions_allowed = 1;
    let mut view = full(|_| 0);
    view.budget_changed(&Arc::new(budget.clone()));
    let urgent = || Pending::gang("g", members(2, "4", 10), 2);
    assert!(victims(&outcomes(&mut view, urgent())).is_empty());
    budget.status.disruptions_allowed = 2;
    view.budget_changed(&Arc::new(budget));
    assert_eq!(victims(&outcomes(&mut view, urgent())).len(), 2);

    // The second is less important than the first, and was named before it.
    let mut mixed = members(2, "4", 10);
    Arc::<Pod>::make_mut(&mut mixed[0]).spec_mut().priority = Some(5);
    let mut view = crate::scheduler::testing::view([node("only", "a")]);
    assert!(victims(&outcomes(&mut view, Pending::gang("g", mixed, 2))).is_empty());
    assert_eq!(view.pod_count(), 0);
}
