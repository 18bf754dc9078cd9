//! Plans, as tables: what is there, and what is done about it.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::model::{Container, ObjectMeta, PodPhase, PodSpec, Probe, RestartPolicy, Timestamp, Uid};
use crate::node::action::{Done, Seen, StartError};
use crate::node::apply::Judge;
use crate::node::memory::{Busy, Kill, Observed};
use crate::node::probe::{ProbeKind, ProbeOutcome};
use crate::node::status::{NodeFacts, status};
use crate::rng::Rng;
use crate::runtime::{
    ContainerId, ContainerState, ContainerStatus, ImageSpec, SandboxId, SandboxState, SandboxStatus,
};

/// A pod on a node, as its agent sees it.
struct Case {
    pod: Option<Pod>,
    memory: Memory,
    now: Moment,
    rng: Rng,
    sandbox: SandboxStatus,
    serial: u64,
}

impl Case {
    fn new(spec: PodSpec) -> Self {
        let metadata =
            ObjectMeta { uid: Uid::from("u1"), namespace: "shop".into(), ..ObjectMeta::named("web") };
        let pod = Pod { metadata, ..Pod::new("web").spec(spec).node("n1") };
        let sandbox =
            SandboxStatus::new(SandboxId("s0".into()), "shop".into(), "web".into(), Uid::from("u1"), 0);
        let now = Moment { instant: Instant::now(), wall: Timestamp::EPOCH + Duration::from_secs(1_000_000) };
        let memory = Memory { observed: Observed::Absent, ..Memory::default() };
        Self { pod: Some(pod), memory, now, rng: Rng::seeded(1), sandbox, serial: 0 }
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now = self.now.plus(time);
        self
    }

    fn run(&mut self, name: &str, attempt: u32, state: ContainerState) -> &mut Self {
        let id = ContainerId(format!("{name}-{attempt}").into());
        let mut run = ContainerStatus::new(id, name.into(), attempt, ImageSpec::from("img"));
        run.state = state;
        self.sandbox.containers.retain(|c| c.name != run.name || c.attempt != attempt);
        self.sandbox.containers.push(run);
        self.see()
    }

    fn running(&mut self, name: &str, attempt: u32) -> &mut Self {
        let started_at = self.now.wall;
        self.run(name, attempt, ContainerState::Running { started_at })
    }

    fn exited(&mut self, name: &str, attempt: u32, exit_code: i32) -> &mut Self {
        let state = ContainerState::Exited {
            exit_code,
            signal: None,
            oom_killed: false,
            started_at: Some(self.now.wall - Duration::from_secs(1)),
            finished_at: self.now.wall,
            message: String::new(),
        };
        self.run(name, attempt, state)
    }

    fn see(&mut self) -> &mut Self {
        self.serial += 1;
        let seen = Seen { serial: self.serial, until: self.serial, result: Ok(Some(self.sandbox.clone())) };
        self.memory.see(seen, self.pod.as_ref(), self.now, &self.rng);
        self
    }

    fn apply(&mut self, done: Done) -> Vec<String> {
        let judge =
            Judge { pod: self.pod.as_ref(), now: self.now, rng: &self.rng, ending: false, together: false };
        self.memory.apply(done, judge).into_iter().map(|n| n.reason.to_owned()).collect()
    }

    fn view(&self) -> View<'_> {
        View {
            pod: self.pod.as_ref(),
            memory: &self.memory,
            shutdown: false,
            now: self.now,
            drain_limit: Duration::from_secs(5),
        }
    }

    fn plan(&self) -> Plan {
        let view = self.view();
        plan(&view, ending(&view).as_ref())
    }

    /// The plan's actions, in short; and the seconds until the next look.
    fn does(&self) -> Vec<String> {
        let plan = self.plan();
        let cancels = plan.cancel.iter().map(|key| format!("cancel {key:?}"));
        let actions = plan.actions.iter().map(|action| match action {
            Action::Start { container, attempt } => format!("start {container} {attempt}"),
            Action::Stop { id, deadline, floor, .. } => {
                format!("stop {id} {}s {}s", (*deadline - self.now.instant).as_secs(), floor.as_secs())
            }
            Action::RunSandbox { attempt } => format!("run sandbox {attempt}"),
            Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
            Action::StopSandbox { id } => format!("stop sandbox {id}"),
            Action::RemoveContainer { id } => format!("remove {id}"),
            Action::Probe { container, kind, .. } => format!("probe {container} {kind}"),
            other => format!("{other:?}").split_whitespace().next().unwrap_or_default().to_lowercase(),
        });
        cancels.chain(actions).collect()
    }

    fn wakes_in(&self) -> Option<Duration> {
        self.plan().wake.map(|at| at.saturating_duration_since(self.now.instant))
    }

    fn phase(&mut self) -> PodPhase {
        let view = self.view();
        let facts = NodeFacts { host_ip: None, runtime: "sim" };
        let new = status(&view, self.pod.as_ref().unwrap(), ending(&view).as_ref(), facts);
        let phase = new.phase;
        self.pod.as_mut().unwrap().status = new;
        phase
    }

    fn delete(&mut self, grace: u64) -> &mut Self {
        let meta = &mut self.pod.as_mut().unwrap().metadata;
        meta.deletion_timestamp = Some(self.now.wall);
        meta.deletion_grace_period_seconds = Some(grace);
        self
    }

    fn busy(&mut self, key: OpKey, brings_up: bool) -> &mut Self {
        self.memory.busy.insert(key, Busy { serial: 0, brings_up, deadline: None, abort: None });
        self
    }
}

