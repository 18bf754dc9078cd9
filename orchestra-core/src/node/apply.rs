//! From what an operation came to, to what the agent remembers, and what it tells people. Pure.

use tokio::time::Instant;

use super::action::{Done, StartError};
use super::backoff::{CALL_BACKOFF, PULL_BACKOFF};
use super::error::chain;
use super::memory::{Kill, Memory, Observed, Run, Trouble, roles};
use super::moment::Moment;
use super::probe::{ProbeKind, ProbeOutcome, period};
use crate::model::{ContainerTerminated, EventType, Pod, bounded_seconds};
use crate::rng::Rng;
use crate::runtime::{RuntimeError, SandboxId};

/// By how much a probe's period is spread, so that the probes of pods that start together do not stay together.
const PROBE_JITTER: f64 = 0.05;

/// How often the files of a pod are tried to be removed: what goes away by itself, such as a file that is just being written, is
/// gone in that time, about a second.
const CLEANUP_TRIES: u32 = 5;

/// The exit code of a container whose program can't be run: Docker's 128.
const START_ERROR_EXIT_CODE: i32 = 128;

/// Something to tell people of, as an event of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) kind: EventType,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Note {
    pub(crate) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventType::Warning, reason, message: message.into() }
    }

    pub(crate) fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventType::Normal, reason, message: message.into() }
    }
}

/// What the outcome of an operation is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) pod: Option<&'a Pod>,
    pub(crate) now: Moment,
    pub(crate) rng: &'a Rng,
    /// Whether the pod is on its way out: no probe condemns it then.
    pub(crate) ending: bool,
    /// Whether there are so few pods that their probes may come together: of many, that would be a burst.
    pub(crate) together: bool,
}

impl Memory {
    /// Takes note of what an operation came to.
    pub(crate) fn apply(&mut self, done: Done, judge: Judge<'_>) -> Vec<Note> {
        let now = judge.now.instant;
        match done {
            Done::Observed => Vec::new(),
            Done::SandboxRun(result) => self.sandbox_run(result, judge),
            Done::SandboxStopped(result) => self.sandbox_call(result, "FailedKillPod", judge),
            Done::SandboxRemoved { id, result } => self.sandbox_removed(&id, result, judge),
            Done::FilesRemoved(result) => self.files_removed(result, now),
            Done::Started { container, attempt, result } => self.started(&container, attempt, result, judge),
            Done::Stopped { container, result } => {
                let memory = self.container_mut(&container);
                let last = memory.stop_trouble.take();
                let Err(error) = result else { return Vec::new() };
                let message = format!("container {container}: {}", chain(&error));
                let trouble = Trouble::again(last.as_ref(), "FailedKillPod", message, CALL_BACKOFF, now);
                vec![warn(memory.stop_trouble.insert(trouble))]
            }
            Done::Pruned(result) => {
                let last = self.prune_trouble.take();
                self.prune_trouble = result
                    .err()
                    .map(|e| Trouble::again(last.as_ref(), "FailedPrune", chain(&e), CALL_BACKOFF, now));
                Vec::new()
            }
            Done::Drained { acknowledged } => {
                self.drained = true;
                let late = "a balancer did not let go of the pod in time; its requests may fail";
                if acknowledged { Vec::new() } else { vec![Note::warning("DrainTimeout", late)] }
            }
            Done::Probed { container, attempt, kind, outcome } => {
                self.probed(&container, attempt, kind, &outcome, judge)
            }
            Done::VolumesRefreshed(Ok(())) => {
                self.volumes_trouble = None;
                Vec::new()
            }
            Done::VolumesRefreshed(Err(message)) => {
                self.volumes_stale = true;
                let last = self.volumes_trouble.as_ref();
                let trouble = Trouble::again(last, "FailedMount", message, PULL_BACKOFF, now);
                vec![warn(self.volumes_trouble.insert(trouble))]
            }
            Done::StatusWritten(Ok(pod)) => {
                (self.written, self.status_trouble, self.status_since) = (Some(pod), None, None);
                Vec::new()
            }
            // Also where the pod is gone: until this is heard of, the status is not written again at once.
            Done::StatusWritten(Err(error)) => {
                let last = self.status_trouble.as_ref();
                self.status_trouble = Some(Trouble::again(last, "Status", chain(&error), CALL_BACKOFF, now));
                Vec::new()
            }
            Done::PodDeleted(result) => {
                let error = result.err().filter(|e| !e.is_not_found());
                self.deleted = error.is_none();
                let last = self.delete_trouble.as_ref();
                self.delete_trouble =
                    error.map(|e| Trouble::again(last, "Delete", chain(&e), CALL_BACKOFF, now));
                Vec::new()
            }
        }
    }

