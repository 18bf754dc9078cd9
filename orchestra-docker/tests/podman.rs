//! How far the Docker runtime keeps the contract of runtimes on Podman's Docker API: not in all, which the changelog tells.
//!
//! On a service of the test's own, with directories of its own, and only where one of two variables asks for it:
//! `ORCHESTRA_PODMAN_RUNTIME` names the OCI runtime to use, and `ORCHESTRA_REQUIRE_PODMAN=1` takes Podman's own. Without them it
//! says so and does nothing. Where there is no Podman, or it can't start containers, it says so too, and with the second it fails.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test fails by panicking, may print, and waits for another program before there is a runtime"
)]

mod common;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long the service may take to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// A service of Podman's; all that it made is removed when this is dropped.
struct Podman {
    dir: PathBuf,
    service: Option<Child>,
}

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        if let Some(runtime) = std::env::var_os("ORCHESTRA_PODMAN_RUNTIME") {
            command.arg("--runtime").arg(runtime);
        }
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("podman.sock")
    }

    fn start() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("orchestra-podman-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let mut podman = Self { dir, service: None };
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
        let output = output.map_err(|error| error.to_string())?;
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
        // It mounts its own directory over itself.
        let _unmounted = Command::new("umount").arg(self.dir.join("root/overlay")).output();
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let required = std::env::var_os("ORCHESTRA_REQUIRE_PODMAN").is_some_and(|value| value == "1");
    let podman = if required || std::env::var_os("ORCHESTRA_PODMAN_RUNTIME").is_some() {
        Podman::start().and_then(|podman| podman.runs().map(|()| podman))
    } else {
        Err("it does not pass there yet; ORCHESTRA_REQUIRE_PODMAN=1 runs it".to_owned())
    };
    match podman {
        Ok(podman) => common::subject::contract("podman", Some(podman.engine())),
        Err(why) => {
            assert!(!required, "ORCHESTRA_REQUIRE_PODMAN=1, but {why}");
            eprintln!("SKIPPED, nothing was tested on Podman: {why}");
            ExitCode::SUCCESS
        }
    }
}
