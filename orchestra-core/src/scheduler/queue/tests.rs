use super::*;
use crate::model::{ObjectMeta, PodGroup, PodPhase, PodSchedulingGate, Timestamp};

fn pod(name: &str, priority: i32, created: i64) -> Arc<Pod> {
    let mut pod = Pod { metadata: ObjectMeta::named(name), ..Pod::default() };
    pod.metadata.uid = Uid::from(name);
    pod.metadata.creation_timestamp = Some(Timestamp::from_micros(created));
    pod.spec_mut().priority = Some(priority);
    Arc::new(pod)
}

fn edited(pod: &Arc<Pod>, edit: impl FnOnce(&mut Pod)) -> Arc<Pod> {
    let mut pod = Pod::clone(pod);
    edit(&mut pod);
    Arc::new(pod)
}

/// The names of the pods of each unit.
fn names(units: &[Pending]) -> Vec<String> {
    let names = |unit: &Pending| {
        let names: Vec<_> = unit.pods.iter().map(|pod| pod.metadata.name.as_str()).collect();
        names.join(" ")
    };
    units.iter().map(names).collect()
}

fn waits_for(change: Change) -> Explanation {
    Explanation::note("test").with_helped_by(change)
}

#[test]
fn pods_are_taken_by_priority_then_age_then_name() {
    let mut queue = PodQueue::new();
    for pod in [pod("c", 0, 1), pod("b", 0, 1), pod("old", 0, 0), pod("urgent", 5, 9)] {
        queue.pod_changed(&pod);
    }
    assert_eq!(names(&queue.take(3)), ["urgent", "old", "b"]);
    assert_eq!(names(&queue.take(3)), ["c"]);
}

#[test]
fn a_parked_pod_is_woken_only_by_what_can_help() {
    let mut queue = PodQueue::new();
    let (full, label) = (pod("full", 0, 0), pod("label", 0, 0));
    queue.pod_changed(&full);
    queue.pod_changed(&label);
    queue.take(2);
    queue.park(&full.metadata.uid, &waits_for(Change::FREED | Change::NODE));
    queue.park(&label.metadata.uid, &waits_for(Change::NODE));
    assert_eq!((queue.waiting(), queue.parked()), (0, 2));
    assert_eq!(queue.wake(Change::PLACED), 0);
    assert_eq!(queue.wake(Change::FREED), 1);
    assert_eq!(names(&queue.take(9)), ["full"]);
    assert_eq!(queue.wake(Change::NODE), 1);
    assert_eq!(names(&queue.take(9)), ["label"]);
}

#[test]
fn a_change_during_the_decision_is_not_missed() {
    let mut queue = PodQueue::new();
    let full = pod("full", 0, 0);
    queue.pod_changed(&full);
    queue.take(1);
    queue.wake(Change::FREED);
    queue.park(&full.metadata.uid, &waits_for(Change::FREED));
    assert_eq!((queue.waiting(), queue.parked()), (1, 0));
}

#[test]
fn a_status_does_not_wake_a_parked_pod_but_a_new_label_does() {
    let mut queue = PodQueue::new();
    let parked = pod("parked", 0, 0);
    queue.pod_changed(&parked);
    queue.take(1);
    queue.park(&parked.metadata.uid, &waits_for(Change::NODE));
    queue.pod_changed(&edited(&parked, |p| p.status.message = "0/3 nodes".into()));
    assert_eq!((queue.waiting(), queue.parked()), (0, 1));
    assert!(queue.why(&parked.metadata.uid).is_some());
    queue.pod_changed(&edited(&parked, |p| p.metadata.labels = [("a", "b")].into()));
    assert_eq!((queue.waiting(), queue.parked()), (1, 0));
}