    /// Files that can't be removed hold the Pod for a while only: nothing of it runs, and nobody else could take them away.
    fn files_removed(&mut self, result: Result<(), String>, now: Instant) -> Vec<Note> {
        let Err(message) = result else {
            (self.files, self.sandbox_trouble) = (false, None);
            return Vec::new();
        };
        let last = self.sandbox_trouble.as_ref();
        let trouble = Trouble::again(last, "FailedCleanup", message, CALL_BACKOFF, now);
        if trouble.failures < CLEANUP_TRIES {
            return vec![warn(self.sandbox_trouble.insert(trouble))];
        }
        (self.files, self.sandbox_trouble) = (false, None);
        let left = "its files are left on the node, until its agent starts again";
        vec![Note::warning("FailedCleanup", format!("{}; {left}", trouble.message))]
    }

    fn sandbox_run(
        &mut self,
        result: Result<crate::runtime::SandboxStatus, RuntimeError>,
        judge: Judge<'_>,
    ) -> Vec<Note> {
        match result {
            Ok(sandbox) => {
                self.sandbox_trouble = None;
                let known = self.sandbox().is_some_and(|s| s.id == sandbox.id);
                if !known {
                    self.observed = Observed::Present(sandbox.into());
                    if let Some(pod) = judge.pod {
                        self.new_sandbox(pod);
                    }
                }
                self.absorb(judge.pod, judge.now, judge.rng);
                Vec::new()
            }
            Err(error) => {
                // It may stand all the same; the same call finds it, and so does a list.
                if error.outcome_unknown() {
                    self.observed = Observed::Unknown;
                }
                self.sandbox_call(Err(error), "FailedCreatePodSandBox", judge)
            }
        }
    }

    fn sandbox_call(
        &mut self,
        result: Result<(), RuntimeError>,
        reason: &'static str,
        judge: Judge<'_>,
    ) -> Vec<Note> {
        let Err(error) = result else {
            self.sandbox_trouble = None;
            return Vec::new();
        };
        let last = self.sandbox_trouble.as_ref();
        let trouble = Trouble::again(last, reason, chain(&error), CALL_BACKOFF, judge.now.instant);
        vec![warn(self.sandbox_trouble.insert(trouble))]
    }

    fn sandbox_removed(
        &mut self,
        id: &SandboxId,
        result: Result<(), RuntimeError>,
        judge: Judge<'_>,
    ) -> Vec<Note> {
        if result.is_ok() {
            self.leftovers.retain(|leftover| leftover != id);
            self.removed = Some(id.clone());
            if self.sandbox().is_some_and(|s| s.id == *id) {
                self.observed = Observed::Absent;
                self.absorb(judge.pod, judge.now, judge.rng);
            }
        }
        self.sandbox_call(result, "FailedKillPod", judge)
    }

