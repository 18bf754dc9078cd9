//! The life of sandboxes and containers.

use std::time::Duration;

use orchestra_core::runtime::{
    ContainerId, ContainerState, ExecOptions, LogOptions, RuntimeError, SandboxId, SandboxState,
};

use super::case::{GRACE, next, text};
use super::{Case, Program};

pub(super) async fn info_describes_the_host(case: &Case<'_>) {
    let info = case.runtime().await.info().await.expect("info");
    assert!(
        !info.name.is_empty() && info.cpu_milli > 0 && info.memory > 0 && !info.os.is_empty(),
        "{info:?}"
    );
}

pub(super) async fn a_repeated_run_sandbox_finds_the_first(case: &Case<'_>) {
    let (runtime, spec) = (case.runtime().await, case.pod());
    let first = runtime.run_sandbox(&spec).await.expect("run_sandbox");
    let (second, third) = tokio::join!(runtime.run_sandbox(&spec), runtime.run_sandbox(&spec));
    assert_eq!(second.expect("repeated run_sandbox"), first);
    assert_eq!(third.expect("repeated run_sandbox"), first);
    assert_eq!(runtime.list().await.expect("list"), vec![first.clone()]);
    let mut next = spec.clone();
    next.attempt += 1;
    let next = runtime.run_sandbox(&next).await.expect("run_sandbox of the next attempt");
    assert_ne!(next.id, first.id, "the next attempt is a sandbox of its own");
}

pub(super) async fn a_repeated_create_finds_the_first(case: &Case<'_>) {
    let (runtime, sandbox) = (case.runtime().await, case.run_sandbox().await.id);
    let spec = case.program(&Program::Sleep);
    let first = case.create(&sandbox, &spec).await;
    let (second, third) =
        tokio::join!(runtime.create_container(&sandbox, &spec), runtime.create_container(&sandbox, &spec));
    assert_eq!(
        (second.expect("repeated create"), third.expect("repeated create")),
        (first.clone(), first.clone())
    );
    let status = case.sandbox(&sandbox).await;
    assert_eq!(status.containers.len(), 1);
    assert_eq!(status.containers[0].state, ContainerState::Created);
    assert_eq!(status.containers[0].image, spec.image);
}

pub(super) async fn every_step_can_be_repeated(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let (sandbox, container) = case.run(&Program::Sleep).await;
    runtime.start_container(&container).await.expect("start of a running container");
    assert!(case.container(&sandbox, &container).await.state.is_running());
    for _ in 0..2 {
        runtime.stop_container(&container, GRACE).await.expect("stop_container");
    }
    for _ in 0..2 {
        runtime.remove_container(&container).await.expect("remove_container");
    }
    for _ in 0..2 {
        runtime.stop_sandbox(&sandbox).await.expect("stop_sandbox");
    }
    for _ in 0..2 {
        runtime.remove_sandbox(&sandbox).await.expect("remove_sandbox");
    }
}

pub(super) async fn a_started_container_runs_or_has_run(case: &Case<'_>) {
    for program in [Program::Sleep, Program::Exit(0)] {
        let (sandbox, container) = case.run(&program).await;
        let status = case.container(&sandbox, &container).await;
        assert!(!matches!(status.state, ContainerState::Created), "{program:?}: {:?}", status.state);
        if let ContainerState::Running { started_at } = status.state {
            assert!(started_at >= status.created_at);
        }
    }
}

pub(super) async fn an_exit_code_is_kept_and_nothing_runs_twice(case: &Case<'_>) {
    for code in [0, 7] {
        let (sandbox, container) = case.run(&Program::Exit(code)).await;
        let state = case.ended(&sandbox, &container).await;
        let ContainerState::Exited { exit_code, signal, started_at, finished_at, .. } = &state else {
            panic!("{state:?}")
        };
        assert_eq!((*exit_code, *signal), (code, None));
        assert!(started_at.is_none_or(|started_at| *finished_at >= started_at));
        case.runtime().await.start_container(&container).await.expect("it has run, so starting it succeeds");
        assert_eq!(case.container(&sandbox, &container).await.state, state, "it ran again");
    }
}