#[test]
fn pods_leave_when_bound_ended_or_gone() {
    let mut queue = PodQueue::new();
    let all: Vec<_> = ["a", "b", "c", "d", "e"].map(|n| pod(n, 0, 0)).into();
    for pod in &all {
        queue.pod_changed(pod);
    }
    queue.take(1);
    queue.pod_changed(&edited(&all[0], |p| p.node_name = Some("n".into())));
    queue.retry(&all[0].metadata.uid);
    queue.pod_changed(&edited(&all[1], |p| p.status.phase = PodPhase::Failed));
    queue.pod_changed(&edited(&all[2], |p| p.metadata.deletion_timestamp = Some(Timestamp::EPOCH)));
    queue.pod_removed(&all[3].metadata.uid);
    assert_eq!(names(&queue.take(9)), ["e"]);
    queue.retry(&all[4].metadata.uid);
    assert_eq!(names(&queue.take(9)), ["e"]);
}

#[test]
fn a_gated_pod_is_not_taken_until_the_gate_is_gone() {
    let mut queue = PodQueue::new();
    let open = pod("gated", 0, 0);
    let gate = PodSchedulingGate { name: "quota".into(), ..PodSchedulingGate::default() };
    queue.pod_changed(&edited(&open, |p| p.spec_mut().scheduling_gates.push(gate)));
    queue.wake(Change::ANY);
    assert!(queue.take(1).is_empty());
    queue.pod_changed(&open);
    assert_eq!(names(&queue.take(1)), ["gated"]);
}

/// A pod of the group `team`.
fn member(name: &str) -> Arc<Pod> {
    edited(&pod(name, 0, 0), |pod| {
        let spec = pod.spec_mut();
        *spec = std::mem::take(spec).scheduling_group("team");
    })
}

fn team(queue: &mut PodQueue, least: u32, names: &[&str]) -> Vec<Arc<Pod>> {
    queue.group_changed(&PodGroup::gang("team", least).within("zone"));
    let members: Vec<Arc<Pod>> = names.iter().map(|name| member(name)).collect();
    members.iter().for_each(|member| queue.pod_changed(member));
    members
}

#[test]
fn a_gang_is_held_back_until_it_is_complete_and_then_taken_together() {
    let mut queue = PodQueue::new();
    queue.pod_changed(&member("a"));
    assert!(queue.take(9).is_empty());
    let why = |queue: &PodQueue, name: &str| queue.held_back(&Uid::from(name)).map(|why| why.to_string());
    assert_eq!(why(&queue, "a").as_deref(), Some("waits for its PodGroup team, which is not there"));
    queue.group_changed(&PodGroup::gang("team", 3));
    assert_eq!(why(&queue, "a").as_deref(), Some("waits until its PodGroup team has 3 pods"));
    queue.pod_changed(&member("b"));
    assert_eq!((queue.waiting(), queue.held_back_for("", "team").len()), (0, 2));
    queue.pod_changed(&member("c"));
    queue.pod_changed(&pod("single", 0, 0));
    assert_eq!(names(&queue.pending()), ["a b c", "single"]);
    // Together, though only one was asked for.
    let taken = queue.take(1);
    assert_eq!(names(&taken), ["a b c"]);
    assert_eq!(taken[0].gang.as_ref().map(|gang| gang.least), Some(3));
    assert_eq!(names(&queue.take(9)), ["single"]);
}

#[test]
fn a_parked_gang_is_woken_as_one_and_only_by_what_can_help() {
    let mut queue = PodQueue::new();
    let members = team(&mut queue, 2, &["a", "b", "c"]);
    queue.take(9);
    queue.park(&members[0].metadata.uid, &waits_for(Change::FREED));
    queue.park(&members[1].metadata.uid, &waits_for(Change::NODE));
    queue.park(&members[2].metadata.uid, &waits_for(Change::NODE));
    assert_eq!((queue.wake(Change::PLACED), queue.waiting(), queue.parked()), (0, 0, 3));
    assert_eq!(queue.wake(Change::FREED), 1);
    assert_eq!(names(&queue.take(1)), ["a b c"]);
    assert_eq!((queue.waiting(), queue.parked()), (0, 0));
}

#[test]
fn a_gang_that_loses_a_pod_too_many_is_held_back_again() {
    let mut queue = PodQueue::new();
    let members = team(&mut queue, 2, &["a", "b"]);
    queue.take(9);
    members.iter().for_each(|member| queue.park(&member.metadata.uid, &waits_for(Change::NODE)));
    queue.pod_removed(&members[1].metadata.uid);
    assert_eq!((queue.wake(Change::ANY), queue.parked()), (0, 0));
    assert!(queue.held_back(&members[0].metadata.uid).is_some());
    queue.group_changed(&PodGroup::gang("team", 1));
    assert_eq!(names(&queue.take(9)), ["a"]);
}

