use std::sync::Arc;

use super::{Cost, Equals, candidate, least_cost, missing};
use crate::model::{
    Condition, HostPort, LabelSelector, Labels, Pod, PodDisruptionBudget, PreemptionPolicy, Timestamp, Uid,
};
use crate::rng::Rng;
use crate::scheduler::testing::{bound, node, pod, run, view};
use crate::scheduler::{Batch, Change, Outcome, Pending, Pipeline, Scheduler, View, schedule};

/// A pod with a priority, made at `second`.
fn of(name: &str, priority: i32, cpu: &str, second: i64) -> Pod {
    let mut pod = pod(name, name, cpu);
    pod.spec_mut().priority = Some(priority);
    pod.metadata.creation_timestamp = Some(Timestamp::from_micros(second * 1_000_000));
    pod
}

fn cluster(nodes: &[&str], pods: impl IntoIterator<Item = (Pod, &'static str)>) -> View {
    let mut view = view(nodes.iter().map(|name| node(name, "z")));
    for (pod, node) in pods {
        view.pod_changed(&bound(pod, node));
    }
    view
}

fn decide(view: &mut View, pods: impl IntoIterator<Item = Pod>) -> Vec<String> {
    let decided = run(&mut Pipeline::kubernetes(), view, pods.into_iter().map(Arc::new));
    decided.into_iter().map(|(pod, outcome)| format!("{pod}: {outcome}")).collect()
}

fn one(view: &mut View, pod: Pod) -> String {
    decide(view, [pod]).remove(0)
}

#[test]
fn the_least_important_leave_and_nobody_who_could_stay() {
    // The large one of the two with priority 1 is enough by itself.
    let mut view = cluster(
        &["a"],
        [(of("small", 1, "1", 9), "a"), (of("large", 1, "2", 0), "a"), (of("dear", 5, "1", 0), "a")],
    );
    assert_eq!(one(&mut view, of("new", 9, "2", 0)), "new: a without large");
    assert!(view.is_preempted(&Uid::from("large")) && !view.is_preempted(&Uid::from("small")));
    // It keeps its share until it is gone, and nobody gets what it leaves.
    assert_eq!(view.node_named("a").unwrap().free("cpu"), -2_000);
    view.pod_removed(&Uid::from("large"));
    assert_eq!(view.node_named("a").unwrap().free("cpu"), 0);
    assert!(!view.is_preempted(&Uid::from("large")));
}

#[test]
fn a_node_is_chosen_by_who_would_have_to_leave_it() {
    type Case = (&'static str, Vec<(Pod, &'static str)>, &'static str);
    let cases: [Case; 4] = [
        ("lowest priority", vec![(of("x", 5, "4", 0), "a"), (of("y", 4, "4", 0), "b")], "b without y"),
        (
            "smallest sum",
            vec![
                (of("x1", 4, "2", 0), "a"),
                (of("x2", 4, "2", 0), "a"),
                (of("y1", 4, "2", 0), "b"),
                (of("y2", 3, "2", 0), "b"),
            ],
            "b without y2, y1",
        ),
        (
            "fewest",
            vec![
                (of("x1", 4, "2", 0), "a"),
                (of("x2", -2_147_483_648, "2", 0), "a"),
                (of("y", 4, "4", 0), "b"),
            ],
            "b without y",
        ),
        ("youngest", vec![(of("x", 4, "4", 1), "a"), (of("y", 4, "4", 2), "b")], "b without y"),
    ];
    for (what, pods, expected) in cases {
        let mut view = cluster(&["a", "b"], pods);
        assert_eq!(one(&mut view, of("new", 9, "4", 0)), format!("new: {expected}"), "{what}");
    }
}

#[test]
fn only_lower_priorities_leave_and_only_where_it_helps() {
    let mut full = cluster(&["a"], [(of("same", 9, "4", 0), "a")]);
    assert_eq!(one(&mut full, of("new", 9, "1", 0)), "new: 0/1 nodes: 1 insufficient cpu");
    let mut small = cluster(&["a"], [(of("low", 1, "4", 0), "a")]);
    assert_eq!(one(&mut small, of("huge", 9, "5", 0)), "huge: 0/1 nodes: 1 insufficient cpu");
    let mut never = of("never", 9, "1", 0);
    never.spec_mut().preemption_policy = Some(PreemptionPolicy::Never);
    assert_eq!(one(&mut small, never), "never: 0/1 nodes: 1 insufficient cpu");
    let mut elsewhere = of("elsewhere", 9, "1", 0);
    elsewhere.spec_mut().node_selector = Labels::from([("disk", "fast")]);
    assert!(one(&mut small, elsewhere).starts_with("elsewhere: 0/1 nodes: 1 "));
    let gang = Pending::gang("team", vec![Arc::new(of("member", 1, "1", 0))], 1);
    let decided = run(&mut Pipeline::kubernetes(), &mut small, [gang]);
    assert!(decided[0].1.contains("insufficient cpu"), "{decided:?}");
    let mut pipeline = Pipeline::builder().preemption(false).build();
    let decided = run(&mut pipeline, &mut small, [Arc::new(of("meek", 9, "1", 0))]);
    assert_eq!(decided[0].1, "0/1 nodes: 1 insufficient cpu");
    assert!(!small.is_preempted(&Uid::from("low")));
}

#[test]
fn who_needs_nobody_to_leave_does_not_wait() {
    /// Asks for room at once, as one does that has found no node by rules of its own.
    #[derive(Debug)]
    struct Picky;

    impl Scheduler for Picky {
        fn schedule(&mut self, batch: &mut Batch<'_>) {
            while let Some(unit) = batch.next() {
                for pod in unit.pods() {
                    let room = batch.room_for(pod).unwrap();
                    batch.preempt(pod, &room).unwrap();
                }
            }
        }
    }

    let mut view = cluster(&["a"], [(of("low", 1, "1", 0), "a")]);
    let decided = run(&mut Picky, &mut view, [of("fits", 9, "3", 0), of("not", 8, "1", 0)].map(Arc::new));
    assert_eq!(decided.iter().map(|(_, at)| at.as_str()).collect::<Vec<_>>(), ["a", "a without low"]);
}

#[test]
fn two_that_need_room_get_it_apart() {
    let fill = |node: &'static str| (0..4).map(move |i| (of(&format!("low-{node}{i}"), 1, "900m", i), node));
    let mut view = cluster(&["a", "b"], fill("a").chain(fill("b")));
    let decided = decide(&mut view, [of("h1", 9, "3", 0), of("h2", 9, "3", 1), of("h3", 9, "3", 2)]);
    let (first, second) = (&decided[0], &decided[1]);
    assert!(first.contains("without") && second.contains("without"), "{decided:?}");
    assert_ne!(first[4..5], second[4..5], "on different nodes: {decided:?}");
    assert_eq!(decided[2], "h3: 0/2 nodes: 2 insufficient cpu");
    // Who asks for little gets what is left when those are gone, without another victim.
    let small = one(&mut view, of("small", 9, "100m", 3));
    assert!(small.contains(" without low-"), "{small}");
    let going = (0..4).flat_map(|i| ["a", "b"].map(|n| Uid::from(format!("low-{n}{i}"))));
    assert_eq!(going.filter(|uid| view.is_preempted(uid)).count(), 6);
}

#[test]
fn those_on_their_way_out_are_waited_for() {
    let mut ending = of("ending", 5, "4", 0);
    ending.metadata.deletion_timestamp = Some(Timestamp::from_micros(1));
    let mut view = cluster(&["a", "b"], [(ending, "a"), (of("cheap", 1, "4", 0), "b")]);
    assert_eq!(one(&mut view, of("new", 9, "4", 0)), "new: a without ending");
}

#[test]
fn a_budget_is_never_overdrawn() {
    let budget = |allowed: u32, generation: u64| {
        let mut budget = PodDisruptionBudget::default();
        (budget.metadata.namespace, budget.metadata.name) = ("default".into(), "keep".into());
        budget.metadata.generation = generation;
        budget.spec.selector = Some(LabelSelector::labels([("app", "x")]));
        (budget.status.disruptions_allowed, budget.status.observed_generation) = (allowed, 1);
        Arc::new(budget)
    };
    let mut view = cluster(&["a", "b"], [(of("x", 1, "4", 0), "a"), (of("y", 5, "4", 0), "b")]);
    view.budget_changed(&budget(0, 1));
    let try_one = |view: &mut View| view.what_if(|view| one(view, of("new", 9, "4", 0)));
    assert_eq!(try_one(&mut view), "new: b without y", "the dearer one: the budget of the other is spent");
    assert_eq!(view.budget_changed(&budget(1, 1)), Change::FREED);
    assert_eq!(try_one(&mut view), "new: a without x");
    assert_eq!(view.budget_changed(&budget(1, 2)), Change::NONE);
    assert_eq!(try_one(&mut view), "new: b without y", "what is said of an older budget does not count");
    assert_eq!(view.budget_removed("default", "keep"), Change::FREED);
    assert_eq!(try_one(&mut view), "new: a without x");
    let other = |name: &str| {
        let mut other = (*budget(5, 1)).clone();
        other.metadata.name = name.to_owned();
        Arc::new(other)
    };
    view.budget_changed(&other("one"));
    view.budget_changed(&other("two"));
    assert_eq!(try_one(&mut view), "new: b without y", "nobody evicts what two budgets cover");
    view.budget_removed("default", "one");
    view.budget_removed("default", "two");
    // One eviction for two that want it.
    let pods = [(of("x1", 1, "4", 0), "a"), (of("x2", 1, "4", 0), "b")];
    let mut both = cluster(
        &["a", "b"],
        pods.map(|(mut pod, node)| {
            pod.metadata.labels = Labels::from([("app", "x")]);
            (pod, node)
        }),
    );
    both.budget_changed(&budget(1, 1));
    let decided = decide(&mut both, [of("h1", 9, "4", 0), of("h2", 9, "4", 1)]);
    assert!(decided[0].contains("without") && decided[1].contains("insufficient cpu"), "{decided:?}");
    // The refused eviction gives it back.
    both.spare(&Uid::from("x1"));
    both.spare(&Uid::from("x2"));
    both.forget(&Uid::from("h1"));
    assert!(one(&mut both, of("h2", 9, "4", 1)).contains("without"));
}

#[test]
fn ports_and_company_can_be_made_room_for_too() {
    let with_port = |mut pod: Pod| {
        let port = serde_json::json!({ "containerPort": 80, "hostPort": 80 });
        pod.spec_mut().containers[0].ports.push(serde_json::from_value(port).unwrap());
        pod
    };
    let taken = with_port(of("taken", 1, "1", 0));
    assert_eq!(taken.spec.host_ports().map(|p: HostPort| p.port).collect::<Vec<_>>(), [80]);
    let mut view = cluster(&["a"], [(of("other", 0, "1", 0), "a"), (taken, "a")]);
    assert_eq!(one(&mut view, with_port(of("new", 9, "1", 0))), "new: a without taken");
    let mut alone = of("alone", 9, "1", 0);
    alone.spec_mut().affinity = Some(
        serde_json::from_value(serde_json::json!({ "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "noisy" } },
        }],
    } }))
        .unwrap(),
    );
    let mut noisy = of("noisy", 1, "1", 0);
    noisy.metadata.labels = Labels::from([("app", "noisy")]);
    let mut view = cluster(&["a"], [(of("other", 0, "1", 0), "a"), (noisy, "a")]);
    assert_eq!(one(&mut view, alone), "alone: a without noisy");
}

