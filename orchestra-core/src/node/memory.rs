//! What the agent remembers of a pod beside what the store and the runtime say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::action::OpKey;
use super::backoff::CrashBackoff;
use super::probe::{ProbeKind, ProbeState};
use crate::model::{Container, ContainerTerminated, Pod, PodSpec, RestartPolicy};
use crate::runtime::{ContainerState, ContainerStatus, SandboxId, SandboxState, SandboxStatus};

/// What the runtime has of a pod, as last read.
#[derive(Clone, Debug, Default)]
pub(crate) enum Observed {
    /// It was not read yet.
    #[default]
    Unknown,
    /// No sandbox.
    Absent,
    /// A sandbox.
    Present(Arc<SandboxStatus>),
}

/// An operation that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Busy {
    /// Tells this operation from an earlier one that was given up.
    pub(crate) serial: u64,
    /// Whether it brings something up: given up when the pod ends.
    pub(crate) brings_up: bool,
    /// When a stop ends in a kill.
    pub(crate) deadline: Option<Instant>,
    pub(crate) abort: Option<AbortHandle>,
}

/// Something that failed, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// For programs: `ErrImagePull`.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    /// How often in a row.
    pub(crate) failures: u32,
    /// `None`: when what it waits for changes.
    pub(crate) retry: Option<Instant>,
}

/// An end of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) attempt: u32,
    pub(crate) terminated: ContainerTerminated,
}

/// Why a running container is to be stopped and started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    /// How long it may take; the pod's time where `None`.
    pub(crate) grace: Option<Duration>,
}

/// What is remembered of one container.
#[derive(Debug, Default)]
pub(crate) struct ContainerMemory {
    /// The last run there was: the restart count.
    pub(crate) attempt: Option<u32>,
    /// The last end that was taken note of.
    pub(crate) ended: Option<Ended>,
    /// The end before the present run.
    pub(crate) previous: Option<ContainerTerminated>,
    pub(crate) backoff: CrashBackoff,
    /// When it may be started again, and how long that wait is in all.
    pub(crate) restart: Option<(Instant, Duration)>,
    pub(crate) trouble: Option<Trouble>,
    /// A stop that failed.
    pub(crate) stop_trouble: Option<Trouble>,
    /// The run that runs, and since when.
    pub(crate) running: Option<(u32, Instant)>,
    pub(crate) probes: BTreeMap<ProbeKind, ProbeState>,
    pub(crate) kill: Option<Kill>,
    /// Readiness and start from before the agent was restarted, with the run they speak of.
    pub(crate) carried: Option<(u32, bool, bool)>,
    /// An init container that has ended well in the present sandbox.
    pub(crate) succeeded: bool,
    /// The attempt of the next run that is created.
    pub(crate) next: u32,
    /// The last run that is known to have been started.
    pub(crate) started: Option<u32>,
    /// The run whose start was begun last here, and when: whatever the runtime's clock says, it did not run before.
    pub(crate) begun: Option<(u32, Instant)>,
    /// Whether something its configuration names has changed since its start was begun.
    pub(crate) config_changed: bool,
}

impl ContainerMemory {
    /// Before when a run was not there, as far as is known here. Of the runtime's times none is earlier: its clock may be another
    /// host's, and behind ours.
    pub(crate) fn not_before(&self, attempt: u32) -> Option<Instant> {
        let known = [self.running, self.begun].into_iter().flatten();
        known.filter(|(of, _)| *of == attempt).map(|(_, at)| at).max()
    }
}

/// What is remembered of one pod.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) observed: Observed,
    /// The number of the reading behind `observed`.
    pub(crate) observed_serial: u64,
    /// When that reading had ended. One that was begun before may show things as they were earlier.
    pub(crate) observed_until: u64,
    /// The number of the last sign that something has changed: a reading with a greater one shows it.
    pub(crate) changed_serial: u64,
    /// When the runtime told of a change after which nothing was read.
    pub(crate) changed_at: Option<Instant>,
    /// The sandbox that was removed last: what the runtime tells of it is old news.
    pub(crate) removed: Option<SandboxId>,
    pub(crate) observe_trouble: Option<Trouble>,
    /// Older sandboxes of the pod, to be removed.
    pub(crate) leftovers: Vec<SandboxId>,
    /// The attempt of the next sandbox.
    pub(crate) next_sandbox: u32,
    pub(crate) sandbox_trouble: Option<Trouble>,
    pub(crate) prune_trouble: Option<Trouble>,
    /// Whether the init containers are done in the present sandbox. Latched.
    pub(crate) initialized: bool,
    /// Boxed: a tree makes room for eleven at once.
    pub(crate) containers: BTreeMap<String, Box<ContainerMemory>>,
    pub(crate) busy: BTreeMap<OpKey, Busy>,
    /// Whether the balancers have let go of the pod.
    pub(crate) drained: bool,
    /// When the stopping of containers began.
    pub(crate) stopping_since: Option<Instant>,
    /// Whether one of the main containers ran when the pod was stopped.
    pub(crate) cut_short: bool,
    /// Whether the pod has directories on this node.
    pub(crate) files: bool,
    /// Whether a config map, secret or field behind a volume has changed.
    pub(crate) volumes_stale: bool,
    pub(crate) volumes_trouble: Option<Trouble>,
    /// Whether the Pod object was let go: what holds it now are finalizers.
    pub(crate) deleted: bool,
    pub(crate) delete_trouble: Option<Trouble>,
    /// The last status written, until the cache shows it.
    pub(crate) written: Option<Arc<Pod>>,
    pub(crate) status_trouble: Option<Trouble>,
    /// Since when an unimportant change of the status waits to be written.
    pub(crate) status_since: Option<Instant>,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    Sidecar,
    Main,
}

