//! What probes lead to.

use std::time::Duration;

use orchestra_core::model::{Pod, PodSpec, Probe};
use orchestra_testkit::sim_runtime::{SimProgram, SimWhat};

use crate::rig::{Rig, container, web};

fn probed(
    image: &str,
    probe: impl FnOnce(orchestra_core::model::Container) -> orchestra_core::model::Container,
) -> PodSpec {
    let mut main = probe(container("web"));
    main.image = image.into();
    PodSpec::new(main)
}

#[tokio::test(start_paused = true)]
async fn readiness_is_seen_soon_and_lost_after_its_threshold() {
    let rig = Rig::new().await;
    rig.runtime.image("slow:1", SimProgram::service().ready_after(Duration::from_millis(130)));
    let uid = rig
        .create("web", probed("slow:1", |c| c.readiness(Probe::http("/ready", 80).period(5).failures(2))))
        .await;
    let created = rig.client.clock().now();
    let pod = rig.ready("web").await;
    let took = pod.ready_since().unwrap().since(created);
    assert!(took <= Duration::from_millis(300), "a period is five seconds, this took {took:?}");
    assert!(rig.runtime.set_unhealthy(&uid, "web", true));
    let sick = rig.client.clock().now();
    let pod = rig.wait("web", "not ready", |p| !p.is_ready()).await;
    let took = pod.condition("Ready").unwrap().last_transition_time.unwrap().since(sick);
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(11), "{took:?}");
    assert_eq!(pod.status.container_statuses[0].restart_count, 0, "readiness restarts nothing");
    rig.runtime.set_unhealthy(&uid, "web", false);
    rig.ready("web").await;
    assert!(rig.events("web").await.contains(&"Unhealthy".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn liveness_restarts() {
    let rig = Rig::new().await;
    let uid = rig
        .create("web", probed("web:1", |c| c.liveness(Probe::exec(["check"]).period(2).failures(3))))
        .await;
    rig.ready("web").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    rig.runtime.set_unhealthy(&uid, "web", true);
    let sick = rig.client.clock().now();
    rig.wait("web", "restarted", |p| p.status.container_statuses[0].restart_count == 1 && p.is_ready()).await;
    let signal = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }))[0].since(sick);
    assert!(signal > Duration::from_secs(3) && signal < Duration::from_secs(7), "{signal:?}");
}

#[tokio::test(start_paused = true)]
async fn a_startup_probe_holds_the_others_back() {
    let rig = Rig::new().await;
    rig.runtime.image("slow:1", SimProgram::service().ready_after(Duration::from_secs(20)));
    let spec = |failures| {
        probed("slow:1", |c| {
            c.startup(Probe::tcp(80).period(2).failures(failures))
                .liveness(Probe::tcp(80).period(1).failures(1))
        })
    };
    rig.create("web", spec(30)).await;
    let pod = rig.ready("web").await;
    assert_eq!(pod.status.container_statuses[0].restart_count, 0);
    assert_eq!(pod.status.container_statuses[0].started, Some(true));
    let uid = rig.create("short", spec(3)).await;
    rig.wait("short", "restarted", |p| {
        p.status.container_statuses.first().is_some_and(|c| c.restart_count == 1)
    })
    .await;
    let started = rig.times(&uid, |r| r.what == SimWhat::Started)[0];
    let signal = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }))[0];
    assert!(signal.since(started) >= Duration::from_secs(5), "three periods: {:?}", signal.since(started));
}

#[tokio::test(start_paused = true)]
async fn no_probe_restarts_a_pod_that_is_deleted() {
    let rig = Rig::new().await;
    let gate = std::sync::Arc::new(crate::rig::Gate::default());
    let _registration = rig.gates.register(gate);
    let uid = rig.create("web", probed("web:1", |c| c.liveness(Probe::tcp(80).period(1).failures(1)))).await;
    rig.ready("web").await;
    rig.delete("web").await;
    rig.runtime.set_unhealthy(&uid, "web", true);
    rig.gone("web").await;
    assert_eq!(rig.times(&uid, |r| r.what == SimWhat::Started).len(), 1);
    let signals = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }));
    assert_eq!(signals.len(), 1, "stopped once, by the deletion");
}

#[tokio::test(start_paused = true)]
async fn readiness_gates_of_others_count() {
    let rig = Rig::new().await;
    let mut spec = web();
    spec.readiness_gates.push(orchestra_core::model::PodReadinessGate {
        condition_type: "example.com/warm".into(),
        ..Default::default()
    });
    rig.create("web", spec).await;
    let pod =
        rig.wait("web", "running", |p| p.condition("ContainersReady").is_some_and(|c| c.is_true())).await;
    assert_eq!(pod.condition("Ready").unwrap().reason, "ReadinessGatesNotReady");
    let now = rig.client.clock().now();
    rig.client
        .modify_status::<Pod>("web", |p| {
            _ = p.set_condition(orchestra_core::model::Condition::new("example.com/warm", true, now))
        })
        .await
        .unwrap();
    rig.ready("web").await;
}
