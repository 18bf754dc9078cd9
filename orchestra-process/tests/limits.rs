//! Limits, where this process may make control groups; a visible skip elsewhere.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with helpers")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{GRACE, Host, cgroups, ended, follow, line, lives, run, sandbox_spec, sh, until};
use orchestra_core::runtime::{
    ContainerLimits, ContainerSpec, ContainerState, ExecOptions, Feature, Runtime,
};
use orchestra_process::ProcessImage;

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
    let instance = host.instance();
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

#[tokio::test]
async fn a_program_is_in_its_group_before_it_runs() {
    let host = Host::new();
    let runtime = host.builder().image("cat", ProcessImage::new("/bin/cat")).build().unwrap();
    let user = rustix::process::geteuid().is_root().then_some((65534, None));
    for run_as in [None, user] {
        let starts = (0..20).map(|_| async {
            let mut spec = ContainerSpec::new("main", "cat");
            spec.args = vec!["/proc/self/cgroup".to_owned()];
            spec.limits = ContainerLimits { pids: Some(20), ..ContainerLimits::default() };
            spec.run_as = run_as;
            run(&runtime, &spec).await
        });
        for (sandbox, container) in futures_util::future::join_all(starts).await {
            let (mut log, mut all) = (follow(&runtime, &container).await, String::new());
            while let Some(text) = line(&mut log).await {
                all = all + &text + "\n";
            }
            let groups_can_be_made = !ours(&host).is_empty();
            assert_eq!(all.contains(&*container.0), groups_can_be_made, "{run_as:?}: {all}");
            runtime.remove_sandbox(&sandbox).await.unwrap();
        }
    }
    assert!(cgroups(&host).is_empty(), "left: {:?}", cgroups(&host));
}

#[tokio::test]
async fn what_exec_runs_is_within_the_limits_of_its_container() {
    let host = Host::new();
    let runtime = host.open();
    let user = rustix::process::geteuid().is_root().then_some((65534, None));
    for (run_as, tty) in [(None, false), (None, true), (user, false)] {
        let mut spec = sh("main", "exec sleep 1000");
        spec.limits = ContainerLimits { pids: Some(20), ..ContainerLimits::default() };
        spec.run_as = run_as;
        let (sandbox, container) = run(&runtime, &spec).await;
        let mut options = ExecOptions::new(["cat", "/proc/self/cgroup"]);
        options.tty = tty;
        let session = runtime.exec(&container, &options).await.unwrap();
        let output = session.wait_with_output().await.unwrap().stdout;
        let all = String::from_utf8_lossy(&output);
        assert_eq!(all.contains(&*container.0), !ours(&host).is_empty(), "{run_as:?} {tty}: {all}");
        runtime.remove_sandbox(&sandbox).await.unwrap();
    }
    assert!(cgroups(&host).is_empty(), "left: {:?}", cgroups(&host));
}

#[tokio::test]
async fn a_program_is_in_its_further_groups() {
    let host = Host::new();
    let runtime = host.builder().image("cat", ProcessImage::new("/bin/cat")).build().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let ignores = runtime.info().await.unwrap().ignores;
    assert_eq!(ignores.contains(&Feature::SupplementalGroups), !is_root);
    let users: &[_] = if is_root { &[None, Some((65534, None)), Some((65534, Some(7)))] } else { &[None] };
    for run_as in users {
        let mut spec = ContainerSpec::new("main", "cat");
        spec.args = vec!["/proc/self/status".to_owned()];
        spec.run_as = *run_as;
        spec.supplemental_groups = vec![4242, 4343];
        let (sandbox, container) = run(&runtime, &spec).await;
        let (mut log, mut all) = (follow(&runtime, &container).await, String::new());
        while let Some(text) = line(&mut log).await {
            all = all + &text + "\n";
        }
        let of = |field: &str| {
            let line = all.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.split_whitespace().map(|number| number.parse().unwrap()).collect::<Vec<u32>>()
        };
        if is_root {
            assert_eq!(of("Groups:"), [4242, 4343], "{run_as:?}");
            let (user, group) = run_as.map_or((0, 0), |(user, group)| (user, group.unwrap_or(user)));
            assert_eq!((of("Uid:"), of("Gid:")), (vec![user; 4], vec![group; 4]), "{run_as:?}");
        } else {
            assert!(!of("Groups:").contains(&4242));
        }
        runtime.remove_sandbox(&sandbox).await.unwrap();
    }
}

#[tokio::test]
async fn all_that_is_in_a_group_is_dead_when_its_container_is_stopped() {
    let host = Host::new();
    let runtime = host.open();
    let mut spec = sh("main", "");
    // Without our marker, outside of the process group: only the control group holds them.
    let flee = "i=0; while [ $i -lt 30 ]; do env -i setsid sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done";
    spec.args[1] = format!("{flee}; echo started; exec sleep 1000");
    spec.limits = ContainerLimits { pids: Some(60), ..ContainerLimits::default() };
    for _ in 0..5 {
        let (sandbox, container) = run(&runtime, &spec).await;
        let Some(group) = cgroups(&host).into_iter().next() else {
            println!("SKIPPED: no control groups can be made here");
            runtime.remove_sandbox(&sandbox).await.unwrap();
            return;
        };
        line(&mut follow(&runtime, &container).await).await.unwrap();
        let members = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        until("all are there", || members().lines().count() == 31).await;
        let pids = members();
        runtime.stop_container(&container, Duration::ZERO).await.unwrap();
        let left: Vec<_> = pids.lines().filter(|pid| lives(pid)).collect();
        assert!(left.is_empty(), "outlived their container: {left:?}");
        assert!(cgroups(&host).is_empty(), "left: {:?}", cgroups(&host));
        runtime.remove_sandbox(&sandbox).await.unwrap();
    }
}

#[tokio::test]
async fn a_limit_that_the_kernel_refuses_leaves_no_group() {
    let host = Host::new();
    let runtime = host.open();
    let sandbox = runtime.run_sandbox(&sandbox_spec("pod")).await.unwrap().id;
    let mut spec = sh("main", "exit 0");
    spec.limits = ContainerLimits { pids: Some(u64::MAX), ..ContainerLimits::default() };
    let container = runtime.create_container(&sandbox, &spec).await.unwrap();
    let started = runtime.start_container(&container).await;
    let groups_can_be_made = !ours(&host).is_empty();
    assert_eq!(started.is_err(), groups_can_be_made, "{started:?}");
    assert!(cgroups(&host).is_empty(), "left: {:?}", cgroups(&host));
    runtime.remove_sandbox(&sandbox).await.unwrap();
}