fn c(name: &str) -> Container {
    Container::new(name, "img:1")
}

fn spec() -> PodSpec {
    PodSpec::new(c("web"))
}

#[test]
fn a_pod_comes_up_step_by_step() {
    let mut case = Case::new(spec());
    assert_eq!(case.does(), ["run sandbox 0"]);
    case.see();
    assert_eq!(case.does(), ["start web 0"]);
    assert_eq!(case.phase(), PodPhase::Pending);
    case.run("web", 0, ContainerState::Created);
    assert_eq!(case.does(), ["start web 0"], "the same run again, where it was created only");
    case.running("web", 0);
    assert!(case.does().is_empty());
    assert_eq!(case.phase(), PodPhase::Running);
    assert!(case.pod.as_ref().unwrap().is_ready());
}

#[test]
fn a_sandbox_that_is_being_run_is_not_looked_for_meanwhile() {
    let mut case = Case::new(spec());
    case.busy(OpKey::Sandbox, false);
    case.memory.changed_serial = case.serial + 1;
    assert!(case.does().is_empty(), "its own start is what has changed");
    case.memory.busy.clear();
    assert_eq!(case.does(), ["observe"]);
}

#[test]
fn one_thing_at_a_time_for_one_container() {
    let mut case = Case::new(spec().with_container(c("log")));
    case.see();
    case.busy(OpKey::Container("web".into()), true);
    assert_eq!(case.does(), ["start log 0"]);
}

#[test]
fn init_containers_run_in_order_and_once() {
    let mut case = Case::new(spec().init_container(c("a")).sidecar(c("side")).init_container(c("b")));
    case.see();
    assert_eq!(case.does(), ["start a 0"]);
    case.running("a", 0);
    assert!(case.does().is_empty());
    case.exited("a", 0, 0);
    assert_eq!(case.does(), ["start side 0"]);
    case.running("side", 0);
    assert_eq!(case.does(), ["start b 0"]);
    case.exited("b", 0, 1);
    assert_eq!(case.does(), ["start b 1"], "the first restart is immediate");
    case.exited("b", 1, 0);
    assert_eq!(case.does(), ["start web 0"]);
    case.running("web", 0);
    // Somebody prunes what has exited.
    case.sandbox.containers.retain(|run| run.state.is_running());
    case.see();
    assert!(case.does().is_empty(), "what succeeded is not run again");
    // A sidecar is kept up, without the inits running again.
    case.exited("side", 0, 0);
    assert_eq!(case.does(), ["start side 1"]);
    assert_eq!(case.phase(), PodPhase::Running);
}

#[test]
fn a_sidecar_with_a_startup_probe_holds_back_what_comes_after() {
    let mut case = Case::new(spec().sidecar(c("side").startup(Probe::tcp(80))));
    case.see().running("side", 0);
    assert_eq!(case.does(), ["probe side Startup"]);
    let outcome = ProbeOutcome::Success;
    case.apply(Done::Probed { container: "side".into(), attempt: 0, kind: ProbeKind::Startup, outcome });
    assert_eq!(case.does(), ["start web 0"]);
}

