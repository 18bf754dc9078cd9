//! What the tests of this crate share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses its part of these helpers, which are tests themselves"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    ContainerId, ContainerSpec, ContainerState, LogOptions, LogStream, Runtime, SandboxId, SandboxSpec,
};
use orchestra_process::{ProcessImage, ProcessRuntime, ProcessRuntimeBuilder};

/// How long a condition may take to come true.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How long a program may take to end.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A state directory that goes with the value.
#[derive(Debug)]
pub(crate) struct Host(PathBuf);

impl Host {
    pub(crate) fn new() -> Self {
        let next = NEXT.fetch_add(1, Ordering::SeqCst);
        Self(std::env::temp_dir().join(format!("orchestra-process-test-{}-{next}", std::process::id())))
    }

    /// The state directory another process made.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn builder(&self) -> ProcessRuntimeBuilder {
        ProcessRuntime::builder(&self.0).cluster_id("test").image("sh", ProcessImage::new("/bin/sh"))
    }

    pub(crate) fn open(&self) -> ProcessRuntime {
        self.builder().build().unwrap()
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("test/journal")
    }

    /// What tells the containers of this state directory from all others.
    pub(crate) fn instance(&self) -> String {
        let opened = std::fs::read_to_string(self.journal()).unwrap();
        opened.split("\"instance\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    /// Checks that no file of a container is left.
    pub(crate) fn assert_empty(&self) {
        let root = self.0.join("test");
        assert_eq!(std::fs::read_dir(root.join("logs")).unwrap().count(), 0, "a log is left");
        for slot in std::fs::read_dir(root.join("slots")).unwrap() {
            let left: Vec<_> = std::fs::read_dir(slot.unwrap().path()).unwrap().collect();
            assert!(left.is_empty(), "left in a container's directory: {left:?}");
        }
        for spool in std::fs::read_dir(root.join("spool")).unwrap() {
            assert_eq!(spool.unwrap().metadata().unwrap().len(), 0, "output is left");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Containers outlive their runtime, and are not to outlive the test. Each has its directory in its environment.
        let mark = format!("CONTAINER_ROOT={}/", self.0.display());
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let environ = std::fs::read(process.path().join("environ")).unwrap_or_default();
            let ours = String::from_utf8_lossy(&environ).contains(&mark);
            if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| ours) {
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A pod of its own.
pub(crate) fn sandbox_spec(name: &str) -> SandboxSpec {
    let uid = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    SandboxSpec::new("default", name, Uid::from(uid))
}

/// A container that runs a script.
pub(crate) fn sh(name: &str, script: &str) -> ContainerSpec {
    let mut spec = ContainerSpec::new(name, "sh");
    spec.args = vec!["-c".to_owned(), script.to_owned()];
    spec
}

/// A pod that runs one container.
pub(crate) async fn run(runtime: &dyn Runtime, spec: &ContainerSpec) -> (SandboxId, ContainerId) {
    let sandbox = runtime.run_sandbox(&sandbox_spec("pod")).await.unwrap().id;
    let container = runtime.create_container(&sandbox, spec).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    (sandbox, container)
}

pub(crate) async fn state(
    runtime: &dyn Runtime,
    sandbox: &SandboxId,
    container: &ContainerId,
) -> ContainerState {
    let status = runtime.sandbox(sandbox).await.unwrap().unwrap();
    status.containers.into_iter().find(|status| status.id == *container).unwrap().state
}

/// Waits until a container has ended.
pub(crate) async fn ended(
    runtime: &dyn Runtime,
    sandbox: &SandboxId,
    container: &ContainerId,
) -> ContainerState {
    let mut events = runtime.events().await.unwrap();
    let ended = async {
        loop {
            let state = state(runtime, sandbox, container).await;
            if state.is_over() {
                return state;
            }
            events.next().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("the container ends")
}

pub(crate) async fn follow(runtime: &dyn Runtime, container: &ContainerId) -> LogStream {
    runtime.logs(container, &LogOptions { follow: true, ..LogOptions::default() }).await.unwrap()
}

/// The next line of a log, without its end; `None` at the end of the log.
pub(crate) async fn line(log: &mut LogStream) -> Option<String> {
    let chunk = tokio::time::timeout(DEADLINE, log.next()).await.expect("the log goes on or ends")?;
    Some(String::from_utf8(chunk.unwrap().bytes.to_vec()).unwrap().trim_end_matches('\n').to_owned())
}

/// Whether a process exists and has not ended.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with(['Z', 'X']))
}

/// Waits for what no event tells of.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, met).await.unwrap_or_else(|_| panic!("it never came true: {what}"));
}

/// The control groups of this state directory's containers, wherever they are mounted.
pub(crate) fn cgroups(host: &Host) -> Vec<PathBuf> {
    let instance = host.instance();
    let mut found = Vec::new();
    find_cgroups(Path::new("/sys/fs/cgroup"), &instance, 6, &mut found);
    found.sort();
    found
}

fn find_cgroups(dir: &Path, instance: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let paths = entries.flatten().map(|entry| entry.path());
    for path in paths.filter(|path| path.is_dir() && !path.is_symlink()) {
        if path.parent().is_some_and(|parent| parent.ends_with(Path::new("orchestra").join(instance))) {
            found.push(path);
        } else if depth > 0 {
            find_cgroups(&path, instance, depth - 1, found);
        }
    }
}
