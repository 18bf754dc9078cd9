//! Containers, sandboxes and the daemon die at random: then all converges, and nothing is left over.
//!
//! Five minutes of it:
//!
//!     ORCHESTRA_CHAOS_SECONDS=300 cargo test --features docker --test docker chaos -- --nocapture
//!
//! A failure says the seed; `ORCHESTRA_CHAOS_SEED` begins with it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use orchestra::prelude::*;
use orchestra::rng::Rng;

use crate::daemon::{Daemon, two_pods};
use crate::host::{Host, LIMIT, eventually, eventually_within, pods, settled_within};

/// How many pods there are.
const REPLICAS: u32 = 4;

/// How long it goes on where nobody says.
const SECONDS: u64 = 12;

/// One roll of each kind of harm: each is done once before chance takes over, also on a machine that is slow.
const KINDS: [u64; 7] = [0, 4, 6, 8, 10, 14, 15];

/// What died often waits: up to five minutes after the tenth time.
const CONVERGES: Duration = Duration::from_secs(420);

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => otherwise,
    }
}

/// One thing that goes wrong, by a roll of 0 to 15. Says what.
async fn harm(host: &Host, cluster: &Cluster, daemon: &mut Daemon, rng: &Rng, roll: u64) -> &'static str {
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
    match roll {
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

/// The processes in the control groups of the containers with these ids: by number, and what is known of each. An engine that
/// is killed while it starts or ends a container leaves an empty group for good, which nobody can ask it to remove.
pub(crate) fn in_cgroups(ids: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut left = BTreeMap::new();
    let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for root in roots.map(|entry| entry.path()).chain([Path::new("/sys/fs/cgroup").to_owned()]) {
        for id in ids {
            let dir = root.join("docker").join(id);
            let pids = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            left.extend(pids.lines().map(|pid| (pid.to_owned(), format!("{id}: {}", about(pid)))));
        }
    }
    left
}

/// What a process is, for whoever looks for the reason why it is there.
fn about(pid: &str) -> String {
    let read = |pid: &str, file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default().replace('\0', " ")
    };
    let status = read(pid, "status");
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
    let parent = line("PPid:");
    format!(
        "{pid} {:?} {}, waits in {}, cgroups {:?}, child of {parent} {:?}",
        read(pid, "cmdline"),
        line("State:"),
        read(pid, "wchan"),
        read(pid, "cgroup"),
        read(parent, "cmdline")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_chaos_all_converges_and_nothing_is_left() {
    let Some((host, cluster, mut daemon)) = two_pods("chaos", 3, false).await else { return };
    let seed = number("ORCHESTRA_CHAOS_SEED", u64::from(std::process::id()));
    let span = Duration::from_secs(number("ORCHESTRA_CHAOS_SECONDS", SECONDS));
    eprintln!("ORCHESTRA_CHAOS_SEED={seed} ORCHESTRA_CHAOS_SECONDS={}", span.as_secs());
    let rng = Rng::seeded(seed);
    cluster.apply_yaml(&host.web(REPLICAS)).await.unwrap();
    settled_within(&cluster, REPLICAS, CONVERGES).await;

    let (mut harms, mut ids) = (BTreeMap::new(), BTreeSet::new());
    let mut due = KINDS.to_vec();
    let end = tokio::time::Instant::now() + span;
    while !due.is_empty() || tokio::time::Instant::now() < end {
        let roll = match due.len() as u64 {
            0 => rng.below(16),
            kinds => due.swap_remove(usize::try_from(rng.below(kinds)).unwrap()),
        };
        *harms.entry(harm(&host, &cluster, &mut daemon, &rng, roll).await).or_insert(0_u32) += 1;
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
    // A helper, which does something for a pod that ends, may still be at it.
    eventually("all containers belong to pods", || {
        let of_pod = |name: &String| pods.iter().any(|pod| name.contains(&format!(".{}.", pod.metadata.uid)));
        host.containers().iter().all(of_pod).then_some(())
    })
    .await;
    ids.extend(host.ids());

    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    eventually("no container is left", || host.containers().is_empty().then_some(())).await;
    let begin = tokio::time::Instant::now();
    while let Some(about) = in_cgroups(&ids).into_values().next() {
        assert!(begin.elapsed() < LIMIT, "a process is left: {about}\n{}", daemon.told(&about[..64]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Also of containers that came and went between two looks at the ids.
    eventually("no shim is left", || (daemon.shims() == 0).then_some(())).await;
    for what in ["network", "volume"] {
        let left = host.docker(&[what, "ls", "--quiet", "--filter", "label=dev.orchestra.cluster"]);
        assert_eq!(left, "", "{what}s");
    }
    let messages = host.dir.join("state");
    let left = walk(&messages);
    assert!(left.is_empty(), "termination messages: {left:?}");
    let volumes = host.dir.join("volumes");
    let left = walk(&volumes);
    // The lock is the node's, which runs.
    assert_eq!(left, [volumes.join("lock").display().to_string()], "volumes");
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
