//! From what the runtime shows to what the agent remembers. Pure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::action::Seen;
use super::backoff::{CALL_BACKOFF, CRASH_BACKOFF_RESET, CrashBackoff, restart_delay};
use super::memory::{Ended, Memory, Observed, Role, Trouble, roles};
use super::moment::Moment;
use super::probe::{ProbeKind, ProbeState, period};
use super::status::was_stopped;
use crate::engine::Backoff;
use crate::model::{Condition, Container, ContainerState as StoredState, ContainerTerminated, Pod};
use crate::rng::Rng;
use crate::runtime::{ContainerState, ContainerStatus, SandboxStatus};

/// The exit code of a run whose end nobody saw: Kubernetes' 137.
const UNKNOWN_EXIT_CODE: i32 = 137;

impl Trouble {
    /// The same trouble once more, or another one for the first time.
    pub(crate) fn again(
        last: Option<&Self>,
        reason: &'static str,
        message: String,
        backoff: Backoff,
        now: Instant,
    ) -> Self {
        let failures = last.map_or(0, |t| t.failures).saturating_add(1);
        Self { reason, message, failures, retry: Some(now + backoff.after(failures)) }
    }
}

impl Memory {
    /// Takes note of a reading, unless a later one is known already. Of two at the same time nobody can say which is
    /// the later, also where one of them began first and ended last: the second is not used, and things are read
    /// once more.
    pub(crate) fn see(&mut self, seen: Seen, pod: Option<&Pod>, now: Moment, rng: &Rng) {
        if seen.serial <= self.observed_until {
            if seen.until > self.observed_serial {
                self.changed_serial = self.changed_serial.max(seen.until);
            }
            return;
        }
        match seen.result {
            Ok(status) => {
                (self.observed_serial, self.observed_until) = (seen.serial, seen.until);
                self.observe_trouble = None;
                self.observed = status.map_or(Observed::Absent, |s| Observed::Present(Arc::new(s)));
                self.absorb(pod, now, rng);
            }
            Err(error) => {
                let message = super::error::chain(&error);
                let last = self.observe_trouble.as_ref();
                self.observe_trouble =
                    Some(Trouble::again(last, "RuntimeUnavailable", message, CALL_BACKOFF, now.instant));
                self.changed_serial = self.changed_serial.max(seen.serial);
            }
        }
    }

    /// Compares what is observed with what was known.
    pub(crate) fn absorb(&mut self, pod: Option<&Pod>, now: Moment, rng: &Rng) {
        if let Some(sandbox) = self.sandbox() {
            self.next_sandbox = self.next_sandbox.max(sandbox.attempt + 1);
        }
        let Some(pod) = pod else { return };
        for (container, role) in roles(&pod.spec) {
            match self.latest(&container.name).cloned() {
                Some(run) => self.absorb_run(container, role, &run, now, rng),
                None => self.absorb_loss(container, role, now),
            }
        }
        self.latch_initialized(pod);
    }

    pub(crate) fn latch_initialized(&mut self, pod: &Pod) {
        self.initialized |= self.ready_sandbox().is_some() && self.inits_done(&pod.spec);
    }

    fn absorb_run(
        &mut self,
        container: &Container,
        role: Role,
        run: &ContainerStatus,
        now: Moment,
        rng: &Rng,
    ) {
        let before = run.attempt.checked_sub(1);
        let earlier = self.sandbox().and_then(|s| {
            s.containers.iter().find(|c| c.name == run.name && Some(c.attempt) == before && c.state.is_over())
        });
        let earlier = earlier.map(|c| terminated(c, now));
        let memory = self.container_mut(&container.name);
        memory.attempt = memory.attempt.max(Some(run.attempt));
        memory.next = memory.next.max(run.attempt);
        match &run.state {
            ContainerState::Running { started_at } => {
                if memory.running.is_some_and(|(attempt, _)| attempt == run.attempt) {
                    return;
                }
                let since = now.instant_of(*started_at);
                let since = memory.not_before(run.attempt).map_or(since, |earliest| since.max(earliest));
                memory.running = Some((run.attempt, since));
                memory.started = Some(run.attempt);
                if let Some(ended) = memory.ended.as_ref().filter(|e| e.attempt < run.attempt) {
                    memory.previous = Some(ended.terminated.clone());
                } else if memory.previous.is_none() {
                    memory.previous = earlier;
                }
                (memory.kill, memory.trouble, memory.restart) = (None, None, None);
                let carried = memory.carried.take().filter(|(attempt, ..)| *attempt == run.attempt);
                memory.probes.clear();
                for kind in ProbeKind::ALL {
                    let Some(probe) = kind.of(container) else { continue };
                    let later = || now.instant + rng.jitter(period(probe) / 2, 1.0);
                    let state = match (kind, carried) {
                        (ProbeKind::Startup, Some((_, _, true))) => ProbeState::carried(kind, true, later()),
                        (ProbeKind::Readiness, Some((_, true, _))) => {
                            ProbeState::carried(kind, true, later())
                        }
                        (ProbeKind::Readiness, Some((_, false, _))) => {
                            ProbeState::carried(kind, false, now.instant)
                        }
                        _ => ProbeState::new(kind, probe, since),
                    };
                    memory.probes.insert(kind, state);
                }
            }
            ContainerState::Exited { .. } | ContainerState::Unknown => {
                let ended = terminated(run, now);
                self.note_end(container, role, run.attempt, ended, now);
            }
            ContainerState::Created => {}
        }
    }