impl Role {
    /// Whether a container that ended so is started again.
    pub(crate) fn restarts(self, policy: RestartPolicy, exit_code: i32) -> bool {
        match self {
            Self::Sidecar => true,
            Self::Init => exit_code != 0 && policy != RestartPolicy::Never,
            Self::Main => match policy {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => exit_code != 0,
                RestartPolicy::Never => false,
            },
        }
    }
}

/// All containers of a pod with their roles, init containers first, in order.
pub(crate) fn roles(spec: &PodSpec) -> impl Iterator<Item = (&Container, Role)> + '_ {
    let init = |c: &Container| if c.is_sidecar() { Role::Sidecar } else { Role::Init };
    let inits = spec.init_containers.iter().map(move |c| (c, init(c)));
    inits.chain(spec.containers.iter().map(|c| (c, Role::Main)))
}

/// Where a container is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Run<'a> {
    /// It was never started, as far as is known.
    Never,
    /// Created and not started.
    Created(&'a ContainerStatus),
    Running(&'a ContainerStatus),
    Over(&'a Ended),
}

impl Memory {
    pub(crate) fn sandbox(&self) -> Option<&Arc<SandboxStatus>> {
        if let Observed::Present(sandbox) = &self.observed { Some(sandbox) } else { None }
    }

    /// The sandbox, where it stands.
    pub(crate) fn ready_sandbox(&self) -> Option<&Arc<SandboxStatus>> {
        self.sandbox().filter(|s| s.state == SandboxState::Ready)
    }

    /// Whether the sandbox must be read before anything is decided.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self.observed, Observed::Unknown) || self.changed_serial > self.observed_serial
    }

    pub(crate) fn container(&self, name: &str) -> &ContainerMemory {
        const NOTHING: &ContainerMemory = &ContainerMemory {
            attempt: None,
            ended: None,
            previous: None,
            backoff: CrashBackoff::NONE,
            restart: None,
            trouble: None,
            stop_trouble: None,
            running: None,
            probes: BTreeMap::new(),
            kill: None,
            carried: None,
            succeeded: false,
            next: 0,
            started: None,
            begun: None,
            config_changed: false,
        };
        self.containers.get(name).map_or(NOTHING, |memory| memory)
    }

    pub(crate) fn container_mut(&mut self, name: &str) -> &mut ContainerMemory {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// The last run of a container that the runtime has.
    pub(crate) fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.sandbox()?.containers.iter().filter(|c| &*c.name == name).max_by_key(|c| c.attempt)
    }

    /// Where a container is.
    pub(crate) fn run(&self, name: &str) -> Run<'_> {
        let memory = self.container(name);
        match (self.latest(name), &memory.ended) {
            (Some(run), Some(ended)) if ended.attempt >= run.attempt => Run::Over(ended),
            (Some(run), _) if run.state.is_running() => Run::Running(run),
            (Some(run), _) if matches!(run.state, ContainerState::Created) => Run::Created(run),
            (_, Some(ended)) => Run::Over(ended),
            (_, None) => Run::Never,
        }
    }

    /// The containers whose processes run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &ContainerStatus> + '_ {
        self.sandbox().into_iter().flat_map(|s| &s.containers).filter(|c| c.state.is_running())
    }

    /// Whether it is no news that a container runs, or does not: it is read after the operation that brings this about, or
    /// was.
    pub(crate) fn expects(&self, container: &str, runs: bool) -> bool {
        if let Some(busy) = self.busy.get(&OpKey::Container(container.to_owned())) {
            return busy.brings_up == runs;
        }
        let is_settled = !self.is_stale() && !self.is_busy(&OpKey::Observe);
        is_settled && matches!(self.run(container), Run::Running(_)) == runs
    }

    /// An operation is over, or given up.
    pub(crate) fn end(&mut self, key: &OpKey) -> Option<Busy> {
        let ended = self.busy.remove(key);
        if self.busy.is_empty() {
            // An empty tree keeps its node.
            self.busy = BTreeMap::new();
        }
        ended
    }

    pub(crate) fn is_busy(&self, key: &OpKey) -> bool {
        self.busy.contains_key(key)
    }

    /// Whether a container is being started: its hook has not ended yet.
    pub(crate) fn is_starting(&self, name: &str) -> bool {
        self.busy.get(&OpKey::Container(name.to_owned())).is_some_and(|busy| busy.brings_up)
    }

    /// Whether a running container has got past its postStart hook and startup probe.
    pub(crate) fn has_started(&self, container: &Container) -> bool {
        let memory = self.container(&container.name);
        matches!(self.run(&container.name), Run::Running(_))
            && !self.is_starting(&container.name)
            && (container.startup_probe.is_none()
                || memory.probes.get(&ProbeKind::Startup).and_then(ProbeState::verdict) == Some(true))
    }

    /// Whether a container can serve.
    pub(crate) fn is_ready(&self, container: &Container) -> bool {
        let memory = self.container(&container.name);
        self.has_started(container)
            && memory.kill.is_none()
            && (container.readiness_probe.is_none()
                || memory.probes.get(&ProbeKind::Readiness).and_then(ProbeState::verdict) == Some(true))
    }

    /// Whether every init container has ended well and every sidecar has started.
    pub(crate) fn inits_done(&self, spec: &PodSpec) -> bool {
        roles(spec).all(|(container, role)| match role {
            Role::Init => self.container(&container.name).succeeded,
            Role::Sidecar => self.has_started(container),
            Role::Main => true,
        })
    }
}
