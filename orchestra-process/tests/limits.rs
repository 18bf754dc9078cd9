//! Limits, where this process may make control groups; a visible skip elsewhere.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with helpers")]

mod common;

use std::path::{Path, PathBuf};

use common::{GRACE, Host, ended, follow, line, lives, run, sh};
use orchestra_core::runtime::{ContainerLimits, ContainerState, Runtime};

/// The groups of our runtimes, wherever they are mounted.
fn groups(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink())
    {
        if path.file_name().is_some_and(|name| name == "orchestra") {
            found.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.is_dir()),
            );
        } else if depth > 0 {
            groups(&path, depth - 1, found);
        }
    }
}

fn ours(host: &Host) -> Vec<PathBuf> {
    let opened = std::fs::read_to_string(host.journal()).unwrap();
    let instance = opened.split("\"instance\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut found = Vec::new();
    groups(Path::new("/sys/fs/cgroup"), 5, &mut found);
    found.retain(|path| path.file_name().is_some_and(|name| *name == *instance));
    found
}

#[tokio::test]
async fn limits_are_enforced_and_no_group_is_left() {
    let host = Host::new();
    let runtime = host.open();
    let mut spec = sh("main", "echo $$; exec sleep 1000");
    spec.limits = ContainerLimits { memory: Some(16 << 20), pids: Some(20), ..ContainerLimits::default() };
    let (sandbox, _) = run(&runtime, &spec).await;
    let groups = ours(&host);
    if groups.is_empty() {
        println!("SKIPPED: no control groups can be made here");
        return;
    }
    let stats = runtime.stats().await.unwrap();
    assert!(stats[0].memory < 16 << 20 && stats[0].pids == 1, "{stats:?}");
    runtime.remove_sandbox(&sandbox).await.unwrap();

    // Too much memory.
    let mut hog = spec.clone();
    hog.args[1] = "exec tail /dev/zero".to_owned();
    let (sandbox, container) = run(&runtime, &hog).await;
    let state = ended(&runtime, &sandbox, &container).await;
    assert!(matches!(state, ContainerState::Exited { oom_killed: true, exit_code: 137, .. }), "{state:?}");
    runtime.remove_sandbox(&sandbox).await.unwrap();

    // Too many processes.
    let mut forks = spec.clone();
    forks.args[1] = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo all".to_owned();
    let (sandbox, container) = run(&runtime, &forks).await;
    let state = ended(&runtime, &sandbox, &container).await;
    assert!(matches!(state, ContainerState::Exited { exit_code, .. } if exit_code != 0), "{state:?}");
    runtime.remove_sandbox(&sandbox).await.unwrap();

    // A daemon without any trace of us, but its group.
    let mut daemon = spec.clone();
    daemon.args[1] =
        "env -i setsid sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!' & wait; exec sleep 1000".to_owned();
    let (sandbox, container) = run(&runtime, &daemon).await;
    let pid = line(&mut follow(&runtime, &container).await).await.unwrap();
    assert!(lives(&pid));
    runtime.stop_container(&container, GRACE).await.unwrap();
    assert!(!lives(&pid), "a daemon has outlived its container");
    runtime.remove_sandbox(&sandbox).await.unwrap();
    drop(runtime);
    assert!(ours(&host).is_empty(), "groups are left: {:?}", ours(&host));
}
