//! Helpers of the unit tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use orchestra_core::model::Timestamp;

use crate::record::{ContainerRecord, Launch, Limits};

/// A directory that goes with the value.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("orchestra-process-unit-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn container_record(id: &str) -> ContainerRecord {
    ContainerRecord {
        id: id.into(),
        sandbox: "sandbox".into(),
        name: id.into(),
        attempt: 0,
        slot: 0,
        image: "image".to_owned(),
        image_id: String::new(),
        at: Timestamp::EPOCH,
        launch: Launch {
            program: "/bin/true".into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".into(),
            stdin: false,
            user: None,
            groups: Vec::new(),
            stop_signal: 15,
            limits: Limits::default(),
        },
    }
}