#[test]
fn restarts_follow_policy_and_back_off() {
    for (policy, code, restarts, phase) in [
        (RestartPolicy::Always, 0, true, PodPhase::Running),
        (RestartPolicy::Always, 1, true, PodPhase::Running),
        (RestartPolicy::OnFailure, 1, true, PodPhase::Running),
        (RestartPolicy::OnFailure, 0, false, PodPhase::Succeeded),
        (RestartPolicy::Never, 1, false, PodPhase::Failed),
        (RestartPolicy::Never, 0, false, PodPhase::Succeeded),
    ] {
        let mut case = Case::new(spec().restart_policy(policy));
        case.see().running("web", 0).exited("web", 0, code);
        let expected = if restarts { "start web 1" } else { "stop sandbox s0" };
        assert_eq!(case.does(), [expected], "{policy:?} {code}");
        assert_eq!(case.phase(), phase, "{policy:?} {code}");
    }
    let mut case = Case::new(spec());
    case.see();
    for (attempt, wait) in [(0, 0), (1, 10), (2, 20), (3, 40)] {
        case.running("web", attempt).exited("web", attempt, 1);
        if wait > 0 {
            assert_eq!(case.wakes_in(), Some(Duration::from_secs(wait)), "{attempt}");
            case.phase();
            let status = &case.pod.as_ref().unwrap().status.container_statuses[0];
            assert_eq!(status.state.waiting().unwrap().reason, "CrashLoopBackOff");
            assert_eq!(status.restart_count, attempt);
            assert_eq!(status.last_state.terminated.as_ref().unwrap().exit_code, 1);
        }
        case.pass(Duration::from_secs(wait));
        assert!(case.does().contains(&format!("start web {}", attempt + 1)), "{:?}", case.does());
    }
}

#[test]
fn only_the_last_two_runs_are_kept() {
    let mut case = Case::new(spec());
    case.see().exited("web", 0, 1).exited("web", 1, 1).running("web", 2);
    assert_eq!(case.does(), ["remove web-0"]);
}

#[test]
fn a_lost_sandbox_is_replaced_and_its_inits_run_again() {
    let mut case = Case::new(spec().init_container(c("a")));
    case.see().exited("a", 0, 0).running("web", 0);
    case.sandbox.state = SandboxState::NotReady;
    case.exited("web", 0, 137);
    assert_eq!(case.does(), ["remove sandbox s0"]);
    case.apply(Done::SandboxRemoved { id: SandboxId("s0".into()), result: Ok(()) });
    assert_eq!(case.does(), ["run sandbox 1"]);
    case.sandbox =
        SandboxStatus::new(SandboxId("s1".into()), "shop".into(), "web".into(), Uid::from("u1"), 1);
    case.apply(Done::SandboxRun(Ok(case.sandbox.clone())));
    assert_eq!(case.does(), ["start a 1"]);
    case.exited("a", 1, 0);
    assert_eq!(case.does(), ["start web 1"], "the restart count goes on");
}

#[test]
fn a_sandbox_that_was_read_while_it_was_made_is_read_again_and_not_replaced() {
    let mut case = Case::new(spec());
    let ready = case.sandbox.clone();
    case.sandbox.state = SandboxState::NotReady;
    let see = |case: &mut Case, serial, until, sandbox: &SandboxStatus| {
        let seen = Seen { serial, until, result: Ok(Some(sandbox.clone())) };
        case.memory.see(seen, case.pod.as_ref(), case.now, &case.rng);
    };
    let made = case.sandbox.clone();
    see(&mut case, 2, 3, &made);
    case.apply(Done::SandboxRun(Ok(ready.clone())));
    see(&mut case, 1, 4, &ready);
    assert_eq!(case.does(), ["observe"]);
    see(&mut case, 5, 6, &ready);
    assert_eq!(case.does(), ["start web 0"]);
}

#[test]
fn a_pod_that_never_restarts_does_not_run_again_after_a_reboot() {
    let mut case = Case::new(spec().restart_policy(RestartPolicy::Never));
    case.see().running("web", 0);
    case.serial += 1;
    let seen = Seen { serial: case.serial, until: case.serial, result: Ok(None) };
    case.memory.see(seen, case.pod.as_ref(), case.now, &case.rng);
    assert!(case.does().is_empty());
    assert_eq!(case.phase(), PodPhase::Failed);
    assert!(case.does().is_empty());
}

