//! What the tests of this crate share: an image with a shell, made without a registry.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "each test uses its part of these helpers, which are tests themselves"
)]

pub(crate) mod subject;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use orchestra_core::runtime::{Runtime as _, RuntimeError};
use orchestra_docker::{DockerRuntime, DockerRuntimeBuilder, ImageFiles};

/// The programs that test scripts run.
const APPLETS: [&str; 9] = ["sh", "sleep", "cat", "httpd", "mkdir", "printf", "id", "kill", "nc"];

/// An engine that answers, with an image for tests.
pub(crate) struct Host {
    /// Begins the names of all that a test makes.
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) state: PathBuf,
    pub(crate) runtime: DockerRuntime,
}

/// Says why nothing is tested; fails where tests on Docker are required.
fn skip(why: &str) -> Option<Host> {
    assert!(
        std::env::var_os("ORCHESTRA_REQUIRE_DOCKER").is_none_or(|value| value != "1"),
        "ORCHESTRA_REQUIRE_DOCKER=1, but {why}"
    );
    eprintln!("SKIPPED, nothing was tested on Docker: {why}");
    None
}

/// A runtime on this engine, or on that of the machine.
pub(crate) fn builder(cluster: &str, engine: Option<&str>) -> DockerRuntimeBuilder {
    let builder = DockerRuntime::builder(cluster);
    match engine {
        Some(engine) => builder.host(engine),
        None => builder,
    }
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|path| path.exists())
}

fn files(busybox: &Path) -> ImageFiles {
    let mut files = ImageFiles::new();
    files.file("bin/busybox", 0o755, &std::fs::read(busybox).unwrap()).unwrap();
    for applet in APPLETS {
        files.link(format!("bin/{applet}"), "busybox").unwrap();
    }
    files
}

impl Host {
    /// The files of the image with a shell.
    pub(crate) fn files(&self) -> ImageFiles {
        files(&busybox().unwrap())
    }

    /// Runs a test, and removes what it made, also where it panics.
    pub(crate) async fn scope(self, test: impl AsyncFnOnce(&Self)) {
        let ended = AssertUnwindSafe(test(&self)).catch_unwind().await;
        self.remove_sandboxes().await;
        for image in self.runtime.images().await.unwrap() {
            // The test's own have longer names than the host's.
            for name in image.names.iter().filter(|image| image.name.starts_with(&format!("{}-", self.name)))
            {
                self.runtime.remove_image(name).await.unwrap();
            }
        }
        self.close().await;
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
    }

    pub(crate) async fn remove_sandboxes(&self) {
        for sandbox in self.runtime.list().await.unwrap() {
            self.runtime.remove_sandbox(&sandbox.id).await.unwrap();
        }
    }

    /// Connects, and makes the image; `None` where there is no engine.
    pub(crate) async fn open(test: &str) -> Option<Self> {
        Self::open_on(test, None).await
    }

    /// The same, on this engine.
    pub(crate) async fn open_on(test: &str, engine: Option<String>) -> Option<Self> {
        let name = format!("orchestra-test-{test}-{}", std::process::id());
        let runtime = match builder(&name, engine.as_deref()).connect().await {
            Ok(runtime) => runtime,
            Err(error @ RuntimeError::Unavailable { .. }) => return skip(&error.to_string()),
            Err(error) => panic!("{error:?}"),
        };
        let Some(busybox) = busybox() else {
            return skip("there is no static busybox on this host: install Debian's busybox-static");
        };
        let image = format!("{name}:1");
        runtime.import_image(&image, &files(&busybox)).await.unwrap();
        let state = std::env::temp_dir().join(&name);
        Some(Self { name, image, state, runtime })
    }

    pub(crate) async fn close(self) {
        self.runtime.remove_image(&self.image.as_str().into()).await.unwrap();
        drop(std::fs::remove_dir_all(&self.state));
    }
}