    /// A run that the runtime no longer has: it has ended, somehow.
    fn absorb_loss(&mut self, container: &Container, role: Role, now: Moment) {
        let memory = self.container(&container.name);
        let Some(attempt) = memory.started else { return };
        let started_at = memory.running.map(|(_, since)| now.wall - (now.instant - since));
        let ended = ContainerTerminated {
            exit_code: UNKNOWN_EXIT_CODE,
            reason: "ContainerStatusUnknown".to_owned(),
            message: "the container could not be found when the runtime was asked for it".to_owned(),
            started_at,
            finished_at: Some(now.wall),
            ..ContainerTerminated::default()
        };
        self.note_end(container, role, attempt, ended, now);
    }

    /// Takes note of an end, once.
    pub(crate) fn note_end(
        &mut self,
        container: &Container,
        role: Role,
        attempt: u32,
        ended: ContainerTerminated,
        now: Moment,
    ) {
        let in_sandbox = self.ready_sandbox().is_some();
        let memory = self.container_mut(&container.name);
        memory.succeeded |= role == Role::Init && ended.exit_code == 0 && in_sandbox;
        if memory.ended.as_ref().is_some_and(|known| known.attempt >= attempt) {
            return;
        }
        let finished = ended.finished_at.map_or(now.instant, |at| now.instant_of(at));
        let finished = memory.not_before(attempt).map_or(finished, |earliest| finished.max(earliest));
        let ran = match (ended.started_at, ended.finished_at) {
            (Some(started), Some(finished)) => finished.since(started),
            // The runtime can't say. It ran for as long as it was seen to.
            _ => memory
                .running
                .filter(|(of, _)| *of == attempt)
                .map_or(Duration::ZERO, |(_, since)| finished.saturating_duration_since(since)),
        };
        let delay = memory.backoff.ended(ran);
        memory.restart = Some((finished + delay, delay));
        memory.attempt = memory.attempt.max(Some(attempt));
        memory.started = memory.started.max(Some(attempt));
        memory.next = memory.next.max(attempt + 1);
        if let Some(before) = memory.ended.take() {
            memory.previous = Some(before.terminated);
        }
        memory.ended = Some(Ended { attempt, terminated: ended });
        (memory.running, memory.kill) = (None, None);
        memory.probes.clear();
    }

    /// A new sandbox stands: its init containers have not run.
    pub(crate) fn new_sandbox(&mut self, pod: &Pod) {
        self.initialized = false;
        self.drained = false;
        for (container, role) in roles(&pod.spec) {
            if role != Role::Init {
                continue;
            }
            let memory = self.container_mut(&container.name);
            memory.succeeded = false;
            if let Some(ended) = memory.ended.take() {
                memory.previous = Some(ended.terminated);
                (memory.started, memory.restart) = (None, None);
            }
        }
    }