#[test]
fn a_reading_that_was_begun_before_another_had_ended_is_not_used_and_things_are_read_again() {
    let mut case = Case::new(spec());
    case.see();
    let before = case.sandbox.clone();
    case.running("web", 0);
    // While that one was under way from 7 to 9, this one began, and was answered as things were earlier.
    let see = |case: &mut Case, serial, until, sandbox: &SandboxStatus| {
        let seen = Seen { serial, until, result: Ok(Some(sandbox.clone())) };
        case.memory.see(seen, case.pod.as_ref(), case.now, &case.rng);
    };
    let running = case.sandbox.clone();
    see(&mut case, 7, 9, &running);
    see(&mut case, 8, 10, &before);
    assert_eq!(case.does(), ["observe"], "the container is not taken for lost, nor started a second time");
    see(&mut case, 11, 12, &running);
    assert!(case.does().is_empty());
}

#[test]
fn deletion_drains_before_it_stops_and_stops_sidecars_last() {
    let mut case = Case::new(spec().with_container(c("app")).sidecar(c("s1")).sidecar(c("s2")));
    case.see().running("s1", 0).running("s2", 0).running("web", 0).running("app", 0).delete(30);
    assert_eq!(case.does(), ["drain"]);
    case.busy(OpKey::Drain, false);
    assert!(case.does().is_empty());
    case.memory.busy.clear();
    case.apply(Done::Drained { acknowledged: true });
    assert_eq!(case.does(), ["stop web-0 30s 2s", "stop app-0 30s 2s"]);
    case.memory.stopping_since = Some(case.now.instant);
    case.pass(Duration::from_secs(10)).exited("web", 0, 143).exited("app", 0, 143);
    assert_eq!(case.does(), ["stop s2-0 20s 2s"]);
    case.exited("s2", 0, 143);
    assert_eq!(case.does(), ["stop s1-0 20s 2s"]);
    case.exited("s1", 0, 143);
    assert_eq!(case.does(), ["remove sandbox s0"]);
    case.memory.files = true;
    case.apply(Done::SandboxRemoved { id: SandboxId("s0".into()), result: Ok(()) });
    assert_eq!(case.does(), ["removefiles"]);
    case.apply(Done::FilesRemoved(Ok(())));
    assert_eq!(case.does(), ["deletepod"]);
    // Files that can't be removed hold nobody for ever.
    case.memory.files = true;
    for _ in 0..10 {
        if case.does() == ["deletepod"] {
            break;
        }
        let told = case.apply(Done::FilesRemoved(Err("it is somebody else's".to_owned())));
        assert_eq!(told, ["FailedCleanup"]);
        case.pass(Duration::from_secs(60));
    }
    assert_eq!(case.does(), ["deletepod"]);
    case.apply(Done::PodDeleted(Ok(())));
    assert!(case.does().is_empty(), "finalizers may hold the object; nothing is left to do here");
    case.pod = None;
    assert_eq!(case.does(), ["forget"]);
}

#[test]
fn a_runtime_whose_clock_is_behind_makes_nothing_come_sooner() {
    let mut web = Container::new("web", "img");
    web.liveness_probe = Some(Probe { initial_delay_seconds: 60, ..Probe::http("/", 80) });
    let mut case = Case::new(PodSpec::new(web));
    let behind = Duration::from_secs(3600);
    let clocks = |case: &Case| (case.now.wall - behind, case.now.instant);
    for attempt in 0..3 {
        case.see();
        let (started_at, begun) = clocks(&case);
        case.memory.container_mut("web").begun = Some((attempt, begun));
        case.run("web", attempt, ContainerState::Running { started_at });
        assert!(!case.does().iter().any(|action| action.starts_with("probe")), "{:?}", case.does());
        case.pass(Duration::from_secs(1));
        let finished_at = case.now.wall - behind;
        let (signal, oom_killed, message) = (None, false, String::new());
        let started_at = Some(started_at);
        case.run(
            "web",
            attempt,
            ContainerState::Exited { exit_code: 1, signal, oom_killed, started_at, finished_at, message },
        );
    }
    assert!(!case.does().iter().any(|action| action.starts_with("start")), "it waits: {:?}", case.does());
    let (at, delay) = case.memory.container("web").restart.unwrap();
    assert_eq!(delay, Duration::from_secs(20));
    assert!(at + Duration::from_secs(1) >= case.now.instant + delay);
}

#[test]
fn a_grace_beyond_all_time_is_a_long_one() {
    let mut case = Case::new(spec());
    case.pod.as_mut().unwrap().spec_mut().termination_grace_period_seconds = u64::MAX;
    case.see().running("web", 0);
    case.memory.containers.get_mut("web").unwrap().kill = Some(Kill { grace: None });
    assert_eq!(case.plan().actions.len(), 1);
    case.delete(u64::MAX);
    case.memory.drained = true;
    assert_eq!(case.plan().actions.len(), 1);
}