#[test]
fn what_is_tried_out_leaves_nothing_behind() {
    let mut view = cluster(&["a"], [(of("low", 1, "4", 0), "a")]);
    let tried = view.what_if(|view| one(view, of("new", 9, "4", 0)));
    assert_eq!(tried, "new: a without low");
    assert!(!view.is_preempted(&Uid::from("low")));
    assert_eq!((view.pod_count(), view.node_named("a").unwrap().free("cpu")), (1, 0));
    let mut ready = of("low", 1, "4", 0);
    ready.status.conditions = vec![Condition::new("Ready", true, Timestamp::EPOCH)];
    view.pod_changed(&bound(ready, "a"));
    let decisions = schedule(&mut Pipeline::kubernetes(), &mut view, [Arc::new(of("new", 9, "4", 0))]);
    let Outcome::Preempting { victims, .. } = &decisions[0].outcome else { panic!("{decisions:?}") };
    assert!(victims[0].is_ready(), "the pod as it is now");
}

/// A budget over the pods with one label, which allows so many disruptions.
fn allowing(name: &str, app: &str, allowed: u32) -> Arc<PodDisruptionBudget> {
    let mut budget = PodDisruptionBudget::default();
    (budget.metadata.namespace, budget.metadata.name) = ("default".into(), name.into());
    budget.spec.selector = Some(LabelSelector::labels([("app", app)]));
    budget.status.disruptions_allowed = allowed;
    Arc::new(budget)
}