    /// Takes up a pod after the agent was restarted: what its sandboxes show, and what its status says of before.
    pub(crate) fn adopt(
        &mut self,
        pod: Option<&Pod>,
        mut sandboxes: Vec<SandboxStatus>,
        serial: u64,
        now: Moment,
        rng: &Rng,
    ) {
        sandboxes.sort_by_key(|s| s.attempt);
        let present = sandboxes.pop();
        self.leftovers = sandboxes.into_iter().map(|s| s.id).collect();
        self.files = true;
        (self.observed_serial, self.observed_until) = (serial, serial);
        if let Some(pod) = pod {
            for (container, role) in roles(&pod.spec) {
                self.recall(pod, container, role, now);
            }
        }
        self.observed = present.map_or(Observed::Absent, |s| Observed::Present(Arc::new(s)));
        if let Some(pod) = pod {
            if self.trusts_initialized(pod) {
                self.initialized = true;
                for container in pod.spec.init_containers.iter().filter(|c| !c.is_sidecar()) {
                    self.container_mut(&container.name).succeeded = true;
                }
            }
            // What ended with an earlier sandbox says nothing of the present one.
            if self.ready_sandbox().is_some() && !self.initialized {
                self.new_sandbox(pod);
            }
        }
        self.absorb(pod, now, rng);
    }

    /// Whether the stored condition `Initialized` speaks of the sandbox that stands: it is written outside of the
    /// runtime, where nobody prunes it.
    fn trusts_initialized(&self, pod: &Pod) -> bool {
        let Some(sandbox) = self.ready_sandbox() else { return false };
        let main = |c: &ContainerStatus| pod.spec.containers.iter().any(|m| m.name == *c.name);
        if sandbox.containers.iter().any(main) {
            return true;
        }
        pod.condition("Initialized").is_some_and(Condition::is_true)
            && (sandbox.attempt == 0 || (sandbox.ip.is_some() && sandbox.ip == pod.status.pod_ip))
    }

    /// Recalls one container from the pod's stored status.
    fn recall(&mut self, pod: &Pod, container: &Container, role: Role, now: Moment) {
        let stored = match role {
            Role::Main => &pod.status.container_statuses,
            Role::Init | Role::Sidecar => &pod.status.init_container_statuses,
        };
        let Some(stored) = stored.iter().find(|s| s.name == container.name) else { return };
        let last = stored.last_state.terminated.clone();
        let attempt = stored.restart_count;
        let memory = self.container_mut(&container.name);
        let (ended, since) = match &stored.state {
            StoredState::Running(running) => {
                memory.carried = Some((attempt, stored.ready, stored.started == Some(true)));
                memory.previous = last;
                (None, running.started_at)
            }
            StoredState::Terminated(terminated) => {
                memory.previous = last;
                (Some(terminated.clone()), terminated.started_at)
            }
            StoredState::Waiting(_) => {
                // Never started, where there is no last state.
                let Some(last) = last else { return };
                let since = last.started_at;
                (Some(last), since)
            }
        };
        let until = ended.as_ref().and_then(|end| end.finished_at).unwrap_or(now.wall);
        let ran = since.map_or(Duration::ZERO, |since| until.since(since));
        // What an agent stopped with all its pods has not crashed, and a long run ends a series.
        let stopped = was_stopped(pod);
        let series = if stopped || ran >= CRASH_BACKOFF_RESET { 0 } else { attempt };
        memory.attempt = Some(attempt);
        memory.started = Some(attempt);
        memory.next = attempt;
        memory.backoff = CrashBackoff::after_restarts(series);
        if let Some(terminated) = ended {
            let ends = if stopped { 0 } else { series.saturating_add(1) };
            let delay = restart_delay(ends);
            let finished = terminated.finished_at.map_or(now.instant, |at| now.instant_of(at));
            memory.restart = Some((finished + delay, delay));
            memory.backoff = CrashBackoff::after_restarts(ends);
            memory.next = attempt + 1;
            memory.ended = Some(Ended { attempt, terminated });
        }
    }
}

/// How a run ended, as statuses say it.
fn terminated(run: &ContainerStatus, now: Moment) -> ContainerTerminated {
    match &run.state {
        ContainerState::Exited { exit_code, signal, oom_killed, started_at, finished_at, message } => {
            let reason = match (oom_killed, exit_code) {
                (true, _) => "OOMKilled",
                (false, 0) => "Completed",
                (false, _) => "Error",
            };
            ContainerTerminated {
                exit_code: *exit_code,
                signal: signal.unwrap_or(0),
                reason: reason.to_owned(),
                message: message.clone(),
                started_at: *started_at,
                finished_at: Some(*finished_at),
                container_id: run.id.0.to_string(),
                ..ContainerTerminated::default()
            }
        }
        _ => ContainerTerminated {
            exit_code: UNKNOWN_EXIT_CODE,
            reason: "ContainerStatusUnknown".to_owned(),
            message: "the runtime does not know how the container ended".to_owned(),
            finished_at: Some(now.wall),
            container_id: run.id.0.to_string(),
            ..ContainerTerminated::default()
        },
    }
}
