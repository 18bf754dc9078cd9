use super::*;
use crate::model::{AccessMode, Node, ObjectReference, Quantity, Volume};
use crate::rng::Rng;
use crate::scheduler::testing::{node, pod, run, view};
use crate::scheduler::{Evaluation, Pipeline, PodInfo};

fn gib(size: u64) -> Quantity {
    format!("{size}Gi").parse().unwrap()
}

fn claim(name: &str, size: u64, class: &str) -> PersistentVolumeClaim {
    let mut claim = PersistentVolumeClaim::new(name, gib(size)).class(class);
    claim.metadata.namespace = "default".into();
    claim.metadata.uid = format!("uid-{name}").as_str().into();
    claim
}

fn local(name: &str, size: u64, host: &str) -> PersistentVolume {
    PersistentVolume::local(name, gib(size), host, "/srv").class("local")
}

fn bind(claim: &mut PersistentVolumeClaim, volume: &mut PersistentVolume) {
    claim.spec.volume_name.clone_from(&volume.metadata.name);
    volume.spec.claim_ref = Some(ObjectReference::to(claim));
}

fn with_claims(name: &str, claims: &[&str]) -> Pod {
    let mut pod = pod(name, "db", "100m");
    let volumes = claims.iter().map(|claim| Volume::persistent(*claim, *claim));
    pod.spec_mut().volumes = volumes.collect();
    pod
}

/// Three nodes, and two classes that wait: of volumes made by hand, and of directories.
fn three() -> View {
    let mut view = view(["n1", "n2", "n3"].map(|name| node(name, "z")));
    view.follow_volumes();
    let by_hand = StorageClass::new("local", "kubernetes.io/no-provisioner").wait_for_first_consumer();
    view.storage_class_changed(&Arc::new(by_hand));
    view.storage_class_changed(&Arc::new(StorageClass::local("made")));
    view
}

fn place(view: &mut View, pod: Pod) -> String {
    run(&mut Pipeline::kubernetes(), view, [Arc::new(pod)]).remove(0).1
}

#[test]
fn pods_go_where_their_volumes_are() {
    let mut view = three();
    let (mut data, mut volume) = (claim("data", 1, "local"), local("v2", 1, "n2"));
    assert!(
        place(&mut view, with_claims("a", &["data"]))
            .contains("persistentvolumeclaim data: it does not exist")
    );
    assert_eq!(view.claim_changed(&Arc::new(data.clone())), Change::VOLUMES);
    assert!(
        place(&mut view, with_claims("a", &["data"]))
            .contains("have no free volume for persistentvolumeclaim data")
    );
    assert_eq!(view.volume_changed(&Arc::new(volume.clone())), Change::VOLUMES);
    assert_eq!(view.volume_changed(&Arc::new(volume.clone())), Change::NONE, "nothing new");
    assert_eq!(place(&mut view, with_claims("a", &["data"])), "n2");
    bind(&mut data, &mut volume);
    view.claim_changed(&Arc::new(data.clone()));
    assert!(place(&mut view, with_claims("b", &["data"])).contains("volume v2 is not bound to it"));
    view.volume_changed(&Arc::new(volume));
    assert_eq!(place(&mut view, with_claims("b", &["data"])), "n2");
    data.metadata.deletion_timestamp = Some(crate::model::Timestamp::EPOCH);
    view.claim_changed(&Arc::new(data));
    assert!(place(&mut view, with_claims("c", &["data"])).contains("it is being deleted"));
    assert_eq!(place(&mut view, pod("d", "web", "1")).len(), 2, "others go anywhere");
}

#[test]
fn claims_of_one_pod_have_different_volumes() {
    let mut view = three();
    for (name, size) in [("small", 1), ("large", 2)] {
        view.claim_changed(&Arc::new(claim(name, size, "local")));
    }
    for volume in [local("v1", 2, "n1"), local("v3-a", 2, "n3"), local("v3-b", 3, "n3")] {
        view.volume_changed(&Arc::new(volume));
    }
    let pod = with_claims("a", &["small", "large"]);
    assert_eq!(place(&mut view, pod.clone()), "n3");
    let choices = view.choose_volumes(&pod, "n3").unwrap();
    let taken: Vec<&str> = choices
        .iter()
        .map(|choice| match choice {
            Choice::Take(_, volume) => volume.metadata.name.as_str(),
            Choice::Provision(..) => "",
        })
        .collect();
    assert_eq!(taken, ["v3-a", "v3-b"]);
    assert!(view.choose_volumes(&pod, "n1").is_err());
}

#[test]
fn a_volume_that_is_kept_for_a_claim_comes_first() {
    let mut view = three();
    let claims = [claim("data", 1, "local"), claim("made", 1, "made")];
    for (of, host) in claims.iter().zip(["n2", "n3"]) {
        let mut kept = local(&format!("kept-{host}"), 2, host).class(of.class_name());
        kept.spec.claim_ref = Some(ObjectReference { uid: "".into(), ..ObjectReference::to(of) });
        view.volume_changed(&Arc::new(kept));
        view.claim_changed(&Arc::new(of.clone()));
    }
    // Smaller ones, and directories that could be made, are there everywhere.
    for host in ["n1", "n2", "n3"] {
        view.volume_changed(&Arc::new(local(&format!("free-{host}"), 1, host)));
    }
    for (name, host) in [("data", "n2"), ("made", "n3")] {
        let pod = with_claims(name, &[name]);
        let taken = view.choose_volumes(&pod, host).unwrap();
        let kept = format!("kept-{host}");
        assert!(matches!(&taken[..], [Choice::Take(_, volume)] if volume.metadata.name == kept), "{taken:?}");
        assert!(view.choose_volumes(&pod, "n1").is_err_and(|why| why.contains("kept for")));
        assert_eq!(place(&mut view, pod), host);
    }
    view.volume_removed("kept-n2");
    assert!(view.choose_volumes(&with_claims("data", &["data"]), "n1").is_ok());
}