pub(super) async fn a_stopped_container_is_dead(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let (sandbox, container) = case.run(&Program::Sleep).await;
    runtime.stop_container(&container, GRACE).await.expect("stop_container");
    let state = case.container(&sandbox, &container).await.state;
    assert!(matches!(state, ContainerState::Exited { exit_code, .. } if exit_code != 137), "{state:?}");
    let created = case.create(&sandbox, &case.subject.container("other", &Program::Sleep)).await;
    runtime.stop_container(&created, GRACE).await.expect("a container that never ran is stopped");
    assert!(!case.container(&sandbox, &created).await.state.is_running());
}

pub(super) async fn who_ignores_the_stop_signal_is_killed_after_the_grace(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::IgnoreStop).await;
    if case.subject.capabilities().logs {
        let mut log = case.logs(&container, &LogOptions { follow: true, ..LogOptions::default() }).await;
        assert_eq!(text(&next(&mut log).await), "ready\n");
    }
    let grace = Duration::from_millis(300);
    let begin = tokio::time::Instant::now();
    case.runtime().await.stop_container(&container, grace).await.expect("stop_container");
    let state = case.container(&sandbox, &container).await.state;
    let ContainerState::Exited { exit_code: 137, signal, .. } = state else { panic!("{state:?}") };
    assert!(signal.is_none_or(|signal| signal == 9));
    assert!(begin.elapsed() >= grace, "killed before its grace was over");
}

pub(super) async fn a_running_container_is_not_removed(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::Sleep).await;
    let removed = case.runtime().await.remove_container(&container).await;
    assert!(matches!(removed, Err(RuntimeError::InUse { .. })), "{removed:?}");
    assert!(case.container(&sandbox, &container).await.state.is_running());
}

pub(super) async fn a_stopped_sandbox_holds_nothing_that_runs(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let (sandbox, container) = case.run(&Program::IgnoreStop).await;
    let created = case.create(&sandbox, &case.subject.container("other", &Program::Sleep)).await;
    runtime.stop_sandbox(&sandbox).await.expect("stop_sandbox");
    let status = case.sandbox(&sandbox).await;
    assert_eq!((status.state, status.ip), (SandboxState::NotReady, None));
    assert!(status.containers.iter().all(|container| !container.state.is_running()));
    assert!(case.container(&sandbox, &container).await.state.is_over());
    assert!(runtime.start_container(&created).await.is_err(), "started in a stopped sandbox");
    let late = runtime.create_container(&sandbox, &case.subject.container("late", &Program::Sleep)).await;
    assert!(late.is_err(), "created in a stopped sandbox");
    assert!(runtime.address(&sandbox, 80).await.is_err(), "a stopped sandbox has no address");
}

pub(super) async fn a_removed_sandbox_is_gone_with_all_in_it(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let (sandbox, container) = case.run(&Program::Sleep).await;
    let (other, _) = case.run(&Program::Sleep).await;
    runtime.remove_sandbox(&sandbox).await.expect("remove_sandbox of a running pod");
    assert!(runtime.sandbox(&sandbox).await.expect("sandbox").is_none());
    assert!(matches!(runtime.logs(&container, &LogOptions::default()).await, Err(RuntimeError::NotFound(_))));
    let left = runtime.list().await.expect("list");
    assert_eq!(left.iter().map(|sandbox| &sandbox.id).collect::<Vec<_>>(), vec![&other]);
    assert!(left[0].containers[0].state.is_running(), "another pod was hurt");
}

