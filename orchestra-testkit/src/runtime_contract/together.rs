//! All at once.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::join_all;
use orchestra_core::runtime::{EventStream, Runtime, RuntimeEvent, SandboxId};

use super::case::DEADLINE;
use super::{Case, Program};

/// Waits for an event of a pod, which may come more than once.
async fn told(events: &mut EventStream, sandbox: &SandboxId) {
    let told = async {
        loop {
            match events.next().await.expect("the runtime is there") {
                RuntimeEvent::PodChanged { sandbox: of, .. }
                | RuntimeEvent::ContainerChanged { sandbox: of, .. }
                    if of == *sandbox =>
                {
                    return;
                }
                RuntimeEvent::Lost => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, told).await.expect("an event");
}

pub(super) async fn events_tell_of_starts_and_exits(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let sandbox = case.run_sandbox().await.id;
    let container = case.create(&sandbox, &case.program(&Program::Sleep)).await;
    let (mut first, mut second) =
        (runtime.events().await.expect("events"), runtime.events().await.expect("events"));
    runtime.start_container(&container).await.expect("start_container");
    told(&mut first, &sandbox).await;
    told(&mut second, &sandbox).await;
    let mut late = runtime.events().await.expect("events");
    runtime.stop_sandbox(&sandbox).await.expect("stop_sandbox");
    for events in [&mut first, &mut second, &mut late] {
        told(events, &sandbox).await;
    }
}

pub(super) async fn list_is_ordered_and_agrees_with_sandbox(case: &Case<'_>) {
    for name in ["b", "a", "c"] {
        let sandbox = case.run_sandbox().await.id;
        case.create(&sandbox, &case.subject.container(name, &Program::Sleep)).await;
        case.create(&sandbox, &case.subject.container("z", &Program::Sleep)).await;
    }
    let list = case.runtime().await.list().await.expect("list");
    assert_eq!(list.len(), 3);
    assert!(list.is_sorted_by(|a, b| a.id < b.id));
    for sandbox in &list {
        assert_eq!(case.sandbox(&sandbox.id).await, *sandbox);
        assert!(sandbox.containers.is_sorted_by(|a, b| (&a.name, a.attempt) < (&b.name, b.attempt)));
    }
}

pub(super) async fn many_pods_at_once(case: &Case<'_>) {
    let runtime = case.runtime().await;
    let pods = join_all((0..20).map(|_| case.run(&Program::Sleep))).await;
    let list = runtime.list().await.expect("list");
    assert_eq!(list.len(), pods.len());
    assert!(list.iter().all(|sandbox| sandbox.containers[0].state.is_running()));
    let mut ips: Vec<_> = list.iter().filter_map(|sandbox| sandbox.ip).collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), pods.len(), "every pod has its own address");
    let (stopped, rest) = pods.split_at(10);
    for removed in join_all(stopped.iter().map(|(sandbox, _)| runtime.remove_sandbox(sandbox))).await {
        removed.expect("remove_sandbox");
    }
    let left = runtime.list().await.expect("list");
    assert_eq!(left.len(), rest.len());
    assert!(left.iter().all(|sandbox| sandbox.containers[0].state.is_running()), "a neighbour was hurt");
}

/// Begins a call and drops it after some polls.
async fn drop_after<T>(polls: usize, call: impl Future<Output = T>) {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        let ready = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
        if ready {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_dropped_call_can_be_repeated(case: &Case<'_>) {
    let runtime: std::sync::Arc<dyn Runtime> = case.runtime().await;
    for polls in 0..4 {
        let pod = case.pod();
        drop_after(polls, runtime.run_sandbox(&pod)).await;
        let sandbox = runtime.run_sandbox(&pod).await.expect("repeated run_sandbox").id;
        let spec = case.program(&Program::Sleep);
        runtime.pull_image(&spec.image, None, &|_| {}).await.expect("pull_image");
        drop_after(polls, runtime.create_container(&sandbox, &spec)).await;
        let container = runtime.create_container(&sandbox, &spec).await.expect("repeated create_container");
        drop_after(polls, runtime.start_container(&container)).await;
        runtime.start_container(&container).await.expect("repeated start_container");
        let status = case.sandbox(&sandbox).await;
        assert_eq!(status.containers.len(), 1);
        assert!(status.containers[0].state.is_running());
        drop_after(polls, runtime.stop_sandbox(&sandbox)).await;
        runtime.stop_sandbox(&sandbox).await.expect("repeated stop_sandbox");
        assert!(case.container(&sandbox, &container).await.state.is_over());
        drop_after(polls, runtime.remove_sandbox(&sandbox)).await;
        runtime.remove_sandbox(&sandbox).await.expect("repeated remove_sandbox");
    }
    assert!(runtime.list().await.expect("list").is_empty());
}

pub(super) async fn stats_tell_of_what_runs(case: &Case<'_>) {
    let runtime = case.runtime().await;
    assert!(runtime.stats().await.expect("stats").is_empty());
    let (busy_pod, busy) = case.run(&Program::LinesForEver).await;
    let (_, idle) = case.run(&Program::Sleep).await;
    let mut before = 0;
    let grows = async {
        // Two readings that each show more than the one before.
        let mut growths = 0;
        while growths < 2 {
            let stats = runtime.stats().await.expect("stats");
            assert_eq!(stats.len(), 2);
            assert!(stats.iter().all(|stats| stats.pids >= 1), "{stats:?}");
            let cpu = stats.iter().find(|stats| stats.id == busy).expect("the busy one").cpu_nanos;
            assert!(cpu >= before, "the CPU time went back");
            growths += usize::from(cpu > before);
            before = cpu;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, grows).await.expect("a busy container uses CPU");
    runtime.stop_sandbox(&busy_pod).await.expect("stop_sandbox");
    let left = runtime.stats().await.expect("stats");
    assert_eq!(left.iter().map(|stats| &stats.id).collect::<Vec<_>>(), vec![&idle]);
}
