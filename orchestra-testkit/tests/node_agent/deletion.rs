//! Out of the balancers first, then the signal, then the kill, then everything.

use std::sync::Arc;
use std::time::Duration;

use orchestra_core::client::DeleteOptions;
use orchestra_core::model::{LifecycleHandler, Pod, Volume, VolumeMount};
use orchestra_testkit::sim_runtime::{SimProgram, SimStop, SimWhat};

use crate::rig::{Gate, Rig, container, web};

#[tokio::test(start_paused = true)]
async fn no_stop_signal_before_the_balancers_have_let_go() {
    let rig = Rig::new().await;
    let gate = Arc::new(Gate::default());
    let _registration = rig.gates.register(Arc::<Gate>::clone(&gate));
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    rig.delete("web").await;
    let deleted = rig.pod("web").await.metadata.resource_version;
    let pod = rig.wait("web", "not ready", |p| !p.is_ready()).await;
    assert!(!pod.status.container_statuses[0].ready);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(*gate.asked.lock().unwrap(), [(uid.clone(), deleted)]);
    assert_eq!(rig.runtime.live().len(), 1, "still serving what is in flight");
    assert!(!rig.history(&uid).iter().any(|h| h.ends_with("Signal")));
    gate.open.notify_waiters();
    rig.gone("web").await;
    let history = rig.history(&uid);
    assert_eq!(
        history[3..],
        ["web0 Signal", "web0 Exited(143)", "0 SandboxStopped", "web0 Removed", "0 SandboxRemoved"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_never_lets_go_costs_the_drain_timeout() {
    let rig = Rig::new().await;
    let gate = Arc::new(Gate::default());
    let _registration = rig.gates.register(gate);
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    let deleted = rig.client.clock().now();
    rig.delete("web").await;
    rig.gone("web").await;
    let signal = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }))[0];
    assert_eq!(signal.since(deleted).as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_kill_comes_after_the_grace_and_not_before() {
    let rig = Rig::new().await;
    rig.runtime.image("deaf:1", SimProgram::service().on_stop(SimStop::Ignores));
    let mut spec = web().grace_period(7);
    spec.containers[0].image = "deaf:1".into();
    let uid = rig.create("web", spec).await;
    rig.ready("web").await;
    rig.delete("web").await;
    rig.gone("web").await;
    let signal = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }))[0];
    let kill = rig.times(&uid, |r| r.what == SimWhat::Killed)[0];
    assert_eq!(kill.since(signal), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_shortens_the_first() {
    let rig = Rig::new().await;
    rig.runtime.image("deaf:1", SimProgram::service().on_stop(SimStop::Ignores));
    let mut spec = web().grace_period(600);
    spec.containers[0].image = "deaf:1".into();
    let uid = rig.create("web", spec.clone()).await;
    rig.ready("web").await;
    rig.delete("web").await;
    rig.until("the signal", || rig.history(&uid).iter().any(|h| h.ends_with("Signal"))).await;
    let asked = rig.client.clock().now();
    rig.client.delete::<Pod>("web", &DeleteOptions::default().grace_period(4)).await.unwrap();
    rig.gone("web").await;
    let kill = rig.times(&uid, |r| r.what == SimWhat::Killed)[0];
    assert!(kill.since(asked) <= Duration::from_secs(5), "{:?}", kill.since(asked));
    // And one without grace takes it out of the store; the agent sees to the rest.
    let uid = rig.create("web", spec).await;
    rig.ready("web").await;
    rig.client.delete::<Pod>("web", &DeleteOptions::default().grace_period(0)).await.unwrap();
    let forced = rig.client.clock().now();
    rig.until("it is dead", || rig.runtime.sandboxes() == 0).await;
    let kill = rig.times(&uid, |r| r.what == SimWhat::Killed)[0];
    assert!(kill.since(forced) <= Duration::from_secs(2), "{:?}", kill.since(forced));
}

#[tokio::test(start_paused = true)]
async fn the_pre_stop_hook_runs_before_the_signal_and_counts_against_the_grace() {
    let rig = Rig::new().await;
    rig.runtime.image("deaf:1", SimProgram::service().on_stop(SimStop::Ignores));
    let mut main = container("web").pre_stop(LifecycleHandler::sleep(3));
    main.image = "deaf:1".into();
    let uid = rig.create("web", orchestra_core::model::PodSpec::new(main).grace_period(10)).await;
    rig.ready("web").await;
    let deleted = rig.client.clock().now();
    rig.delete("web").await;
    rig.gone("web").await;
    let signal = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }))[0];
    let kill = rig.times(&uid, |r| r.what == SimWhat::Killed)[0];
    assert_eq!(signal.since(deleted).as_secs(), 3);
    assert_eq!(kill.since(deleted).as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_failed_post_start_hook_restarts_the_container() {
    let rig = Rig::new().await;
    let main = container("web").post_start(LifecycleHandler::exec(["false"]));
    let uid = rig.create("web", orchestra_core::model::PodSpec::new(main)).await;
    rig.wait("web", "restarted", |p| {
        p.status.container_statuses.first().is_some_and(|c| c.restart_count > 0)
    })
    .await;
    assert!(!rig.pod("web").await.is_ready());
    assert!(rig.history(&uid).contains(&"web0 Exited(143)".to_owned()));
    assert!(rig.events("web").await.contains(&"FailedPostStartHook".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn files_go_with_the_pod() {
    let rig = Rig::new().await;
    let mount = VolumeMount { name: "tmp".into(), mount_path: "/tmp".into(), ..VolumeMount::default() };
    let spec = orchestra_core::model::PodSpec::new(container("web").volume_mount(mount))
        .volume(Volume::empty_dir("tmp"));
    rig.create("web", spec).await;
    rig.ready("web").await;
    assert_eq!(rig.volumes.pods_with_volumes(), 1);
    rig.delete("web").await;
    rig.gone("web").await;
    assert_eq!(rig.volumes.pods_with_volumes(), 0);
    assert_eq!(rig.runtime.sandboxes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_is_another_pod() {
    let rig = Rig::new().await;
    let first = rig.create("web", web()).await;
    rig.ready("web").await;
    rig.client.delete::<Pod>("web", &DeleteOptions::default().grace_period(0)).await.unwrap();
    let second = rig.create("web", web()).await;
    rig.ready("web").await;
    assert_ne!(first, second);
    rig.until("the first is dead", || rig.runtime.live().iter().all(|c| c.pod == second)).await;
    assert_eq!(rig.runtime.live().len(), 1);
    assert_eq!(rig.pod("web").await.metadata.uid, second);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_the_object_and_nothing_else() {
    let rig = Rig::new().await;
    let mut pod = Pod::new("web").spec(web());
    pod.metadata.finalizers.push("example.com/hold".into());
    rig.create_pod(pod).await;
    rig.ready("web").await;
    rig.delete("web").await;
    rig.until("nothing is left", || rig.runtime.sandboxes() == 0).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let revision = rig.pod("web").await.metadata.resource_version;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.pod("web").await.metadata.resource_version, revision);
    rig.client.modify::<Pod>("web", |p| p.metadata.finalizers.clear()).await.unwrap();
    rig.gone("web").await;
}