pub(super) async fn attempts_are_containers_of_their_own(case: &Case<'_>) {
    let (sandbox, first) = case.run(&Program::Exit(3)).await;
    case.ended(&sandbox, &first).await;
    let mut spec = case.program(&Program::Sleep);
    spec.attempt = 1;
    let second = case.start(&sandbox, &spec).await;
    assert_ne!(first, second);
    let status = case.sandbox(&sandbox).await;
    assert_eq!(status.containers.iter().map(|container| container.attempt).collect::<Vec<_>>(), vec![0, 1]);
    assert!(status.containers[0].state.is_over() && status.containers[1].state.is_running());
    case.runtime().await.remove_container(&first).await.expect("remove_container");
    assert_eq!(case.sandbox(&sandbox).await.containers.len(), 1);
}

pub(super) async fn what_does_not_exist_is_not_found(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let (sandbox, container) = (SandboxId("no-such-sandbox".into()), ContainerId("no-such-container".into()));
    let not_found = |error: RuntimeError| assert!(matches!(error, RuntimeError::NotFound(_)), "{error:?}");
    not_found(runtime.start_container(&container).await.expect_err("start_container"));
    not_found(runtime.create_container(&sandbox, &case.program(&Program::Sleep)).await.expect_err("create"));
    not_found(runtime.address(&sandbox, 80).await.expect_err("address"));
    not_found(runtime.logs(&container, &LogOptions::default()).await.expect_err("logs"));
    let options = ExecOptions { command: vec!["true".to_owned()], ..ExecOptions::default() };
    not_found(runtime.exec(&container, &options).await.expect_err("exec"));
    assert!(runtime.sandbox(&sandbox).await.expect("sandbox").is_none());
    runtime.stop_container(&container, GRACE).await.expect("stopping what is gone");
    runtime.remove_container(&container).await.expect("removing what is gone");
    runtime.stop_sandbox(&sandbox).await.expect("stopping what is gone");
    runtime.remove_sandbox(&sandbox).await.expect("removing what is gone");
}

pub(super) async fn images_are_present_or_not_found(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let known = case.program(&Program::Sleep).image;
    let pulled = runtime.pull_image(&known, None, &|_| {}).await.expect("pull_image");
    assert!(!pulled.id.is_empty());
    assert_eq!(runtime.image(&known).await.expect("image").expect("it is present").id, pulled.id);
    let all = runtime.images().await.expect("images");
    assert!(all.iter().any(|image| image.id == pulled.id), "{all:?}");
    let unknown = "orchestra.invalid/no-such-image:1".into();
    let error = runtime.pull_image(&unknown, None, &|_| {}).await.expect_err("pulling what does not exist");
    assert!(matches!(error, RuntimeError::ImageNotFound { .. }) || error.is_transient(), "{error:?}");
    assert!(runtime.image(&unknown).await.expect("image").is_none());
    let sandbox = case.run_sandbox().await.id;
    let mut spec = case.program(&Program::Sleep);
    spec.image = unknown;
    let error = runtime.create_container(&sandbox, &spec).await.expect_err("a container without an image");
    assert!(matches!(error, RuntimeError::ImageNotFound { .. }), "{error:?}");
    assert!(case.sandbox(&sandbox).await.containers.is_empty());
}

pub(super) async fn a_program_that_does_not_exist_fails_to_start(case: &Case<'_>) {
    let sandbox = case.run_sandbox().await.id;
    let mut spec = case.program(&Program::Sleep);
    spec.command = vec!["/no/such/program".to_owned()];
    let container = case.create(&sandbox, &spec).await;
    let error = case.runtime().await.start_container(&container).await.expect_err("start_container");
    assert!(matches!(error, RuntimeError::Start { .. }) && !error.is_transient(), "{error:?}");
    assert!(!case.container(&sandbox, &container).await.state.is_running());
    case.runtime().await.remove_container(&container).await.expect("remove_container");
}

pub(super) async fn a_termination_message_is_kept(case: &Case<'_>) {
    let (sandbox, container) = case.run(&Program::Say("it was the disk".to_owned())).await;
    let state = case.ended(&sandbox, &container).await;
    let ContainerState::Exited { exit_code: 1, message, .. } = state else { panic!("{state:?}") };
    assert_eq!(message.trim_end(), "it was the disk");
}
