//! Containers that are hard to stop.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with helpers")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{GRACE, Host, follow, line, lives, run, sandbox_spec, sh, until};
use orchestra_core::runtime::{ContainerSpec, Runtime, RuntimeError};
use orchestra_process::ProcessImage;

#[tokio::test]
async fn a_stop_signal_that_is_none_is_refused() {
    let host = Host::new();
    for signal in [0, 37, -1] {
        let image = || ProcessImage::new("/bin/sh").stop_signal(signal);
        let refused = host.builder().image("odd", image()).build();
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        let runtime = host.open();
        runtime.add_image("odd", image());
        let sandbox = runtime.run_sandbox(&sandbox_spec("odd")).await.unwrap().id;
        let spec = ContainerSpec::new("main", "odd");
        let refused = runtime.create_container(&sandbox, &spec).await;
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        runtime.remove_sandbox(&sandbox).await.unwrap();
    }
}

/// A control group of version 1 whose processes are frozen: until they are thawed no signal ends them.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(pid: &str) -> Option<Self> {
        let group =
            Path::new("/sys/fs/cgroup/freezer").join(format!("orchestra-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let frozen = Self(group);
        fs::write(frozen.0.join("cgroup.procs"), pid).ok()?;
        frozen.set("FROZEN").then_some(frozen)
    }

    fn set(&self, state: &str) -> bool {
        fs::write(self.0.join("freezer.state"), state).is_ok()
    }

    async fn thaw(self, pid: &str) {
        assert!(self.set("THAWED"));
        until("the thawed process ends", || !lives(pid)).await;
        until("the group is gone", || fs::remove_dir(&self.0).is_ok()).await;
    }
}

#[tokio::test]
async fn one_process_that_does_not_die_delays_little() {
    let host = Host::new();
    let runtime = host.open();
    let (sandbox, container) =
        run(&runtime, &sh("main", "setsid sleep 1000 & echo $!; exec sleep 1000")).await;
    let pid = line(&mut follow(&runtime, &container).await).await.unwrap();
    let Some(frozen) = Frozen::freeze(&pid) else {
        println!("SKIPPED: no process can be frozen here");
        return;
    };
    let stopped = runtime.stop_container(&container, GRACE).await;
    let lived = lives(&pid);
    frozen.thaw(&pid).await;
    assert!(lived, "it was to be one that does not die");
    stopped.unwrap();
    runtime.remove_sandbox(&sandbox).await.unwrap();
}