#[test]
fn deletion_gives_up_what_brings_up_and_looks_what_came_of_it() {
    let mut case = Case::new(spec());
    case.see().busy(OpKey::Container("web".into()), true).delete(30);
    assert_eq!(case.does(), ["cancel Container(\"web\")"]);
    case.memory.busy.clear();
    case.memory.changed_serial = case.serial + 1;
    assert_eq!(case.does(), ["observe"]);
    // A sandbox that is being run is waited for: it has no id to be found by.
    let mut case = Case::new(spec());
    case.busy(OpKey::Sandbox, false).delete(30);
    assert!(case.does().is_empty());
}

#[test]
fn a_shorter_grace_replaces_the_stop_under_way() {
    let mut case = Case::new(spec());
    case.see().running("web", 0).delete(30);
    case.memory.drained = true;
    case.memory.stopping_since = Some(case.now.instant);
    let deadline = Some(case.now.instant + Duration::from_secs(30));
    let busy = Busy { serial: 1, brings_up: false, deadline, abort: None };
    case.memory.busy.insert(OpKey::Container("web".into()), busy);
    assert!(case.does().is_empty());
    case.delete(5);
    assert_eq!(case.does(), ["cancel Container(\"web\")", "stop web-0 5s 2s"]);
    case.pod = None;
    assert_eq!(case.does(), ["cancel Container(\"web\")", "stop web-0 1s 1s"], "gone from the store");
}

#[test]
fn no_probe_restarts_what_is_being_deleted() {
    let mut case = Case::new(PodSpec::new(c("web").liveness(Probe::tcp(80).failures(1))));
    case.see().running("web", 0);
    assert_eq!(case.does(), ["probe web Liveness"]);
    let fail = |case: &mut Case| {
        let outcome = ProbeOutcome::Failure("no".into());
        case.apply(Done::Probed { container: "web".into(), attempt: 0, kind: ProbeKind::Liveness, outcome })
    };
    assert_eq!(fail(&mut case), ["Unhealthy", "Killing"]);
    assert_eq!(case.does(), ["stop web-0 30s 2s"]);
    case.delete(30);
    assert_eq!(case.does(), ["drain"], "deletion has its own order");
    assert!(!case.does().iter().any(|a| a.starts_with("probe")));
    case.phase();
    assert!(!case.pod.as_ref().unwrap().is_ready());
}

#[test]
fn start_failures_wait_for_what_they_need() {
    let mut case = Case::new(spec());
    case.see();
    let started = |error| Done::Started { container: "web".into(), attempt: 0, result: Err(error) };
    let pull = || StartError::Pull { reason: "ErrImagePull", message: "no such image".into() };
    assert_eq!(case.apply(started(pull())), ["Failed"]);
    assert_eq!(case.wakes_in(), Some(Duration::from_secs(10)));
    case.pass(Duration::from_secs(10));
    assert_eq!(case.does(), ["start web 0"]);
    case.apply(started(pull()));
    assert_eq!(case.wakes_in(), Some(Duration::from_secs(20)));
    case.phase();
    let status = &case.pod.as_ref().unwrap().status.container_statuses[0];
    assert_eq!(status.state.waiting().unwrap().reason, "ImagePullBackOff");
    case.pass(Duration::from_secs(20));
    case.apply(started(StartError::Config { message: "config map x does not exist".into() }));
    assert!(case.does().is_empty());
    assert_eq!(case.wakes_in(), None, "it is not polled");
    case.memory.container_mut("web").trouble = None;
    assert_eq!(case.does(), ["start web 0"]);
    // A program that can't be run has ended, and is restarted as any other.
    case.apply(started(StartError::Run { message: "no such program".into() }));
    assert_eq!(case.does(), ["start web 1"]);
}

#[test]
fn adoption_keeps_what_runs_and_what_was_ready() {
    let probed = c("web").readiness(Probe::tcp(80)).startup(Probe::tcp(80));
    let mut case = Case::new(PodSpec::new(probed).init_container(c("a")));
    case.see().exited("a", 0, 0).running("web", 2);
    for kind in [ProbeKind::Startup, ProbeKind::Readiness] {
        let outcome = ProbeOutcome::Success;
        case.apply(Done::Probed { container: "web".into(), attempt: 2, kind, outcome });
    }
    case.phase();
    assert!(case.pod.as_ref().unwrap().is_ready());
    // The agent dies; somebody prunes the init container; another agent comes.
    case.sandbox.containers.retain(|run| run.state.is_running());
    let mut memory = Memory::default();
    memory.adopt(case.pod.as_ref(), vec![case.sandbox.clone()], 1, case.now, &case.rng);
    case.memory = memory;
    case.phase();
    assert!(case.pod.as_ref().unwrap().is_ready(), "readiness is carried over");
    assert!(!case.does().iter().any(|a| a.starts_with("start")), "{:?}", case.does());
    assert_eq!(case.pod.as_ref().unwrap().status.container_statuses[0].restart_count, 2);
}

