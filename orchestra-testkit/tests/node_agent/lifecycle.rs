//! From bound to running to ended, and again.

use std::time::Duration;

use orchestra_core::model::{Condition, Lease, Node, Pod, PodPhase, RestartPolicy};
use orchestra_core::node::{PreviousRun, restart_delay};
use orchestra_core::runtime::LogOptions;
use orchestra_testkit::sim_runtime::{SimProgram, SimStop, SimWhat};

use crate::rig::{Rig, container, web};

#[tokio::test(start_paused = true)]
async fn the_node_registers_and_keeps_its_lease() {
    let rig = Rig::new().await;
    let node = rig.client.get::<Node>("n1").await.unwrap();
    assert!(node.is_ready());
    assert_eq!(node.metadata.labels.value("kubernetes.io/hostname"), Some("n1"));
    assert_eq!(node.metadata.labels.value("kubernetes.io/os"), Some("linux"));
    assert_eq!(node.status.allocatable["cpu"].milli(), 64_000);
    let leases = rig.client.namespace("kube-node-lease");
    let renewed = |lease: &Lease| lease.spec.renew_time.unwrap();
    let first = leases.wait::<Lease>("n1", |l| l.is_some()).await.unwrap().unwrap();
    assert_eq!(first.spec.lease_duration_seconds, Some(40));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let later = leases.get::<Lease>("n1").await.unwrap();
    assert!(renewed(&later).since(renewed(&first)) > Duration::from_secs(45));
    // Somebody thought it dead.
    let now = rig.client.clock().now();
    rig.client
        .modify_status::<Node>("n1", |n| {
            _ = Condition::new("Ready", false, now).set_in(&mut n.status.conditions)
        })
        .await
        .unwrap();
    rig.client.wait::<Node>("n1", |n| n.is_some_and(Node::is_ready)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_its_status_says_so() {
    let rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    let pod = rig.ready("web").await;
    assert_eq!(pod.status.phase, PodPhase::Running);
    assert!(pod.status.pod_ip.is_some() && pod.status.start_time.is_some());
    for type_ in ["PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"] {
        assert!(pod.condition(type_).is_some_and(Condition::is_true), "{type_}");
    }
    let status = &pod.status.container_statuses[0];
    assert!(status.ready && status.started == Some(true) && status.state.running().is_some());
    assert!(status.container_id.starts_with("sim://"), "{}", status.container_id);
    assert_eq!(rig.history(&uid), ["0 SandboxRun", "web0 Created", "web0 Started"]);
    // Two writes: that it was taken up, at the latest with that it runs.
    let revision = pod.metadata.resource_version;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(rig.pod("web").await.metadata.resource_version, revision, "a quiet pod is not written");
}

#[tokio::test(start_paused = true)]
async fn a_quick_pod_is_written_once() {
    let rig = Rig::new().await;
    rig.create("web", web()).await;
    let created = rig.pod("web").await.metadata.resource_version;
    let mut writes = Vec::new();
    rig.wait("web", "ready", |pod| {
        writes.push(pod.metadata.resource_version);
        pod.is_ready()
    })
    .await;
    writes.retain(|revision| *revision != created);
    assert_eq!(writes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_restart_is_immediate_and_the_rest_back_off() {
    let rig = Rig::new().await;
    rig.runtime.image("crash:1", SimProgram::job(1).lasting(Duration::from_millis(500)));
    let mut spec = web();
    spec.containers[0].image = "crash:1".into();
    let uid = rig.create("web", spec).await;
    rig.wait("web", "restarted six times", |p| {
        p.status.container_statuses.first().is_some_and(|c| c.restart_count >= 6)
    })
    .await;
    let started = rig.times(&uid, |r| r.what == SimWhat::Started);
    let exited = rig.times(&uid, |r| matches!(r.what, SimWhat::Exited { .. }));
    for (restart, (start, exit)) in (1..).zip(started.iter().skip(1).zip(&exited)) {
        let (waited, model) = (start.since(*exit), restart_delay(restart));
        assert!(
            waited >= model && waited <= model + Duration::from_millis(100),
            "restart {restart}: {waited:?}"
        );
    }
    let waiting = |p: &Pod| p.status.container_statuses[0].state.waiting().map(|w| w.reason.clone());
    let pod = rig.wait("web", "in back-off", |p| waiting(p).is_some()).await;
    assert_eq!(waiting(&pod).as_deref(), Some("CrashLoopBackOff"));
    assert!(!pod.is_ready());
    assert_eq!(pod.status.phase, PodPhase::Running);
    let last = pod.status.container_statuses[0].last_state.terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_str()), (1, "Error"));
    // Only the last run and the one before are kept.
    assert_eq!(rig.runtime.records_of(&uid).iter().filter(|r| r.what == SimWhat::Removed).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_long_run_resets_the_back_off() {
    let rig = Rig::new().await;
    let uid = rig.create("web", web()).await;
    rig.ready("web").await;
    for attempt in 1..4 {
        tokio::time::sleep(Duration::from_secs(601)).await;
        let killed = rig.client.clock().now();
        assert!(rig.runtime.kill(&uid, "web"));
        rig.wait("web", "restarted", |p| {
            p.status.container_statuses[0].restart_count == attempt && p.is_ready()
        })
        .await;
        let started = rig.times(&uid, |r| r.what == SimWhat::Started);
        assert!(started.last().unwrap().since(killed) < Duration::from_millis(100));
    }
}

#[tokio::test(start_paused = true)]
async fn restart_policies_and_final_phases() {
    let rig = Rig::new().await;
    rig.runtime.image("good:1", SimProgram::job(0));
    rig.runtime.image("bad:1", SimProgram::job(3));
    for (name, policy, image, phase) in [
        ("a", RestartPolicy::Never, "good:1", PodPhase::Succeeded),
        ("b", RestartPolicy::Never, "bad:1", PodPhase::Failed),
        ("c", RestartPolicy::OnFailure, "good:1", PodPhase::Succeeded),
    ] {
        let mut spec = web().restart_policy(policy);
        spec.containers[0].image = image.into();
        let uid = rig.create(name, spec).await;
        let pod = rig.wait(name, "over", |p| p.is_terminal()).await;
        assert_eq!(pod.status.phase, phase, "{name}");
        assert!(!pod.is_ready());
        rig.until("the sandbox stops", || rig.history(&uid).last().unwrap() == "0 SandboxStopped").await;
        let revision = rig.pod(name).await.metadata.resource_version;
        rig.runtime.reboot();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let later = rig.pod(name).await;
        assert_eq!(later.status.phase, phase, "terminal is final");
        assert!(later.metadata.resource_version.0 <= revision.0 + 1);
        rig.delete(name).await;
        rig.until("nothing is left", || rig.runtime.sandboxes() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_and_sidecars_keep_their_order() {
    let rig = Rig::new().await;
    rig.runtime.image("init:1", SimProgram::job(0).lasting(Duration::from_secs(2)));
    let init = |name: &str| orchestra_core::model::Container::new(name, "init:1");
    let spec = web().init_container(init("a")).sidecar(container("side")).init_container(init("b"));
    let uid = rig.create("web", spec).await;
    let pod = rig.ready("web").await;
    let starts: Vec<String> = rig
        .history(&uid)
        .into_iter()
        .filter(|h| h.ends_with("Started"))
        .map(|h| h[..h.len() - 9].to_owned())
        .collect();
    assert_eq!(starts, ["a", "side", "b", "web"]);
    assert_eq!(pod.status.init_container_statuses.len(), 3);
    assert_eq!(pod.status.init_container_statuses[0].state.terminated().unwrap().reason, "Completed");
    rig.delete("web").await;
    rig.gone("web").await;
    let stops: Vec<String> = rig.history(&uid).into_iter().filter(|h| h.ends_with("Signal")).collect();
    assert_eq!(stops, ["web0 Signal", "side0 Signal"], "the sidecar last");
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_sidecar_ends_when_its_main_container_does() {
    let rig = Rig::new().await;
    rig.runtime.image("job:1", SimProgram::job(0).lasting(Duration::from_secs(3)));
    let mut spec = web().sidecar(container("side")).restart_policy(RestartPolicy::Never);
    spec.containers[0].image = "job:1".into();
    rig.create("job", spec).await;
    let pod = rig.wait("job", "over", Pod::is_terminal).await;
    assert_eq!(pod.status.phase, PodPhase::Succeeded);
    assert!(rig.runtime.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_image_that_does_not_exist_is_told_and_tried_again() {
    let rig = Rig::new().await;
    let mut spec = web();
    spec.containers[0].image = "late:1".into();
    rig.create("web", spec).await;
    let reason = |p: &Pod| {
        p.status.container_statuses.first().and_then(|c| c.state.waiting()).map(|w| w.reason.clone())
    };
    let pod = rig.wait("web", "refused", |p| reason(p).is_some_and(|r| r == "ErrImagePull")).await;
    assert_eq!(pod.status.phase, PodPhase::Pending);
    rig.wait("web", "in back-off", |p| reason(p).is_some_and(|r| r == "ImagePullBackOff")).await;
    assert!(rig.events("web").await.contains(&"Failed".to_owned()));
    rig.runtime.image("late:1", SimProgram::service());
    rig.ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_start_backs_off_like_one_that_crashes() {
    let rig = Rig::new().await;
    rig.runtime.image("no:1", SimProgram::service().that_cannot_start());
    let mut spec = web();
    spec.containers[0].image = "no:1".into();
    rig.create("web", spec.clone()).await;
    let pod = rig.wait("web", "in back-off", |p| {
        p.status
            .container_statuses
            .first()
            .and_then(|c| c.state.waiting())
            .is_some_and(|w| w.reason == "CrashLoopBackOff")
    });
    let pod = pod.await;
    assert_eq!(pod.status.container_statuses[0].last_state.terminated.as_ref().unwrap().reason, "StartError");
    rig.create("never", spec.restart_policy(RestartPolicy::Never)).await;
    assert_eq!(rig.wait("never", "failed", Pod::is_terminal).await.status.phase, PodPhase::Failed);
}

#[tokio::test(start_paused = true)]
async fn the_active_deadline_stops_the_pod() {
    let rig = Rig::new().await;
    let mut spec = web();
    spec.active_deadline_seconds = Some(30);
    let uid = rig.create("web", spec).await;
    let started = rig.ready("web").await.status.start_time.unwrap();
    let pod = rig.wait("web", "failed", Pod::is_terminal).await;
    assert_eq!((pod.status.phase, pod.status.reason.as_str()), (PodPhase::Failed, "DeadlineExceeded"));
    let signal = rig.times(&uid, |r| matches!(r.what, SimWhat::StopSignal { .. }))[0];
    assert!((signal.since(started).as_secs_f64() - 30.0).abs() < 0.5);
}

#[tokio::test(start_paused = true)]
async fn logs_exec_stats_and_addresses_are_answered() {
    let rig = Rig::new().await;
    rig.runtime.image("talk:1", SimProgram::service().writing("hello").using(250, 1 << 20));
    let mut spec = web();
    spec.containers[0].image = "talk:1".into();
    let uid = rig.create("web", spec).await;
    let ip = rig.ready("web").await.status.pod_ip.unwrap();
    let agent = rig.agent.as_ref().unwrap();
    let mut log = agent.logs(&uid, "web", &LogOptions::default(), PreviousRun::No).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().bytes, "hello\n");
    assert!(agent.logs(&uid, "web", &LogOptions::default(), PreviousRun::Yes).await.is_err());
    assert!(agent.logs(&uid, "other", &LogOptions::default(), PreviousRun::No).await.is_err());
    assert_eq!(agent.address(&uid, 80).await.unwrap().ip(), ip);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let stats = agent.stats().await.unwrap();
    assert_eq!(stats[0].pod.metadata.name, "web");
    assert!(stats[0].containers[0].cpu_nanos >= 1_000_000_000);
    let exec = orchestra_core::runtime::ExecOptions { command: vec!["true".into()], ..Default::default() };
    assert_eq!(agent.exec(&uid, "web", &exec).await.unwrap().exit.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_with_pods_leaves_nothing() {
    let mut rig = Rig::new().await;
    for name in ["a", "b", "c"] {
        rig.create(name, web()).await;
        rig.ready(name).await;
    }
    rig.agent.take().unwrap().shutdown(true).await;
    assert!(rig.runtime.live().is_empty());
    assert_eq!(rig.runtime.sandboxes(), 0);
    let signals =
        rig.runtime.records().iter().filter(|r| matches!(r.what, SimWhat::StopSignal { .. })).count();
    assert_eq!(signals, 3, "each had its signal");
    assert!(!rig.pod("a").await.is_ready());
    // The pods are still wanted: the next agent runs them again.
    rig.start_agent().await;
    assert_eq!(rig.ready("a").await.status.container_statuses[0].restart_count, 1);
}

#[tokio::test(start_paused = true)]
async fn what_ends_well_because_its_agent_stops_it_has_not_succeeded() {
    for policy in [RestartPolicy::Never, RestartPolicy::OnFailure] {
        let mut rig = Rig::new().await;
        let lasting = |seconds| SimProgram::job(0).lasting(Duration::from_secs(seconds));
        // Told to end, it takes its time, and ends with code 0.
        rig.runtime.image("work:1", lasting(10).on_stop(SimStop::Ignores));
        rig.runtime.image("done:1", lasting(1));
        for name in ["work", "done"] {
            let mut spec = web().restart_policy(policy);
            spec.containers[0].image = format!("{name}:1");
            rig.create(name, spec).await;
            rig.ready(name).await;
        }
        rig.wait("done", "over", Pod::is_terminal).await;
        rig.agent.take().unwrap().shutdown(true).await;
        for _ in 0..2 {
            let (work, done) = (rig.pod("work").await, rig.pod("done").await);
            assert_eq!((work.status.phase, done.status.phase), (PodPhase::Failed, PodPhase::Succeeded));
            assert_eq!((work.status.reason.as_str(), done.status.reason.as_str()), ("Terminated", ""));
            if rig.agent.is_none() {
                rig.start_agent().await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}
