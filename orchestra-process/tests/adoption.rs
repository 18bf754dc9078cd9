//! The runtime's process is killed, and another one takes over.
#![allow(clippy::unwrap_used, reason = "a test, with helpers")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{GRACE, Host, ended, follow, line, lives, run, sh, state, until};
use orchestra_core::runtime::{ContainerState, ExecOptions, Runtime, SandboxStatus};

const ROOT: &str = "ORCHESTRA_TEST_ROOT";

/// The process that is killed: this program again, running only [`owner`].
struct Owner(Child);

impl Owner {
    /// Starts the owner, and waits until its pods run.
    async fn start(host: &Host, script: &str) -> Self {
        fs::create_dir_all(host.root()).unwrap();
        fs::write(host.root().join("script"), script).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "owner", "--ignored", "--nocapture"])
            .env(ROOT, host.root())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let owner = Self(child);
        until("the owner's pod runs", || host.root().join("ready").exists()).await;
        owner
    }

    /// Kills it as a crash would.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Not a test: what the owner does.
#[tokio::test]
#[ignore = "run by the other tests, in a process of its own"]
async fn owner() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = PathBuf::from(root);
    let host = Host::at(root.clone());
    let runtime = host.open();
    let (_, container) = run(&runtime, &sh("main", &fs::read_to_string(root.join("script")).unwrap())).await;
    let mut log = follow(&runtime, &container).await;
    line(&mut log).await.unwrap();
    let command = ["sh", "-c", "echo $$; exec sleep 1000"].map(str::to_owned).to_vec();
    let mut exec =
        runtime.exec(&container, &ExecOptions { command, ..ExecOptions::default() }).await.unwrap();
    let pid = exec.output.recv().await.unwrap().bytes;
    fs::write(root.join("exec"), pid).unwrap();
    fs::write(root.join("new"), "").unwrap();
    fs::rename(root.join("new"), root.join("ready")).unwrap();
    std::future::pending::<()>().await;
}

async fn only(runtime: &dyn Runtime) -> SandboxStatus {
    let list = runtime.list().await.unwrap();
    assert_eq!(list.len(), 1, "{list:?}");
    list.into_iter().next().unwrap()
}

/// Counts without end, until it gets the stop signal.
const COUNT: &str = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";

#[tokio::test]
async fn what_runs_is_adopted_and_no_output_is_lost() {
    let host = Host::new();
    let owner = Owner::start(&host, COUNT).await;
    let exec = fs::read_to_string(host.root().join("exec")).unwrap();
    assert!(lives(exec.trim()));
    let spool = host.root().join("test/spool/0.out");
    let written = || fs::metadata(&spool).unwrap().len();
    let before = written();
    owner.kill();
    until("the program goes on alone", || written() > before + 20).await;
    let runtime = host.open();
    let sandbox = only(&runtime).await;
    let container = sandbox.containers[0].clone();
    assert!(container.state.is_running(), "{:?}", container.state);
    assert!(!lives(exec.trim()), "what exec ran has lost its client");
    assert!(runtime.stats().await.unwrap()[0].pids >= 1);
    let mut log = follow(&runtime, &container.id).await;
    for number in 0..300 {
        assert_eq!(line(&mut log).await.unwrap(), number.to_string());
    }
    runtime.stop_container(&container.id, GRACE).await.unwrap();
    while line(&mut log).await.is_some() {}
    let state = state(&runtime, &sandbox.id, &container.id).await;
    // Kernels before 6.15 do not tell how somebody else's child ended.
    assert!(
        matches!(state, ContainerState::Unknown | ContainerState::Exited { signal: Some(15), .. }),
        "{state:?}"
    );
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    host.assert_empty();
}

#[tokio::test]
async fn the_exit_code_of_an_adopted_process_is_known_where_the_kernel_tells() {
    let host = Host::new();
    let go = host.root().join("go");
    let script = format!("echo started; while ! [ -e {} ]; do sleep 0.01; done; exit 9", go.display());
    Owner::start(&host, &script).await.kill();
    let runtime = host.open();
    let sandbox = only(&runtime).await;
    fs::write(&go, "").unwrap();
    let state = ended(&runtime, &sandbox.id, &sandbox.containers[0].id).await;
    let release = runtime.info().await.unwrap().kernel;
    let mut version = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (version.next().unwrap(), version.next().unwrap());
    // An older kernel tells only where nobody else was faster to wait for it.
    let known = matches!(state, ContainerState::Exited { exit_code: 9, signal: None, .. });
    assert!(known || (version < (6, 15) && state == ContainerState::Unknown), "{state:?}");
}