/// Changes one pod, node or budget of the view.
fn change(rng: &Rng, view: &mut View, step: u64) {
    let names: Vec<Arc<Pod>> = view.pods().map(|(pod, _)| Arc::clone(pod)).collect();
    let any = (!names.is_empty()).then(|| &names[usize::try_from(rng.below(names.len() as u64)).unwrap()]);
    let edited = |edit: &dyn Fn(&mut Pod)| {
        any.map(|pod| {
            let mut pod = Pod::clone(pod);
            edit(&mut pod);
            Arc::new(pod)
        })
    };
    let place = format!("n{}", rng.below(6));
    match (rng.below(10), any) {
        (0, Some(pod)) => _ = view.pod_removed(&pod.metadata.uid),
        (1, Some(pod)) => view.spare(&pod.metadata.uid),
        (2, Some(_)) => {
            let ends = edited(&|pod| pod.metadata.deletion_timestamp = Some(Timestamp::EPOCH));
            ends.iter().for_each(|pod| _ = view.pod_changed(pod));
        }
        (3, Some(_)) => {
            let at = Timestamp::from_micros(i64::try_from(step).unwrap() * 1_000_000);
            let starts = edited(&|pod| pod.status.start_time = Some(at));
            starts.iter().for_each(|pod| _ = view.pod_changed(pod));
        }
        (4, _) => {
            let allowed = u32::try_from(rng.below(3)).unwrap();
            view.budget_changed(&allowing("budget", ["a", "b"][usize::from(rng.chance(0.5))], allowed));
        }
        (5, _) => _ = view.budget_removed("default", "budget"),
        (6, _) => {
            let mut node = node(&place, "z");
            node.spec.unschedulable = rng.chance(0.3);
            view.node_changed(&Arc::new(node));
        }
        (7, _) if rng.chance(0.3) => _ = view.node_removed(&place),
        _ => {
            let cpu = ["500m", "1", "2"][usize::try_from(rng.below(3)).unwrap()];
            let mut pod = of(&format!("old{step}"), i32::try_from(rng.below(4)).unwrap(), cpu, 0);
            pod.metadata.labels = Labels::new().with("app", ["a", "b"][usize::from(rng.chance(0.5))]);
            view.pod_changed(&bound(pod, &place));
        }
    }
}

