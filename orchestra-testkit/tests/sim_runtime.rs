//! The simulated runtime keeps the contract, and its faults are what they say.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerSpec, Runtime, RuntimeError, RuntimeEvent, SandboxSpec};
use orchestra_testkit::runtime_contract::{self, Capabilities, Program, RuntimeUnderTest};
use orchestra_testkit::sim_runtime::{SimFault, SimOp, SimProgram, SimRuntime, SimStop, SimWhat};

#[derive(Debug, Default)]
struct Subject(Mutex<BTreeMap<String, SimRuntime>>);

#[async_trait]
impl RuntimeUnderTest for Subject {
    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::none();
        (can.stats, can.survives) = (true, true);
        can
    }

    async fn open(&self, cluster: &str) -> Arc<dyn Runtime> {
        let mut worlds = self.0.lock().unwrap();
        let runtime = worlds.entry(cluster.to_owned()).or_insert_with(|| {
            let runtime = SimRuntime::new(1);
            runtime.image("sleep", SimProgram::service());
            runtime.image("ignore", SimProgram::service().on_stop(SimStop::Ignores));
            for code in 0..=255 {
                runtime.image(format!("exit-{code}"), SimProgram::job(code));
            }
            runtime
        });
        Arc::new(runtime.clone())
    }

    fn container(&self, name: &str, program: &Program) -> ContainerSpec {
        let image = match program {
            Program::Exit(code) => format!("exit-{code}"),
            Program::IgnoreStop => "ignore".to_owned(),
            _ => "sleep".to_owned(),
        };
        ContainerSpec::new(name, image)
    }

    fn exec_command(&self, _: &Program) -> Vec<String> {
        vec!["true".to_owned()]
    }
}

#[tokio::test]
async fn the_contract_is_kept() {
    runtime_contract::run(&Subject::default()).await;
}

async fn running(runtime: &SimRuntime) -> (SandboxSpec, orchestra_core::runtime::ContainerId) {
    runtime.image("img", SimProgram::service());
    runtime.pull_image(&"img".into(), None, &|_| {}).await.unwrap();
    let spec = SandboxSpec::new("shop", "web", Uid::from("u1"));
    let sandbox = runtime.run_sandbox(&spec).await.unwrap();
    let container = runtime.create_container(&sandbox.id, &ContainerSpec::new("web", "img")).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    (spec, container)
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_effect_and_a_failure_does_not() {
    let runtime = SimRuntime::new(1);
    let spec = SandboxSpec::new("shop", "web", Uid::from("u1"));
    runtime.fail_next(SimOp::RunSandbox, SimFault::Before);
    assert!(matches!(runtime.run_sandbox(&spec).await, Err(RuntimeError::Failed { .. })));
    assert_eq!(runtime.sandboxes(), 0);
    runtime.fail_next(SimOp::RunSandbox, SimFault::After);
    assert!(runtime.run_sandbox(&spec).await.unwrap_err().outcome_unknown());
    assert_eq!(runtime.sandboxes(), 1);
    runtime.run_sandbox(&spec).await.unwrap();
    assert_eq!(runtime.sandboxes(), 1);
    runtime.fail_next(SimOp::Read, SimFault::Hang);
    let (list, ()) = tokio::join!(runtime.list(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        runtime.heal();
    });
    assert!(list.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_stop_signal_comes_before_the_kill_by_the_grace() {
    let runtime = SimRuntime::new(1);
    runtime.image("deaf", SimProgram::service().on_stop(SimStop::Ignores));
    let (spec, _) = running(&runtime).await;
    runtime.pull_image(&"deaf".into(), None, &|_| {}).await.unwrap();
    let sandbox = runtime.run_sandbox(&spec).await.unwrap();
    let deaf = runtime.create_container(&sandbox.id, &ContainerSpec::new("deaf", "deaf")).await.unwrap();
    runtime.start_container(&deaf).await.unwrap();
    runtime.stop_container(&deaf, Duration::from_secs(7)).await.unwrap();
    let records: Vec<_> = runtime.records().into_iter().filter(|r| &*r.container == "deaf").collect();
    let at = |what: &SimWhat| records.iter().find(|r| r.what == *what).unwrap().at;
    let signal = at(&SimWhat::StopSignal { grace: Duration::from_secs(7) });
    assert_eq!(at(&SimWhat::Killed).since(signal), Duration::from_secs(7));
    assert_eq!(runtime.live().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exit_tells_itself_at_its_time() {
    let runtime = SimRuntime::new(1);
    runtime.image("img", SimProgram::job(3).lasting(Duration::from_secs(9)));
    runtime.pull_image(&"img".into(), None, &|_| {}).await.unwrap();
    let mut events = runtime.events().await.unwrap();
    let start = tokio::time::Instant::now();
    let sandbox = runtime.run_sandbox(&SandboxSpec::new("shop", "web", Uid::from("u1"))).await.unwrap();
    let id = runtime.create_container(&sandbox.id, &ContainerSpec::new("web", "img")).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(events.next().await, Some(RuntimeEvent::PodChanged { .. })));
    }
    assert_eq!(start.elapsed(), Duration::from_secs(9), "sandbox, start, and then the exit");
    assert_eq!(runtime.records().last().unwrap().what, SimWhat::Exited { code: 3 });
}

#[tokio::test(start_paused = true)]
async fn a_reboot_leaves_nothing_alive() {
    let runtime = SimRuntime::new(1);
    running(&runtime).await;
    let mut events = runtime.events().await.unwrap();
    runtime.reboot();
    assert!(runtime.live().is_empty());
    loop {
        match events.next().await {
            Some(RuntimeEvent::Lost) => break,
            Some(_) => {}
            None => panic!("the events end"),
        }
    }
    let list = runtime.list().await.unwrap();
    assert_eq!(list.len(), 1);
    assert!(list[0].ip.is_none() && list[0].containers[0].state.is_over());
}