#[test]
fn pods_that_are_placed_count_and_say_where_the_others_go() {
    let mut queue = PodQueue::new();
    let members = team(&mut queue, 3, &["a", "b", "c"]);
    queue.take(9);
    for member in &members[..2] {
        queue.pod_changed(&edited(member, |pod| pod.node_name = Some("n".into())));
    }
    queue.retry(&members[2].metadata.uid);
    let late = member("late");
    queue.pod_changed(&late);
    let taken = queue.take(9);
    assert_eq!(names(&taken), ["c late"]);
    let gang = taken[0].gang.as_ref().unwrap();
    assert_eq!((gang.least, gang.within.as_deref(), gang.beside.len()), (1, Some("zone"), 2));
    // One of them has done its work, which changes nothing; one ends: then one more must be placed.
    queue.pod_changed(&edited(&members[1], |pod| {
        pod.node_name = Some("n".into());
        pod.status.phase = PodPhase::Succeeded;
    }));
    queue.pod_removed(&members[0].metadata.uid);
    queue.retry(&members[2].metadata.uid);
    queue.retry(&late.metadata.uid);
    assert_eq!(queue.take(9)[0].gang.as_ref().map(|gang| gang.least), Some(2));
}

#[test]
fn news_of_those_that_are_placed_hold_nobody_back() {
    let mut queue = PodQueue::new();
    let members = team(&mut queue, 3, &["a", "b", "c"]);
    queue.take(9);
    let placed = |member: &Arc<Pod>, edit: fn(&mut Pod)| {
        edited(member, |pod| {
            pod.node_name = Some("n".into());
            edit(pod);
        })
    };
    members.iter().for_each(|member| queue.pod_changed(&placed(member, |_| ())));
    queue.pod_changed(&placed(&members[2], |pod| pod.status.phase = PodPhase::Failed));
    // It takes the place of the one that failed, and finds no room.
    let late = member("late");
    queue.pod_changed(&late);
    assert_eq!(names(&queue.take(9)), ["late"]);
    queue.park(&late.metadata.uid, &waits_for(Change::FREED));
    queue.pod_changed(&placed(&members[0], |pod| pod.status.phase = PodPhase::Running));
    assert_eq!((queue.waiting(), queue.parked()), (0, 1), "nothing is new for who waits");
    assert_eq!(queue.wake(Change::FREED), 1);
    queue.pod_changed(&placed(&members[0], |pod| pod.status.phase = PodPhase::Succeeded));
    assert_eq!(names(&queue.take(9)), ["late"]);
}

#[test]
fn who_comes_while_its_gang_is_being_placed_waits_for_that() {
    let mut queue = PodQueue::new();
    let members = team(&mut queue, 2, &["a", "b"]);
    assert_eq!(queue.taken_together(&[]).len(), 0);
    queue.take(9);
    let uids: Vec<Uid> = members.iter().map(|member| member.metadata.uid.clone()).collect();
    assert_eq!(names(&queue.taken_together(&uids)), ["a b"]);
    queue.pod_changed(&member("late"));
    assert!(queue.take(9).is_empty());
    assert_eq!(queue.parked(), 1);
    for member in &members {
        queue.pod_changed(&edited(member, |pod| pod.node_name = Some("n".into())));
    }
    assert_eq!(names(&queue.take(9)), ["late"]);
}

#[test]
fn pods_of_a_basic_group_are_taken_one_by_one() {
    let mut queue = PodQueue::new();
    let mut group = PodGroup::gang("team", 1);
    group.spec.scheduling_policy = serde_json::from_value(serde_json::json!({"basic": {}})).unwrap();
    queue.group_changed(&group);
    ["a", "b"].iter().for_each(|name| queue.pod_changed(&member(name)));
    assert_eq!(names(&queue.take(1)), ["a"]);
    queue.group_removed("", "team");
    assert!(queue.take(9).is_empty());
}
