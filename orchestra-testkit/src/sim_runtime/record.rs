//! What really happened.

use std::sync::Arc;
use std::time::Duration;

use orchestra_core::model::{Timestamp, Uid};

/// Something that happened, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRecord {
    /// When.
    pub at: Timestamp,
    /// To which pod.
    pub pod: Uid,
    /// To which container; empty for the sandbox.
    pub container: Arc<str>,
    /// To which run of it, or to which sandbox.
    pub attempt: u32,
    /// What.
    pub what: SimWhat,
}

/// What happened to a sandbox or container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimWhat {
    /// The sandbox stands.
    SandboxRun,
    /// The sandbox has lost its address, and all in it is dead.
    SandboxStopped,
    /// The sandbox is gone.
    SandboxRemoved,
    /// The container was created.
    Created,
    /// Its process runs.
    Started,
    /// It got the stop signal, and will be killed after `grace`.
    StopSignal {
        /// From the signal to the kill.
        grace: Duration,
    },
    /// Its process was killed.
    Killed,
    /// Its process exited.
    Exited {
        /// The code.
        code: i32,
    },
    /// The container is gone.
    Removed,
}

/// A container whose process runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimContainer {
    /// Its pod.
    pub pod: Uid,
    /// Its pod's namespace.
    pub namespace: Arc<str>,
    /// Its pod's name.
    pub pod_name: Arc<str>,
    /// Its name.
    pub container: Arc<str>,
    /// Which run of it this is.
    pub attempt: u32,
    /// Since when it runs.
    pub since: Timestamp,
}
