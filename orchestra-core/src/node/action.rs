//! What a plan asks for, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::probe::{ProbeKind, ProbeOutcome};
use crate::client::ClientError;
use crate::model::{Pod, Revision};
use crate::runtime::{ContainerId, RuntimeError, SandboxId, SandboxStatus};

/// One thing to do for a pod. The executor has no choices left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Read the sandbox from the runtime.
    Observe,
    /// Run the pod's sandbox.
    RunSandbox { attempt: u32 },
    /// Pull, create and start a run of a container.
    Start { container: String, attempt: u32 },
    /// Stop a running container: its preStop hook, the stop signal, and the kill at `deadline`; but `floor`
    /// after the signal at the earliest.
    Stop { container: String, id: ContainerId, deadline: Instant, floor: Duration, hook: bool },
    /// Take the pod out of all balancers, and wait for that so long at most.
    Drain { revision: Revision, limit: Duration },
    /// Stop the sandbox and keep it, for its logs.
    StopSandbox { id: SandboxId },
    /// Stop and remove the sandbox.
    RemoveSandbox { id: SandboxId },
    /// Remove a run that is no longer of interest.
    RemoveContainer { id: ContainerId },
    /// Put a question to a container.
    Probe { container: String, attempt: u32, kind: ProbeKind },
    /// Write volumes anew whose source may have changed.
    RefreshVolumes,
    /// Remove the pod's directories.
    RemoveFiles,
    /// Take the Pod object out of the store: nothing of the pod is left.
    DeletePod,
    /// Forget the pod.
    Forget,
}

/// What an operation works on. A pod has one operation at most for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OpKey {
    Observe,
    Sandbox,
    Container(String),
    Drain,
    Prune,
    Probe(String, ProbeKind),
    Volumes,
    Status,
    Delete,
}

impl Action {
    pub(crate) fn key(&self) -> Option<OpKey> {
        Some(match self {
            Self::Observe => OpKey::Observe,
            Self::RunSandbox { .. }
            | Self::StopSandbox { .. }
            | Self::RemoveSandbox { .. }
            | Self::RemoveFiles => OpKey::Sandbox,
            Self::Start { container, .. } | Self::Stop { container, .. } => {
                OpKey::Container(container.clone())
            }
            Self::Drain { .. } => OpKey::Drain,
            Self::RemoveContainer { .. } => OpKey::Prune,
            Self::Probe { container, kind, .. } => OpKey::Probe(container.clone(), *kind),
            Self::RefreshVolumes => OpKey::Volumes,
            Self::DeletePod => OpKey::Delete,
            Self::Forget => return None,
        })
    }
}

/// What kept a container from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// Its image doesn't come.
    Pull { reason: &'static str, message: String },
    /// Something that its configuration names is missing. It is tried again when that changes.
    Config { message: String },
    /// The agent or the runtime failed to prepare or create it.
    Create { message: String, outcome_unknown: bool },
    /// Its program can't be run.
    Run { message: String },
    /// Its postStart hook failed; it was stopped.
    PostStart { message: String },
}

/// What an operation came to.
#[derive(Debug)]
pub(crate) enum Done {
    Observed,
    SandboxRun(Result<SandboxStatus, RuntimeError>),
    SandboxStopped(Result<(), RuntimeError>),
    SandboxRemoved { id: SandboxId, result: Result<(), RuntimeError> },
    FilesRemoved(Result<(), String>),
    Started { container: String, attempt: u32, result: Result<(), StartError> },
    Stopped { container: String, result: Result<(), RuntimeError> },
    Pruned(Result<(), RuntimeError>),
    Drained { acknowledged: bool },
    Probed { container: String, attempt: u32, kind: ProbeKind, outcome: ProbeOutcome },
    VolumesRefreshed(Result<(), String>),
    StatusWritten(Result<Arc<Pod>, ClientError>),
    PodDeleted(Result<(), ClientError>),
}

/// What the runtime showed.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When it was begun: it shows all that had happened by then.
    pub(crate) serial: u64,
    /// When it had ended: it shows nothing that happened later.
    pub(crate) until: u64,
    pub(crate) result: Result<Option<SandboxStatus>, RuntimeError>,
}
