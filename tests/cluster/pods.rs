//! Looking into pods: logs, programs in containers, usage, and why that is not possible.

use std::time::Duration;

use orchestra::ClusterError;
use orchestra::model::{PodSpec, Timestamp, Volume};
use orchestra::prelude::*;
use orchestra::runtime::LogStream;

use crate::common::{Dir, LIMIT, until};
use crate::node;

fn sh(name: &str, script: &str) -> Container {
    Container::new(name, "sh:1").args(["-c", script])
}

/// A pod of one container that says three lines and stays, and one that says which run it is and fails the first time.
fn pair() -> Pod {
    let talker = sh("talker", "echo one; echo two >&2; echo three; exec sleep 1000");
    let twice = "if [ -e \"$CONTAINER_ROOT/shared/run\" ]; then echo second; exec sleep 1000; fi; \
        echo first; : > \"$CONTAINER_ROOT/shared/run\"; exit 1";
    let spec = PodSpec::new(talker).with_container(sh("failing", twice).mount("shared", "/shared"));
    Pod::new("pair").spec(spec.volume(Volume::empty_dir("shared")).grace_period(1))
}

async fn lines(mut log: LogStream, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let next = tokio::time::timeout(LIMIT, log.next()).await.expect("the log goes on");
        let Some(chunk) = next else { break };
        lines.push(chunk.unwrap().text().trim_end().to_owned());
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_whole_in_part_as_they_come_and_of_the_run_before() {
    let dir = Dir::new("pod-logs");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster.create(pair()).await.unwrap();
    until::<Pod>(&cluster, "pair", |pod| {
        pod.is_some_and(|p| p.is_ready() && p.status.container_statuses.iter().any(|c| c.restart_count == 1))
    })
    .await;
    let talker = cluster.pod("pair").container("talker");
    let followed = talker.logs(&LogOptions::default().follow()).await.unwrap();
    let mut all = lines(followed, 3).await;
    all.sort_unstable();
    assert_eq!(all, ["one", "three", "two"], "the two outputs are read side by side");
    assert_eq!(lines(talker.logs(&LogOptions::default().tail(1)).await.unwrap(), 9).await.len(), 1);
    let mut log = talker.logs(&LogOptions::default()).await.unwrap();
    let written = log.next().await.unwrap().unwrap().at;
    assert!(written > Timestamp::EPOCH);
    let later = LogOptions::default().since(written + Duration::from_secs(3600));
    assert!(lines(talker.logs(&later).await.unwrap(), 9).await.is_empty());

    let failing = cluster.pod("pair").namespace("default").container("failing");
    let options = LogOptions::default();
    assert_eq!(lines(failing.logs(&options.clone().follow()).await.unwrap(), 1).await, ["second"]);
    assert_eq!(lines(failing.previous_logs(&options).await.unwrap(), 9).await, ["first"]);
    let error = talker.previous_logs(&options).await.unwrap_err();
    assert_eq!(error.to_string(), "Pod default/pair: failed to read the log");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("has no earlier run"), "{cause}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_run_in_pods_with_input_and_pods_are_measured() {
    let dir = Dir::new("pod-exec");
    let nodes = Cluster::builder().node(node(&dir.0, "one")).node(node(&dir.0, "two"));
    let cluster = nodes.start().await.unwrap();
    for (name, node) in [("a", "one"), ("b", "two")] {
        cluster.create(Pod::new(name).container(sh("main", "exec sleep 1000")).node(node)).await.unwrap();
        until::<Pod>(&cluster, name, |pod| pod.is_some_and(Pod::is_ready)).await;
    }
    let fails = ExecOptions::new(["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    let output = cluster.pod("a").exec(&fails).await.unwrap().wait_with_output().await.unwrap();
    assert_eq!((output.exit_code, output.truncated), (7, false));
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let session = cluster.pod("b").exec(&ExecOptions::new(["/bin/cat"]).stdin()).await.unwrap();
    session.stdin.as_ref().unwrap().send("said\n".into()).await.unwrap();
    let output = session.wait_with_output().await.unwrap();
    assert_eq!((output.exit_code, &output.stdout[..]), (0, &b"said\n"[..]));

    let all = cluster.stats().await.unwrap();
    let names: Vec<_> = all.iter().map(|stats| stats.pod.metadata.name.as_str()).collect();
    assert_eq!(names, ["a", "b"], "of both nodes");
    let one = cluster.pod("a").stats().await.unwrap();
    assert_eq!((one.containers.len(), &*one.containers[0].name), (1, "main"));
    assert!(one.containers[0].pids >= 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attaches_hears_the_program_and_a_port_is_connected_to() {
    let dir = Dir::new("pod-attach");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster.create(Pod::new("a").container(sh("main", "while sleep 0.1; do echo tick; done"))).await.unwrap();
    until::<Pod>(&cluster, "a", |pod| pod.is_some_and(Pod::is_ready)).await;
    let pod = cluster.pod("a");
    let session = pod.attach(false).await.unwrap();
    assert!(session.stdin.is_none() && session.resize.is_none());
    assert_eq!(lines(session.output, 2).await, ["tick", "tick"]);
    let cause = |error: ClusterError| std::error::Error::source(&error).unwrap().to_string();
    for (error, why) in [
        (pod.attach(true).await.unwrap_err(), "use exec"),
        (pod.copy_from("/etc/hosts").await.unwrap_err(), "by exec"),
        (pod.copy_to("/tmp", Vec::new().into()).await.unwrap_err(), "by exec"),
    ] {
        let cause = cause(error);
        assert!(cause.ends_with(why), "{cause}");
    }

    // This host answers for the pod, whose address is one of its own.
    let at = cluster.get::<Pod>("a").await.unwrap().status.pod_ip.unwrap();
    let listener = tokio::net::TcpListener::bind((at, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (near, (far, _)) = tokio::join!(pod.connect(port), async { listener.accept().await.unwrap() });
    assert_eq!(near.unwrap().local_addr().unwrap(), far.peer_addr().unwrap());
    drop(listener);
    let error = pod.connect(port).await.unwrap_err();
    assert!(matches!(error, ClusterError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_is_told_of_with_the_reason() {
    let dir = Dir::new("pod-errors");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let log = |name: &'static str| {
        let pod = cluster.pod(name);
        async move { pod.logs(&LogOptions::default()).await.unwrap_err().to_string() }
    };
    assert_eq!(log("none").await, "Pod default/none does not exist");

    cluster.create(Pod::new("big").container(sh("main", "true").request("cpu", "999"))).await.unwrap();
    let explained =
        |pod: &Pod| pod.condition("PodScheduled").is_some_and(|c| c.message.starts_with("0/1 nodes"));
    until::<Pod>(&cluster, "big", |pod| pod.is_some_and(explained)).await;
    let error = log("big").await;
    assert!(error.starts_with("Pod default/big is on no node yet: 0/1 nodes"), "{error}");

    cluster.create(pair()).await.unwrap();
    until::<Pod>(&cluster, "pair", |pod| pod.is_some_and(|p| p.node_name.is_some())).await;
    let several =
        "Pod default/pair has several containers, of which one has to be named; it has talker, failing";
    assert_eq!(log("pair").await, several);
    let error = cluster.pod("pair").container("x").exec(&ExecOptions::new(["true"])).await.unwrap_err();
    assert_eq!(error.to_string(), "Pod default/pair has no container x; it has talker, failing");
    let default = |pod: &mut Pod| {
        let annotation = ("kubectl.kubernetes.io/default-container".to_owned(), "talker".to_owned());
        pod.metadata.annotations.insert(annotation.0, annotation.1);
    };
    cluster.modify::<Pod>("pair", default).await.unwrap();
    until::<Pod>(&cluster, "pair", |pod| pod.is_some_and(Pod::is_ready)).await;
    let first = lines(cluster.pod("pair").logs(&LogOptions::default().follow()).await.unwrap(), 1).await;
    assert_eq!(first.len(), 1, "kubectl's annotation chooses");

    cluster.create(Pod::new("far").container(sh("main", "true")).node("elsewhere")).await.unwrap();
    assert_eq!(log("far").await, "Pod default/far is on node elsewhere, which this process does not run");
    cluster.crash_node("node").await.unwrap();
    assert_eq!(log("pair").await, "Pod default/pair is on node node, which was lost and has not come back");
    let error = cluster.pod("pair").stats().await.unwrap_err();
    assert!(matches!(error, ClusterError::NodeElsewhere { .. }), "{error}");
    cluster.stop().await;
}
