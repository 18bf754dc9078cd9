use super::*;
use crate::model::{Container, PodPhase, PodSchedulingGate};

fn changes(old: &Pod, new: &Pod) -> Vec<String> {
    let mut errors = FieldErrors::new();
    new.validate_update(old, &mut errors);
    errors.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn what_may_change() {
    let mut old = good();
    old.spec_mut().scheduling_gates = vec![PodSchedulingGate { name: "g".into(), ..Default::default() }];
    old.spec_mut().active_deadline_seconds = Some(10);
    let allowed: [fn(&mut Pod); 6] = [
        |pod| pod.spec_mut().containers[0].image = "shop/web:2".into(),
        |pod| pod.spec_mut().init_containers[1].image = "shop/proxy:2".into(),
        |pod| pod.spec_mut().tolerations.insert(0, Toleration::exists("more")),
        |pod| pod.spec_mut().active_deadline_seconds = Some(5),
        |pod| pod.spec_mut().scheduling_gates.clear(),
        |pod| pod.node_name = Some("n1".into()),
    ];
    for (i, change) in allowed.into_iter().enumerate() {
        let mut new = old.clone();
        change(&mut new);
        assert_ne!(new, old);
        assert_eq!(changes(&old, &new), Vec::<String>::new(), "change {i}");
    }
}

#[test]
fn what_may_not_change_is_named() {
    let mut old = good().node("n1");
    old.spec_mut().active_deadline_seconds = Some(10);
    type Change = (fn(&mut Pod), &'static str);
    let refused: [Change; 9] = [
        (|pod| pod.node_name = None, "spec.nodeName: can't be changed"),
        (|pod| pod.node_name = Some("n2".into()), "spec.nodeName: can't be changed"),
        (
            |pod| pod.spec_mut().active_deadline_seconds = Some(11),
            "spec.activeDeadlineSeconds: can be set and lowered",
        ),
        (
            |pod| pod.spec_mut().active_deadline_seconds = None,
            "spec.activeDeadlineSeconds: can be set and lowered",
        ),
        (|pod| pod.spec_mut().tolerations.clear(), "spec.tolerations: can be added to"),
        (
            |pod| pod.spec_mut().scheduling_gates.push(PodSchedulingGate::default()),
            "spec.schedulingGates: can be taken away",
        ),
        (
            |pod| pod.spec_mut().containers[0].env[0].value = "dev".into(),
            "spec.containers[0].env[0].value: can't be",
        ),
        (|pod| pod.spec_mut().containers.push(Container::new("x", "y")), "spec.containers: can't be changed"),
        (|pod| pod.spec_mut().hostname = "x".into(), "spec.hostname: can't be changed"),
    ];
    for (change, error) in refused {
        let mut new = old.clone();
        change(&mut new);
        let found = changes(&old, &new);
        assert!(found.len() == 1 && found[0].starts_with(error), "{found:#?}\nexpected {error}");
    }
}

#[test]
fn an_ended_pod_stays_ended() {
    let (mut old, mut new) = (good(), good());
    old.status.phase = PodPhase::Failed;
    new.status.phase = PodPhase::Running;
    assert_eq!(changes(&old, &new), ["status.phase: can't be changed: the pod has ended"]);
    old.status.phase = PodPhase::Pending;
    assert!(changes(&old, &new).is_empty());
}
