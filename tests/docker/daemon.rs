//! The engine's daemon ends and comes back: one of the test's own, never the machine's.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use orchestra::prelude::*;

use crate::host::{Host, LIMIT, eventually, first_of, pods, settled, skip};

/// The file in a daemon's directory with the script that runs its containers, where a test has one.
const RUNTIME: &str = "runtime.sh";

/// A daemon with directories, a socket and a bridge of its own; all of it is gone when this is dropped.
pub(crate) struct Daemon {
    dir: PathBuf,
    bridge: String,
    live_restore: bool,
    child: Option<Child>,
}

pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Daemon {
    /// Makes the bridge and starts the daemon; says why where that is not possible here.
    pub(crate) async fn open(test: &str, subnet: u8, live_restore: bool) -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("orchestra-daemon-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let mut daemon =
            Self { dir, bridge: format!("orc{}{subnet}", std::process::id()), live_restore, child: None };
        daemon.bridge.truncate(15);
        let address = format!("10.254.{subnet}.1/24");
        run("ip", &["link", "add", &daemon.bridge, "type", "bridge"])?;
        run("ip", &["address", "add", &address, "dev", &daemon.bridge])?;
        run("ip", &["link", "set", &daemon.bridge, "up"])?;
        daemon.start().await?;
        Ok(daemon)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub(crate) fn socket(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let _stale = std::fs::remove_file(self.path("docker.pid"));
        let log = std::fs::File::options().create(true).append(true).open(self.path("log"))?;
        // Not the machine's settings.
        std::fs::write(self.path("daemon.json"), "{}")?;
        let mut command = Command::new("dockerd");
        command.args(["--config-file", &self.path("daemon.json")]);
        command.args(["--data-root", &self.path("data"), "--exec-root", &self.path("exec")]);
        command.args(["--pidfile", &self.path("docker.pid"), "--host", &self.socket()]);
        command.args(["--bridge", &self.bridge, "--iptables=false", "--ip-masq=false"]);
        if Path::new(&self.path(RUNTIME)).exists() {
            let runtime = format!("tested={}", self.path(RUNTIME));
            command.args(["--add-runtime", &runtime, "--default-runtime", "tested"]);
        }
        if self.live_restore {
            command.arg("--live-restore");
        }
        command.stdout(Stdio::null()).stderr(log).spawn()
    }

    /// Starts the daemon, and starts it again where it ends, as an init system does.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            if self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|ended| ended.is_some())) {
                self.child = Some(self.spawn().map_err(|error| format!("dockerd: {error}"))?);
            }
            if run("docker", &["--host", &self.socket(), "version"]).is_ok() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(5).collect();
                return Err(format!("a daemon of the test's own does not start: {last:?}"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Has containers run by this script, in place of runc, from the next start of the daemon on.
    pub(crate) fn set_runtime(&self, script: &str) {
        let path = self.path(RUNTIME);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The shims of its containers.
    pub(crate) fn shims(&self) -> usize {
        let line = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        processes(&self.dir).iter().filter(|pid| line(pid).contains("containerd-shim")).count()
    }

    /// What the daemon has logged that has this text.
    pub(crate) fn told(&self, text: &str) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).collect::<Vec<_>>().join("\n")
    }

    /// Ends the daemon with this signal, and waits for it.
    pub(crate) fn end(&mut self, signal: &str) {
        if let Some(mut child) = self.child.take() {
            let _sent = run("kill", &[signal, &child.id().to_string()]);
            let _ended = child.wait();
        }
    }
}

/// The processes whose command line has this text, which is a directory of the test's own.
pub(crate) fn processes(of: &Path) -> Vec<String> {
    let of = of.display().to_string();
    let mine = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pid.parse::<u32>().is_ok() && String::from_utf8_lossy(&line).contains(&of)
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    pids.filter(mine).collect()
}

/// The processes whose root is an image below this directory.
fn rooted(of: &Path) -> Vec<String> {
    let of = of.display().to_string();
    let mine = |pid: &String| {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let mut roots = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/"));
        roots.any(|line| line.contains(&of))
    };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().into_string().ok()).filter(mine).collect()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end("-TERM");
        // Its containerd and what that has started, where the daemon was killed.
        for pid in processes(&self.dir).into_iter().chain(rooted(&self.dir)) {
            let _killed = run("kill", &["-9", &pid]);
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of_ours =
            |line: &&str| line.split(' ').nth(1).is_some_and(|path| Path::new(path).starts_with(&self.dir));
        for mount in mounts.lines().filter(of_ours).collect::<Vec<_>>().into_iter().rev() {
            let _gone = run("umount", &["--lazy", mount.split(' ').nth(1).unwrap_or_default()]);
        }
        let _gone = run("ip", &["link", "delete", &self.bridge]);
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// A daemon, and a cluster of two pods on it. The host is dropped first.
pub(crate) async fn two_pods(test: &str, subnet: u8, live_restore: bool) -> Option<(Host, Cluster, Daemon)> {
    let daemon = match Daemon::open(test, subnet, live_restore).await {
        Ok(daemon) => daemon,
        Err(why) => {
            skip(&why);
            return None;
        }
    };
    let name = format!("orchestra-test-{test}-{}", std::process::id());
    let host = Host { dir: std::env::temp_dir().join(&name), name, socket: Some(daemon.socket()) };
    if let Err(why) = host.prepare().await {
        skip(&why);
        return None;
    }
    let cluster = host.cluster().await;
    cluster.apply_yaml(&host.web(2)).await.unwrap();
    settled(&cluster, 2).await;
    Some((host, cluster, daemon))
}

/// Waits until two pods run, each of a sandbox and a container, and each once.
pub(crate) async fn converged(host: &Host, cluster: &Cluster) {
    eventually("both pods run", || (host.running().len() == 4).then_some(())).await;
    settled(cluster, 2).await;
    assert_eq!(host.running().len(), 4, "{:?}", host.running());
    assert_eq!(pods(cluster).await.len(), 2);
}

pub(crate) async fn end(host: &Host, cluster: Cluster) {
    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_again_after_the_daemon_was_restarted_or_killed() {
    let Some((host, cluster, mut daemon)) = two_pods("restart", 1, false).await else { return };
    for signal in ["-TERM", "-KILL"] {
        let before = host.starts();
        daemon.end(signal);
        daemon.start().await.unwrap();
        eventually("the pods were started anew", || host.starts().is_disjoint(&before).then_some(())).await;
        converged(&host, &cluster).await;
    }
    end(&host, cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_on_while_a_daemon_that_keeps_them_is_restarted() {
    let Some((host, cluster, mut daemon)) = two_pods("live", 2, true).await else { return };
    let before = host.starts();
    daemon.end("-TERM");
    daemon.start().await.unwrap();
    converged(&host, &cluster).await;
    assert_eq!(host.starts(), before, "nothing was started anew");
    assert_eq!(host.containers(), first_of(&host, &pods(&cluster).await));
    // Events are followed again: what dies now is restarted.
    let container = host.running().into_iter().find(|name| name.contains(".web.")).unwrap();
    host.docker(&["kill", &container]);
    eventually("what died runs again", || {
        (host.running().len() == 4 && host.starts() != before).then_some(())
    })
    .await;
    end(&host, cluster).await;
}