#[tokio::test]
async fn what_ended_meanwhile_is_unknown_and_its_children_are_killed() {
    let host = Host::new();
    let go = host.root().join("go");
    let script = format!(
        "setsid sleep 1000 & echo $!; echo $! > {}; while ! [ -e {} ]; do sleep 0.01; done; printf last",
        host.root().join("child").display(),
        go.display()
    );
    Owner::start(&host, &script).await.kill();
    let child = fs::read_to_string(host.root().join("child")).unwrap();
    fs::write(&go, "").unwrap();
    let text = fs::read_to_string(host.journal()).unwrap();
    let started = text.lines().find(|line| line.contains("\"started\"")).unwrap();
    let main = started.split("\"pid\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    // Waited for by whoever has inherited it: until then its exit code can be seen.
    until("the main process is gone", || !fs::exists(format!("/proc/{main}")).unwrap()).await;
    assert!(lives(child.trim()));
    let runtime = host.open();
    let sandbox = only(&runtime).await;
    assert_eq!(sandbox.containers[0].state, ContainerState::Unknown);
    assert!(!lives(child.trim()), "a child has outlived its container");
    let mut log = follow(&runtime, &sandbox.containers[0].id).await;
    assert_eq!(line(&mut log).await.unwrap(), child.trim());
    assert_eq!(line(&mut log).await.unwrap(), "last");
    assert!(line(&mut log).await.is_none());
}

/// The journal without the lines for which `drop` holds: as if the crash had come before they were written.
fn edit(host: &Host, edit: impl Fn(&str) -> Option<String>) {
    let text = fs::read_to_string(host.journal()).unwrap();
    let lines: String = text.lines().filter_map(edit).map(|line| line + "\n").collect();
    fs::write(host.journal(), lines).unwrap();
}

/// When a process started, in clock ticks since boot.
fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_start_that_was_not_written_down_is_found_and_not_doubled() {
    let host = Host::new();
    Owner::start(&host, "echo $$; echo $$ >> $CONTAINER_ROOT/starts; exec sleep 1000").await.kill();
    edit(&host, |line| (!line.contains("\"started\"")).then(|| line.to_owned()));
    let runtime = host.open();
    let sandbox = only(&runtime).await;
    let container = &sandbox.containers[0];
    assert!(container.state.is_running(), "{:?}", container.state);
    runtime.start_container(&container.id).await.unwrap();
    let starts = fs::read_to_string(host.root().join("test/slots/0/starts")).unwrap();
    assert_eq!(starts.lines().count(), 1, "it was started twice");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    assert!(!lives(starts.trim()));
}

#[tokio::test]
async fn what_has_no_signal_to_end_by_is_killed() {
    let host = Host::new();
    Owner::start(&host, "echo $$; exec sleep 1000").await.kill();
    edit(&host, |line| Some(line.replace("\"stop_signal\":15", "\"stop_signal\":37")));
    let runtime = host.open();
    let sandbox = only(&runtime).await;
    runtime.stop_container(&sandbox.containers[0].id, Duration::from_secs(1000)).await.unwrap();
    assert!(only(&runtime).await.containers[0].state.is_over());
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test]
async fn a_process_nobody_knows_of_is_killed() {
    let host = Host::new();
    Owner::start(&host, "echo $$; echo $$ > $CONTAINER_ROOT/pid; exec sleep 1000").await.kill();
    let pid = fs::read_to_string(host.root().join("test/slots/0/pid")).unwrap();
    edit(&host, |line| line.contains("\"opened\"").then(|| line.to_owned()));
    assert!(lives(pid.trim()));
    let runtime = host.open();
    assert!(!lives(pid.trim()));
    assert!(runtime.list().await.unwrap().is_empty());
    host.assert_empty();
}

#[tokio::test]
async fn a_foreign_process_with_a_recorded_pid_is_left_alone() {
    let host = Host::new();
    Owner::start(&host, "echo $$; echo $$ > $CONTAINER_ROOT/pid; exec sleep 1000").await.kill();
    let pid = fs::read_to_string(host.root().join("test/slots/0/pid")).unwrap().trim().to_owned();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    until("the main process ends", || !lives(&pid)).await;
    // Now that pid belongs to somebody else, who started later. The kernel tells them apart by ticks of 10 ms.
    let journal = fs::read_to_string(host.journal()).unwrap();
    let started = |pid| journal.contains(&format!("\"ticks\":{}", start_ticks(pid)));
    let mut foreign = Command::new("sleep").arg("1000").spawn().unwrap();
    while started(foreign.id()) {
        foreign.kill().unwrap();
        foreign.wait().unwrap();
        foreign = Command::new("sleep").arg("1000").spawn().unwrap();
    }
    edit(&host, |line| Some(line.replace(&format!("\"pid\":{pid},"), &format!("\"pid\":{},", foreign.id()))));
    let runtime = host.open();
    let sandbox = only(&runtime).await;
    assert_eq!(sandbox.containers[0].state, ContainerState::Unknown);
    runtime.stop_container(&sandbox.containers[0].id, GRACE).await.unwrap();
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    let alive = foreign.try_wait().unwrap().is_none();
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    assert!(alive, "a foreign process was killed");
}

#[tokio::test]
async fn after_a_reboot_nothing_runs() {
    let host = Host::new();
    let owner = Owner::start(&host, "echo $$; exec sleep 1000").await;
    let text = fs::read_to_string(host.journal()).unwrap();
    owner.kill();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim()));
    edit(&host, |line| Some(line.replace(boot.trim(), "another-boot")));
    // Also when the runtime is opened again in the same boot.
    for _ in 0..2 {
        let runtime = host.open();
        let sandbox = only(&runtime).await;
        assert_eq!(sandbox.containers[0].state, ContainerState::Unknown);
        assert_eq!(sandbox.state, orchestra_core::runtime::SandboxState::NotReady);
        assert_eq!(sandbox.ip, None, "another pod may have it by now");
    }
    let runtime = host.open();
    runtime.remove_sandbox(&only(&runtime).await.id).await.unwrap();
    host.assert_empty();
}
