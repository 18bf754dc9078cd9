use std::sync::Arc;

use super::View;
use crate::model::{Condition, ContainerPort, Namespace, Pod, PodPhase, Timestamp, Uid};
use crate::scheduler::testing::{bound, node, pod, quantity, view};
use crate::scheduler::{Change, Pending, Pipeline, schedule};

fn edited(pod: &Arc<Pod>, edit: impl FnOnce(&mut Pod)) -> Arc<Pod> {
    let mut pod = Pod::clone(pod);
    edit(&mut pod);
    Arc::new(pod)
}

fn used(view: &View, node: &str) -> (i64, usize) {
    let node = view.node_named(node).unwrap();
    (node.used("cpu"), node.pods().len())
}

#[test]
fn a_pod_has_its_share_until_it_ended_or_is_gone() {
    let mut view = view([node("n", "a")]);
    let (a, b) = (bound(pod("a", "web", "1"), "n"), bound(pod("b", "web", "500m"), "n"));
    assert_eq!(view.pod_changed(&a), Change::PLACED);
    assert_eq!(view.pod_changed(&b), Change::PLACED);
    assert_eq!(used(&view, "n"), (1500, 2));
    // Being deleted: its containers may still run.
    let deleted = edited(&a, |p| p.metadata.deletion_timestamp = Some(Timestamp::EPOCH));
    view.pod_changed(&deleted);
    assert_eq!(used(&view, "n"), (1500, 2));
    assert_eq!(view.pod_changed(&edited(&b, |p| p.status.phase = PodPhase::Succeeded)), Change::FREED);
    assert_eq!(used(&view, "n"), (1000, 1));
    assert_eq!(view.pod_removed(&a.metadata.uid), Change::FREED);
    assert_eq!(view.pod_removed(&a.metadata.uid), Change::NONE);
    assert_eq!(used(&view, "n"), (0, 0));
}

#[test]
fn an_assumed_pod_is_confirmed_or_forgotten() {
    let mut view = view([node("n", "a")]);
    let (kept, lost) = (Arc::new(pod("kept", "web", "1")), Arc::new(pod("lost", "web", "1")));
    schedule(&mut Pipeline::kubernetes(), &mut view, [Arc::clone(&kept), Arc::clone(&lost)]);
    assert!(view.is_assumed(&kept.metadata.uid) && view.is_assumed(&lost.metadata.uid));
    // News of the pod from before it was bound don't take it off its node.
    view.pod_changed(&edited(&kept, |p| p.status.message = "new".into()));
    assert_eq!(used(&view, "n"), (2000, 2));
    let confirmed = edited(&kept, |p| p.node_name = Some("n".into()));
    let version = view.version();
    assert_eq!(view.pod_changed(&confirmed), Change::NONE);
    assert_eq!(view.version(), version);
    assert!(!view.is_assumed(&kept.metadata.uid));
    assert_eq!(view.forget(&kept.metadata.uid), Change::NONE);
    assert_eq!(view.forget(&lost.metadata.uid), Change::FREED);
    assert_eq!(used(&view, "n"), (1000, 1));
}

#[test]
fn pods_of_an_unknown_node_are_on_it_when_it_comes() {
    let mut view = View::new();
    let early = bound(pod("early", "web", "1"), "n");
    view.pod_changed(&early);
    assert_eq!((view.len(), view.pod_count()), (0, 1));
    assert!(view.node_named("n").is_none());
    view.node_changed(&Arc::new(node("n", "a")));
    assert_eq!(used(&view, "n"), (1000, 1));
    assert_eq!(view.node_removed("n"), Change::NONE);
    assert_eq!((view.len(), view.node_of(&early.metadata.uid).map(|n| &**n)), (0, Some("n")));
    view.node_changed(&Arc::new(node("n", "a")));
    assert_eq!(used(&view, "n"), (1000, 1));
    // The place of a node that has neither object nor pods is given to the next one.
    view.node_removed("n");
    view.pod_removed(&early.metadata.uid);
    view.node_changed(&Arc::new(node("other", "a")));
    assert_eq!((view.slots().len(), used(&view, "other")), (1, (0, 0)));
}