#[test]
fn directories_are_made_where_the_class_allows() {
    let mut view = three();
    view.claim_changed(&Arc::new(claim("data", 1, "made")));
    assert_eq!(place(&mut view, with_claims("a", &["data"])).len(), 2);
    let mut class = StorageClass::local("made");
    let term =
        serde_json::json!({"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["n3"]}]});
    class.allowed_topologies = vec![serde_json::from_value(term).unwrap()];
    view.storage_class_changed(&Arc::new(class));
    assert_eq!(place(&mut view, with_claims("b", &["data"])), "n3");
    view.storage_class_changed(&Arc::new(StorageClass::new("made", "example.com/disks")));
    let why = place(&mut view, with_claims("c", &["data"]));
    assert!(why.contains("wait for persistentvolumeclaim data: it has no volume yet"), "{why}");
}

#[test]
fn a_claim_for_one_pod_is_one_pods() {
    let mut view = three();
    let one = claim("one", 1, "made").access_mode(AccessMode::ReadWriteOncePod);
    view.claim_changed(&Arc::new(one));
    let pods = ["a", "b"].map(|name| Arc::new(with_claims(name, &["one"])));
    let placed = run(&mut Pipeline::kubernetes(), &mut view, pods);
    assert!(placed[0].1.starts_with('n') && placed[1].1.contains("ReadWriteOncePod"), "{placed:?}");
    assert!(view.forget(&"a".into()).contains(Change::VOLUMES), "b may be placed now");
    assert!(place(&mut view, with_claims("b", &["one"])).starts_with('n'));
}

#[test]
fn a_view_that_nobody_tells_of_volumes_takes_no_account_of_them() {
    let mut view = view([node("n1", "z")]);
    assert_eq!(place(&mut view, with_claims("a", &["data"])), "n1");
}

/// Answers that are kept, by rankings or in a scan's columns, are those that are given afresh, whatever changes.
#[test]
fn kept_answers_are_those_given_afresh() {
    for seed in 0..40 {
        let rng = Rng::seeded(seed);
        let mut view = three();
        let name = |prefix: &str, below: u64| format!("{prefix}{}", rng.below(below));
        let mut kept = [Evaluation::Rankings, Evaluation::Scans, Evaluation::Cheapest]
            .map(|by| Pipeline::builder().evaluation(by).build());
        let (mut somewhere, mut nowhere) = (0, 0);
        for step in 0..120 {
            let mut new =
                claim(&name("c", 4), 1 + rng.below(3), if rng.chance(0.3) { "made" } else { "local" });
            let mut volume = local(&name("v", 5), 1 + rng.below(3), &name("n", 4));
            if rng.chance(0.2) {
                new = new.access_mode(AccessMode::ReadWriteOncePod);
                volume.spec.access_modes.push(AccessMode::ReadWriteOncePod);
            }
            match rng.below(9) {
                0 | 1 => _ = view.claim_changed(&Arc::new(new)),
                2 | 3 => _ = view.volume_changed(&Arc::new(volume)),
                4 => {
                    bind(&mut new, &mut volume);
                    view.claim_changed(&Arc::new(new));
                    view.volume_changed(&Arc::new(volume));
                }
                5 => _ = view.claim_removed("default", &name("c", 4)),
                6 => _ = view.volume_removed(&name("v", 5)),
                7 => {
                    let host: Node = node(&name("n", 4), "z");
                    view.node_changed(&Arc::new(host));
                }
                _ => {
                    let mut user = with_claims(&name("user", 3), &[&name("c", 4)]);
                    user.node_name = Some(name("n", 4).as_str().into());
                    if rng.chance(0.5) {
                        view.pod_changed(&Arc::new(user))
                    } else {
                        view.pod_removed(&user.metadata.uid)
                    };
                }
            }
            let claims: Vec<String> = (0..=rng.below(2)).map(|_| name("c", 4)).collect();
            let wanted: Vec<&str> = claims.iter().map(String::as_str).collect();
            let info: PodInfo = view.pod_info(&Arc::new(with_claims("p", &wanted)));
            let fresh = Pipeline::kubernetes().feasible(&mut view, &info);
            if fresh.is_empty() {
                nowhere += 1
            } else {
                somewhere += 1
            }
            for pipeline in &mut kept {
                assert_eq!(
                    pipeline.feasible(&mut view, &info),
                    fresh,
                    "seed {seed}, step {step}: {pipeline:?}"
                );
            }
            let mut placed = kept.iter_mut().map(|pipeline| {
                let mut batch = None;
                view.what_if(|view| {
                    batch = run(pipeline, view, [Arc::new(with_claims("p", &wanted))]).pop();
                });
                batch
            });
            let first = placed.next();
            assert!(placed.all(|placed| Some(placed) == first), "seed {seed}, step {step}");
        }
        assert!(somewhere > 5 && nowhere > 5, "seed {seed}: {somewhere} and {nowhere}");
    }
}