    fn started(
        &mut self,
        name: &str,
        attempt: u32,
        result: Result<(), StartError>,
        judge: Judge<'_>,
    ) -> Vec<Note> {
        let now = judge.now.instant;
        let running = matches!(self.run(name), Run::Running(_));
        let memory = self.container_mut(name);
        let last = memory.trouble.as_ref();
        match result {
            Ok(()) => {
                memory.trouble = None;
                if let Some(pod) = judge.pod {
                    self.latch_initialized(pod);
                }
                let restarted = Note::normal("Started", format!("started container {name} again"));
                if attempt == 0 { Vec::new() } else { vec![restarted] }
            }
            Err(StartError::Pull { reason, message }) => {
                let trouble = Trouble::again(last, reason, message, PULL_BACKOFF, now);
                let note = warn(&trouble);
                let backs_off = trouble.failures > 1 && reason == "ErrImagePull";
                let reason = if backs_off { "ImagePullBackOff" } else { reason };
                memory.trouble = Some(Trouble { reason, ..trouble });
                vec![Note { reason: "Failed", ..note }]
            }
            Err(StartError::Config { message }) => {
                let retry = memory.config_changed.then_some(now);
                let reason = "CreateContainerConfigError";
                let trouble = Trouble { reason, message, failures: 1, retry };
                vec![warn(memory.trouble.insert(trouble))]
            }
            Err(StartError::Create { message, outcome_unknown }) => {
                let trouble = Trouble::again(last, "CreateContainerError", message, CALL_BACKOFF, now);
                let note = warn(&trouble);
                memory.trouble = (!running).then_some(trouble);
                if outcome_unknown { Vec::new() } else { vec![Note { reason: "Failed", ..note }] }
            }
            Err(StartError::Run { message }) => {
                let note = Note::warning("Failed", format!("container {name}: {message}"));
                let ended = ContainerTerminated {
                    exit_code: START_ERROR_EXIT_CODE,
                    reason: "StartError".to_owned(),
                    message,
                    finished_at: Some(judge.now.wall),
                    ..ContainerTerminated::default()
                };
                let found = judge.pod.and_then(|pod| roles(&pod.spec).find(|(c, _)| c.name == name));
                if let (Some((container, role)), false) = (found, running) {
                    self.note_end(container, role, attempt, ended, judge.now);
                }
                vec![note]
            }
            Err(StartError::PostStart { message }) => {
                vec![Note::warning("FailedPostStartHook", format!("container {name}: {message}"))]
            }
        }
    }

    fn probed(
        &mut self,
        name: &str,
        attempt: u32,
        kind: ProbeKind,
        outcome: &ProbeOutcome,
        judge: Judge<'_>,
    ) -> Vec<Note> {
        let container = judge.pod.and_then(|pod| roles(&pod.spec).find(|(c, _)| c.name == name));
        let Some(container) = container.map(|(c, _)| c) else { return Vec::new() };
        let Some(probe) = kind.of(container) else { return Vec::new() };
        let memory = self.container_mut(name);
        if memory.running.is_none_or(|(running, _)| running != attempt) {
            return Vec::new();
        }
        let Some(state) = memory.probes.get_mut(&kind) else { return Vec::new() };
        let spread = judge.rng.jitter(period(probe), PROBE_JITTER);
        let wait = if judge.together { judge.now.to_whole_second(spread) } else { spread };
        let regular = state.record(probe, outcome, judge.now.instant, wait);
        let mut notes = Vec::new();
        match outcome {
            ProbeOutcome::Failure(why) if regular => {
                notes.push(Note::warning(
                    "Unhealthy",
                    format!("{kind} probe of container {name} failed: {why}"),
                ));
            }
            ProbeOutcome::Unknown(why) if regular => {
                notes.push(Note::warning("ProbeError", format!("{kind} probe of container {name}: {why}")));
            }
            _ => {}
        }
        if state.condemns() && memory.kill.is_none() && !judge.ending {
            let message = format!("container {name} failed its {kind} probe and is restarted");
            let grace = probe.termination_grace_period_seconds.map(bounded_seconds);
            notes.push(Note::normal("Killing", message));
            memory.kill = Some(Kill { grace });
        }
        if let Some(pod) = judge.pod {
            self.latch_initialized(pod);
        }
        notes
    }
}

fn warn(trouble: &Trouble) -> Note {
    Note::warning(trouble.reason, trouble.message.clone())
}
