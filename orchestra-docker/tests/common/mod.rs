//! What the tests of this crate share: an image with a shell, made without a registry.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test uses its part of these helpers, which are tests themselves"
)]

use std::path::{Path, PathBuf};

use orchestra_core::runtime::{Runtime as _, RuntimeError};
use orchestra_docker::{DockerRuntime, ImageFiles};

/// The programs that test scripts run.
const APPLETS: [&str; 8] = ["sh", "sleep", "cat", "httpd", "mkdir", "printf", "id", "kill"];

/// An engine that answers, with an image for tests.
pub(crate) struct Host {
    pub(crate) image: String,
    pub(crate) state: PathBuf,
    runtime: DockerRuntime,
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
    /// Connects, and makes the image; `None` where there is no engine.
    pub(crate) async fn open(test: &str) -> Option<Self> {
        let name = format!("orchestra-test-{test}-{}", std::process::id());
        let runtime = match DockerRuntime::builder(name.as_str()).connect().await {
            Ok(runtime) => runtime,
            Err(error @ RuntimeError::Unavailable { .. }) => return skip(&error.to_string()),
            Err(error) => panic!("{error:?}"),
        };
        let Some(busybox) = busybox() else {
            return skip("there is no static busybox on this host: install Debian's busybox-static");
        };
        let image = format!("{name}:1");
        runtime.import_image(&image, files(&busybox)).await.unwrap();
        let state = std::env::temp_dir().join(name);
        Some(Self { image, state, runtime })
    }

    pub(crate) async fn close(self) {
        self.runtime.remove_image(&self.image.as_str().into()).await.unwrap();
        drop(std::fs::remove_dir_all(&self.state));
    }
}