#[test]
fn adoption_carries_the_back_off_over() {
    let mut case = Case::new(spec());
    case.see();
    for attempt in 0..3 {
        case.running("web", attempt).exited("web", attempt, 1);
    }
    case.phase();
    let mut memory = Memory::default();
    memory.adopt(case.pod.as_ref(), vec![case.sandbox.clone()], 1, case.now, &case.rng);
    case.memory = memory;
    assert_eq!(case.wakes_in(), Some(Duration::from_secs(20)));
}

#[test]
fn phases_never_go_back_and_terminal_ones_are_final() {
    let mut case = Case::new(spec().restart_policy(RestartPolicy::Never));
    case.see().running("web", 0);
    assert_eq!(case.phase(), PodPhase::Running);
    case.exited("web", 0, 3);
    assert_eq!(case.phase(), PodPhase::Failed);
    // Whatever the runtime says later.
    case.running("web", 1);
    assert_eq!(case.phase(), PodPhase::Failed);
    assert_eq!(case.does(), ["stop web-1 30s 2s"], "a copy that should not be there is stopped");
}

#[test]
fn the_deadline_fails_the_pod_when_everything_is_stopped() {
    let mut spec = spec();
    spec.active_deadline_seconds = Some(60);
    let mut case = Case::new(spec);
    case.see().running("web", 0);
    case.phase();
    assert_eq!(case.wakes_in(), Some(Duration::from_secs(60)));
    case.pass(Duration::from_secs(60));
    assert_eq!(case.does(), ["drain"]);
    assert_eq!(case.phase(), PodPhase::Running, "not failed before it is stopped");
    case.memory.drained = true;
    case.exited("web", 0, 143);
    assert_eq!(case.phase(), PodPhase::Failed);
    assert_eq!(case.pod.as_ref().unwrap().status.reason, "DeadlineExceeded");
}

#[test]
fn an_init_container_that_failed_for_good_fails_the_pod() {
    let mut case = Case::new(spec().init_container(c("a")).restart_policy(RestartPolicy::Never));
    case.see().exited("a", 0, 1);
    assert_eq!(case.does(), ["stop sandbox s0"]);
    assert_eq!(case.phase(), PodPhase::Failed);
}

#[test]
fn what_nobody_knows_is_asked_before_anything_is_done() {
    let mut case = Case::new(spec());
    case.memory.observed = Observed::Unknown;
    assert_eq!(case.does(), ["observe"]);
    let error = crate::runtime::RuntimeError::Unavailable { runtime: "sim".into(), source: "gone".into() };
    case.memory.see(Seen { serial: 1, until: 1, result: Err(error) }, case.pod.as_ref(), case.now, &case.rng);
    assert!(case.does().is_empty());
    assert!(case.wakes_in().is_some_and(|wait| wait > Duration::ZERO));
}

#[test]
fn the_status_of_a_pod_that_is_gone_is_not_written_again_at_once() {
    let mut case = Case::new(spec());
    case.see().running("web", 0);
    let key = crate::model::ObjectKey::of(case.pod.as_ref().unwrap());
    let gone = || Done::StatusWritten(Err(crate::client::ClientError::NotFound(key.clone())));
    let retry = |case: &Case| case.memory.status_trouble.as_ref().and_then(|trouble| trouble.retry).unwrap();
    case.apply(gone());
    let first = retry(&case) - case.now.instant;
    case.apply(gone());
    assert!(first > Duration::ZERO && retry(&case) - case.now.instant > first);
}

#[test]
fn a_long_run_whose_end_nobody_knows_ends_a_series() {
    let mut case = Case::new(spec());
    case.see();
    for attempt in 0..5 {
        case.running("web", attempt);
        case.pass(crate::node::CRASH_BACKOFF_RESET).run("web", attempt, ContainerState::Unknown);
        assert_eq!(case.does().first(), Some(&format!("start web {}", attempt + 1)));
    }
}
