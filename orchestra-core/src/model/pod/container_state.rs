//! What has become of a container.

use serde::{Deserialize, Serialize};

use crate::model::absent::is_default;
use crate::model::{Extra, Timestamp};

/// What has become of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// What it is doing.
    pub state: ContainerState,
    /// How it ended the last time.
    #[serde(skip_serializing_if = "LastState::is_none")]
    pub last_state: LastState,
    /// Whether it can serve.
    pub ready: bool,
    /// Whether its startup probe has succeeded, or it runs and has none; absent while nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// How often it has been started again.
    pub restart_count: u32,
    /// Its image, as the container names it.
    pub image: String,
    /// Its image's identity in the runtime.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// Its identity in the runtime: `process://..`, `docker://..`.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StateForm", into = "StateForm")]
pub enum ContainerState {
    /// It doesn't run yet, or not again yet.
    Waiting(ContainerWaiting),
    /// It runs.
    Running(ContainerRunning),
    /// It ran, and ended.
    Terminated(ContainerTerminated),
}

impl Default for ContainerState {
    fn default() -> Self {
        Self::Waiting(ContainerWaiting::default())
    }
}

/// How a container ended the last time; empty where it never did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastState {
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<ContainerTerminated>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl LastState {
    /// Whether it never ended.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a container doesn't run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerWaiting {
    /// Why, as one word for programs: `ContainerCreating`, `CrashLoopBackOff`, `ImagePullBackOff`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerRunning {
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerTerminated {
    /// Its exit status; 128 and the signal's number where a signal ended it.
    pub exit_code: i32,
    /// The signal that ended it; zero for none.
    #[serde(skip_serializing_if = "is_default")]
    pub signal: i32,
    /// Why, as one word for programs: `Completed`, `Error`, `OOMKilled`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its last message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Its identity in the runtime.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The state as manifests write it. Without any it is waiting.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StateForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<ContainerWaiting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<ContainerRunning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<ContainerTerminated>,
}

impl From<StateForm> for ContainerState {
    fn from(form: StateForm) -> Self {
        match form {
            StateForm { terminated: Some(terminated), .. } => Self::Terminated(terminated),
            StateForm { running: Some(running), .. } => Self::Running(running),
            StateForm { waiting, .. } => Self::Waiting(waiting.unwrap_or_default()),
        }
    }
}

impl From<ContainerState> for StateForm {
    fn from(state: ContainerState) -> Self {
        match state {
            ContainerState::Waiting(waiting) => Self { waiting: Some(waiting), ..Self::default() },
            ContainerState::Running(running) => Self { running: Some(running), ..Self::default() },
            ContainerState::Terminated(terminated) => {
                Self { terminated: Some(terminated), ..Self::default() }
            }
        }
    }
}

impl ContainerState {
    /// Why the container doesn't run, where it is waiting.
    #[must_use]
    pub fn waiting(&self) -> Option<&ContainerWaiting> {
        if let Self::Waiting(waiting) = self { Some(waiting) } else { None }
    }

    /// Since when the container runs, where it does.
    #[must_use]
    pub fn running(&self) -> Option<&ContainerRunning> {
        if let Self::Running(running) = self { Some(running) } else { None }
    }

    /// How the container ended, where it has.
    #[must_use]
    pub fn terminated(&self) -> Option<&ContainerTerminated> {
        if let Self::Terminated(terminated) = self { Some(terminated) } else { None }
    }
}