#[test]
fn what_is_kept_of_the_costs_decides_as_what_is_worked_out_anew() {
    let (rng, mut preempting) = (Rng::seeded(5), 0);
    for round in 0..20 {
        let mut view = cluster(&["n0", "n1", "n2", "n3", "n4", "n5"], []);
        let mut kept = Pipeline::kubernetes();
        for step in 0..150 {
            for _ in 0..=rng.below(3) {
                change(&rng, &mut view, 1_000 * round + step * 10 + rng.below(10));
            }
            let priority = 3 + i32::try_from(rng.below(2)).unwrap();
            let mut pod = of(&format!("new{step}"), priority, "3", 0);
            pod.metadata.labels = Labels::new();
            let pod = Arc::new(pod);
            let decide = |scheduler: &mut Pipeline, view: &mut View| {
                schedule(scheduler, view, [Arc::clone(&pod)]).remove(0).outcome
            };
            let expected = view.what_if(|view| decide(&mut Pipeline::kubernetes(), view));
            let decided = decide(&mut kept, &mut view);
            assert_eq!(decided, expected, "round {round}, step {step}");
            preempting += u32::from(matches!(decided, Outcome::Preempting { .. }));
        }
    }
    assert!(preempting > 100, "{preempting} preempted");
}

#[test]
fn equals_cost_what_a_look_at_each_of_them_says() {
    let (rng, mut dear) = (Rng::seeded(3), 0);
    let any = |of: &[&'static str]| of[usize::try_from(rng.below(of.len() as u64)).unwrap()];
    for round in 0..1500 {
        let mut view = cluster(&["a", "b"], []);
        let (priority, cpu) = (i32::try_from(rng.below(12)).unwrap(), any(&["0", "500m", "900m", "1"]));
        for i in 0..rng.below(12) {
            let second = i64::try_from(rng.below(5)).unwrap();
            // Some are not like the others.
            let cpu = if rng.chance(0.05) { "2" } else { cpu };
            let mut pod = of(&format!("p{i}"), priority, cpu, second);
            pod.metadata.labels = Labels::new();
            if rng.chance(0.05) {
                pod.metadata.deletion_timestamp = Some(Timestamp::EPOCH);
            }
            let uid = pod.metadata.uid.clone();
            view.pod_changed(&bound(pod, any(&["a", "b"])));
            view.set_preempted(&uid, rng.chance(0.05));
        }
        let pod = view.pod_info(&Arc::new(of("new", 9, any(&["1", "2500m", "4", "5"]), 0)));
        for node in view.nodes() {
            let expected = candidate(&view, &pod, &node).map(|found| found.cost);
            assert_eq!(least_cost(&view, &pod, &node), expected, "round {round}, {node:?}");
            let equals = Equals::who_could_leave(&view, &pod, &node);
            if let Some(cost) = equals.map(|equals| equals.cost(&missing(&pod, &node))) {
                assert_eq!(cost, expected, "round {round}, {node:?}");
                dear += u32::from(cost > Some(Cost::of(std::iter::empty())));
            }
        }
    }
    assert!(dear > 200, "{dear} nodes of equals that would have to leave");
}
