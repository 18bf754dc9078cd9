//! Containers, sandboxes and the daemon die at random: then all converges, and nothing is left over.
//!
//! Five minutes of it:
//!
//!     ORCHESTRA_CHAOS_SECONDS=300 cargo test --features docker --test docker chaos -- --ignored --nocapture
//!
//! A failure says the seed; `ORCHESTRA_CHAOS_SEED` begins with it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use orchestra::prelude::*;
use orchestra::rng::Rng;

use crate::daemon::{Daemon, two_pods};
use crate::host::{Host, eventually, eventually_within, pods, settled_within};

/// How many pods there are.
const REPLICAS: u32 = 4;

/// How long it goes on where nobody says.
const SECONDS: u64 = 12;

/// What died often waits: up to five minutes after the tenth time.
const CONVERGES: Duration = Duration::from_secs(420);

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => otherwise,
    }
}

/// One thing that goes wrong. Says what.
async fn harm(host: &Host, cluster: &Cluster, daemon: &mut Daemon, rng: &Rng) -> &'static str {
    let names: Vec<String> = host.try_running().into_iter().flatten().collect();
    let pick = |part: &dyn Fn(&String) -> bool| {
        let of = names.iter().filter(|name| part(name)).collect::<Vec<_>>();
        (!of.is_empty()).then(|| of[usize::try_from(rng.below(of.len() as u64)).unwrap()].clone())
    };
    let is_container = |name: &String| name.contains(".web.");
    // What is harmed may be going already: then the engine says so.
    let on = |name: Option<String>, words: &[&str]| {
        if let Some(name) = name {
            let _gone = host.try_docker(&[words, &[&name]].concat());
        }
    };
    match rng.below(16) {
        0..=3 => {
            on(pick(&is_container), &["kill"]);
            "a container is killed"
        }
        4..=5 => {
            on(pick(&|name| !is_container(name)), &["kill"]);
            "a sandbox is killed"
        }
        6..=7 => {
            on(pick(&is_container), &["rm", "--force"]);
            "a container is removed"
        }
        8..=9 => {
            on(pick(&|name| !is_container(name)), &["rm", "--force"]);
            "a sandbox is removed"
        }
        10..=13 => {
            let pods = pods(cluster).await;
            if let Some(pod) = pods.get(usize::try_from(rng.below(u64::from(REPLICAS))).unwrap()) {
                // It may be going already.
                let _gone = cluster.delete::<Pod>(&pod.metadata.name, &DeleteOptions::default()).await;
            }
            "a pod is deleted"
        }
        kind => {
            daemon.end(if kind == 14 { "-TERM" } else { "-KILL" });
            daemon.start().await.unwrap();
            "the daemon is restarted"
        }
    }
}

/// The control groups of the containers with these ids that still have processes. An engine that is killed while it starts
/// or ends a container leaves an empty one for good, which nobody can ask it to remove.
fn cgroups(ids: &BTreeSet<String>) -> Vec<String> {
    let mut left = Vec::new();
    let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for root in roots.map(|entry| entry.path()).chain([Path::new("/sys/fs/cgroup").to_owned()]) {
        for id in ids {
            let processes = root.join("docker").join(id).join("cgroup.procs");
            let some = std::fs::read_to_string(&processes).is_ok_and(|pids| !pids.is_empty());
            left.extend(some.then(|| processes.display().to_string()));
        }
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and in some rounds something is left: see the Known part of the changelog"]
async fn after_chaos_all_converges_and_nothing_is_left() {
    let Some((host, cluster, mut daemon)) = two_pods("chaos", 3, false).await else { return };
    let seed = number("ORCHESTRA_CHAOS_SEED", u64::from(std::process::id()));
    let span = Duration::from_secs(number("ORCHESTRA_CHAOS_SECONDS", SECONDS));
    eprintln!("ORCHESTRA_CHAOS_SEED={seed} ORCHESTRA_CHAOS_SECONDS={}", span.as_secs());
    let rng = Rng::seeded(seed);
    cluster.apply_yaml(&host.web(REPLICAS)).await.unwrap();
    settled_within(&cluster, REPLICAS, CONVERGES).await;

    let (mut harms, mut ids) = (BTreeMap::new(), BTreeSet::new());
    let end = tokio::time::Instant::now() + span;
    while tokio::time::Instant::now() < end {
        *harms.entry(harm(&host, &cluster, &mut daemon, &rng).await).or_insert(0_u32) += 1;
        ids.extend(host.ids());
        // The time between two harms is part of what is tried.
        tokio::time::sleep(Duration::from_millis(rng.below(800))).await;
    }
    eprintln!("{harms:?}");

    let healed = tokio::time::Instant::now();
    // Each pod has one sandbox and one container that run; there is nothing beside them but ended runs.
    eventually_within("each pod runs once", CONVERGES, || {
        let running = host.try_running()?;
        (running.len() == 2 * REPLICAS as usize).then_some(())
    })
    .await;
    settled_within(&cluster, REPLICAS, CONVERGES).await;
    eprintln!("converged after {:.1} s", healed.elapsed().as_secs_f64());
    let pods = pods(&cluster).await;
    assert_eq!(pods.len(), REPLICAS as usize);
    for pod in &pods {
        let uid = format!(".{}.", pod.metadata.uid);
        let of_pod: Vec<_> = host.running().into_iter().filter(|name| name.contains(&uid)).collect();
        assert_eq!(of_pod.len(), 2, "{}: {of_pod:?}", pod.metadata.name);
    }
    for name in host.containers() {
        let owner = pods.iter().find(|pod| name.contains(&format!(".{}.", pod.metadata.uid)));
        assert!(owner.is_some(), "{name} belongs to no pod");
    }
    ids.extend(host.ids());

    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    eventually("no container is left", || host.containers().is_empty().then_some(())).await;
    eventually("no process is left in a control group", || cgroups(&ids).is_empty().then_some(())).await;
    for what in ["network", "volume"] {
        let left = host.docker(&[what, "ls", "--quiet", "--filter", "label=dev.orchestra.cluster"]);
        assert_eq!(left, "", "{what}s");
    }
    let messages = host.dir.join("state");
    let left = walk(&messages);
    assert!(left.is_empty(), "termination messages: {left:?}");
    let left = walk(&host.dir.join("volumes"));
    assert!(left.is_empty(), "volumes: {left:?}");
    cluster.stop().await;
}

/// The files below a directory.
fn walk(dir: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}