#[test]
fn a_heartbeat_is_no_change() {
    let mut view = view([node("n", "a")]);
    let version = view.version();
    let mut beat = node("n", "a");
    beat.status.conditions.push(Condition::new("Ready", true, Timestamp::EPOCH));
    assert_eq!(view.node_changed(&Arc::new(beat.clone())), Change::NODE);
    let before = view.version();
    beat.status.conditions[0].message = "still here".into();
    assert_eq!(view.node_changed(&Arc::new(beat.clone())), Change::NONE);
    assert_eq!(view.version(), before);
    assert!(before > version);
    beat.status.allocatable.insert("cpu".into(), quantity("8"));
    assert_eq!(view.node_changed(&Arc::new(beat)), Change::NODE);
    assert_eq!(view.node_named("n").unwrap().allocatable("cpu"), 8000);
}

#[test]
fn a_pod_that_moves_or_changes_class_is_counted_once() {
    let mut view = view([node("n", "a"), node("m", "a")]);
    let here = bound(pod("p", "web", "1"), "n");
    view.pod_changed(&here);
    view.pod_changed(&edited(&here, |p| p.metadata.labels = [("app", "other")].into()));
    assert_eq!(used(&view, "n"), (1000, 1));
    view.pod_changed(&edited(&here, |p| p.node_name = Some("m".into())));
    assert_eq!((used(&view, "n"), used(&view, "m")), ((0, 0), (1000, 1)));
}

#[test]
fn what_is_tried_out_is_taken_back_at_every_depth() {
    let mut view = view([node("n", "a")]);
    view.pod_changed(&bound(pod("old", "web", "1"), "n"));
    let mut ports = pod("ports", "web", "1");
    ports.spec_mut().containers[0].ports.push(ContainerPort { host_port: 80, ..ContainerPort::default() });
    let ports = Arc::new(ports);
    view.what_if(|view| {
        view.node_changed(&Arc::new(node("m", "b")));
        view.pod_removed(&Uid::from("old"));
        let placed = view.what_if(|view| {
            let placed = schedule(&mut Pipeline::kubernetes(), view, [Arc::clone(&ports)]);
            view.node_removed("n");
            placed
        });
        assert_eq!(placed.len(), 1);
        assert_eq!((view.len(), view.pod_count()), (2, 0));
    });
    assert_eq!((view.len(), view.pod_count(), used(&view, "n")), (1, 1, (1000, 1)));
    let info = view.pod_info(&ports);
    assert!(view.node_named("n").unwrap().fits(&info));
}

#[test]
fn a_gang_that_is_too_big_leaves_nothing_behind() {
    let mut view = view([node("n", "a"), node("m", "a")]);
    let gang: Vec<_> = (0..9).map(|i| Arc::new(pod(&format!("g{i}"), "web", "1"))).collect();
    let all = schedule(&mut Pipeline::kubernetes(), &mut view, [Pending::gang("team", gang.clone(), 9)]);
    assert_eq!(view.pod_count(), 0);
    let why = format!("{:?}", all[0].outcome);
    assert!(why.contains("gang team needs 9 pods placed together, 8 can be"), "{why}");
    let most = schedule(&mut Pipeline::kubernetes(), &mut view, [Pending::gang("team", gang, 8)]);
    assert_eq!((most.len(), view.pod_count()), (9, 8));
}

#[test]
fn namespaces_change_only_with_their_labels() {
    let mut view = View::new();
    assert_eq!(view.namespace_changed(&Namespace::new("x")), Change::NONE);
    assert_eq!(view.namespace_changed(&Namespace::new("x").label("team", "red")), Change::NAMESPACE);
    assert_eq!(view.namespace_changed(&Namespace::new("x").label("team", "red")), Change::NONE);
    assert_eq!(view.namespace_removed("x"), Change::NAMESPACE);
    assert_eq!(view.namespace_removed("x"), Change::NONE);
}
