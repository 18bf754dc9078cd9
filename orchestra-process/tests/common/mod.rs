//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerSpec, SandboxSpec};
use orchestra_process::{ProcessImage, ProcessRuntime, ProcessRuntimeBuilder};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A state directory that goes with the value.
#[derive(Debug)]
pub(crate) struct Host(PathBuf);

impl Host {
    pub(crate) fn new() -> Self {
        let next = NEXT.fetch_add(1, Ordering::SeqCst);
        Self(std::env::temp_dir().join(format!("orchestra-process-test-{}-{next}", std::process::id())))
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
