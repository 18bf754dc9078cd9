//! The Docker runtime under the contract of runtimes on Podman's Docker API.
//!
//! On a service of the test's own, with directories of its own, wherever Podman is installed and can start containers; elsewhere it says
//! why nothing was tested. `ORCHESTRA_REQUIRE_PODMAN=1` has it fail then. The OCI runtime is Podman's own choice, or runc where that can't
//! start them (crun can't where both versions of control groups are mounted); `ORCHESTRA_PODMAN_RUNTIME` names another.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test fails by panicking, may print, and waits for another program before there is a runtime"
)]

mod common;

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::Host;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    ContainerId, ContainerLimits, ContainerSpec, ExecOptions, LogOptions, MemoryVolume, Mount, MountSource,
    Runtime as _, RuntimeError, SandboxSpec,
};

/// How long the service may take to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// Limits that every machine lets containers have: Podman would raise them, which takes a right that root may lack. And how long, in
/// seconds, what watches an exec stays after its end: five minutes otherwise.
const CONFIGURATION: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
exit_command_delay = 5
"#;

/// A service of Podman's; all that it made is removed when this is dropped.
struct Podman {
    dir: PathBuf,
    /// The OCI runtime, where it is not Podman's own choice.
    runtime: Option<OsString>,
    service: Option<Child>,
}

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        // What watches a container writes a file where it was started.
        command.current_dir(&self.dir);
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        if let Some(runtime) = &self.runtime {
            command.arg("--runtime").arg(runtime);
        }
        command.env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("podman.sock")
    }

    fn start() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("orchestra-podman-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        std::fs::write(dir.join("containers.conf"), CONFIGURATION).map_err(|error| error.to_string())?;
        let mut podman = Self { dir, runtime: std::env::var_os("ORCHESTRA_PODMAN_RUNTIME"), service: None };
        if let Err(why) = podman.runs() {
            if podman.runtime.is_some() {
                return Err(why);
            }
            podman.runtime = Some("runc".into());
            if podman.runs().is_err() {
                return Err(why);
            }
        }
        let mut service = podman.command();
        service.args(["system", "service", "--time", "0"]).arg(podman.engine());
        service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        podman.service = Some(service.spawn().map_err(|error| format!("podman: {error}"))?);
        let begin = Instant::now();
        while UnixStream::connect(podman.socket()).is_err() {
            if begin.elapsed() > LIMIT {
                return Err(format!("podman does not listen after {LIMIT:?}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(podman)
    }

    fn engine(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Whether a program runs that was told of the directory.
    fn is_used(&self) -> bool {
        let dir = self.dir.to_string_lossy();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut words = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        words.any(|words| String::from_utf8_lossy(&words).contains(&*dir))
    }

    /// Whether it starts a container, of an image with a shell.
    fn runs(&self) -> Result<(), String> {
        let files = self.dir.join("files");
        let bin = files.join("bin");
        std::fs::create_dir_all(&bin).map_err(|error| error.to_string())?;
        std::fs::copy("/bin/busybox", bin.join("busybox")).map_err(|error| format!("busybox: {error}"))?;
        let output = self
            .command()
            .args(["run", "--rm", "--rootfs"])
            .arg(&files)
            .args(["/bin/busybox", "true"])
            .output();
        let output = output.map_err(|error| format!("podman: {error}"))?;
        let why =
            || format!("podman starts no containers: {}", String::from_utf8_lossy(&output.stderr).trim());
        output.status.success().then_some(()).ok_or_else(why)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _removed = self.command().args(["rm", "--force", "--all", "--time", "0"]).output();
        if let Some(service) = &mut self.service {
            let _ended = service.kill();
            let _reaped = service.wait();
        }
        // What watches an exec ends by making the directories again.
        let begin = Instant::now();
        while self.is_used() && begin.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(50));
        }
        // It mounts its own directory over itself.
        let _unmounted = Command::new("umount").arg(self.dir.join("root/overlay")).output();
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

/// Runs a shell script in a container, and gives its exit code and what it wrote.
async fn run(host: &Host, container: &ContainerId, script: &str) -> (i32, String) {
    let session = host.runtime.exec(container, &ExecOptions::new(["/bin/sh", "-c", script])).await.unwrap();
    let output = session.wait_with_output().await.unwrap();
    (output.exit_code, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
}

const FEATURES: &str = "volumes_in_memory_limits_of_a_pod_and_long_tails_are_had";

/// What the contract does not ask for, and is made otherwise than on Docker.
async fn features(engine: &str) {
    let host = Host::open_on("podman-features", Some(engine.to_owned())).await.unwrap();
    host.scope(async |host| {
        let mut pod = SandboxSpec::new("test", "features", Uid::from("features"));
        let (name, size) = ("fast".to_owned(), Some(1 << 20));
        pod.memory_volumes = vec![MemoryVolume { name: name.clone(), size, group: Some(2000) }];
        pod.limits.memory = Some(64 << 20);
        let sandbox = match host.runtime.run_sandbox(&pod).await {
            Err(RuntimeError::Unsupported { why, .. }) => {
                assert!(why.contains("limits for a whole pod need control groups of version 1"), "{why}");
                pod.limits = ContainerLimits::default();
                host.runtime.run_sandbox(&pod).await.unwrap().id
            }
            ran => ran.unwrap().id,
        };
        let mut containers = Vec::new();
        for name in ["first", "second"] {
            let mut spec = ContainerSpec::new(name, host.image.as_str());
            let script = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000000";
            spec.command = ["/bin/sh", "-c", script].map(String::from).into();
            spec.mounts.push(Mount::new("/fast", MountSource::Memory { volume: "fast".to_owned() }));
            let container = host.runtime.create_container(&sandbox, &spec).await.unwrap();
            host.runtime.start_container(&container).await.unwrap();
            containers.push(container);
        }
        let wrote = run(host, &containers[0], "echo kept > /fast/file; stat -c '%g %a' /fast").await;
        assert_eq!(wrote, (0, "2000 2777".to_owned()));
        assert_eq!(run(host, &containers[1], "cat /fast/file").await, (0, "kept".to_owned()));
        let (code, why) = run(host, &containers[1], "dd if=/dev/zero of=/fast/much bs=64k").await;
        assert!(code != 0 && why.contains("No space left on device"), "{code}: {why}");
        if pod.limits.memory.is_some() {
            let eat = |mebibytes: u32| format!("dd if=/dev/zero of=/dev/null bs={mebibytes}M count=1");
            assert_eq!(run(host, &containers[0], &eat(32)).await.0, 0);
            assert_ne!(run(host, &containers[0], &eat(80)).await.0, 0, "more than its pod's");
        }
        // Conmon keeps what comes in bursts in pieces, and so many lines in more than one.
        for (follow, tail, first) in [(true, None, 0), (false, Some(4000), 1000)] {
            let options = LogOptions { follow, tail, ..LogOptions::default() };
            let whole: String = (first..5000).map(|number| format!("line {number}\n")).collect();
            let mut log = host.runtime.logs(&containers[1], &options).await.unwrap();
            let mut text = Vec::new();
            while text.len() < whole.len() {
                text.extend_from_slice(&log.next().await.unwrap().unwrap().bytes);
            }
            assert_eq!(String::from_utf8(text).unwrap(), whole);
        }
    })
    .await;
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let required = std::env::var_os("ORCHESTRA_REQUIRE_PODMAN").is_some_and(|value| value == "1");
    match Podman::start() {
        Ok(podman) => {
            let kept = common::subject::contract("podman", Some(podman.engine()));
            let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
            if FEATURES.contains(&filter) {
                let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
                tokio.block_on(features(&podman.engine()));
                println!("test {FEATURES} ... ok");
            }
            kept
        }
        Err(why) => {
            assert!(!required, "ORCHESTRA_REQUIRE_PODMAN=1, but {why}");
            eprintln!("SKIPPED, nothing was tested on Podman: {why}");
            ExitCode::SUCCESS
        }
    }
}
