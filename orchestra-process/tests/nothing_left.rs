//! Many pods come and go, and the process and the host are as before. Alone in its program: other tests would open
//! descriptors meanwhile.
#![allow(clippy::unwrap_used, reason = "a test, with helpers")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Host, run, sh};
use orchestra_core::runtime::{ContainerLimits, ExecOptions, Runtime};
use orchestra_process::ProcessRuntime;

fn descriptors() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|entry| {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).ok()?;
        // The directory that is being read is no longer open afterwards.
        (!target.starts_with("/proc")).then(|| format!("{:?} {}", entry.file_name(), target.display()))
    });
    targets.collect()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Counts the bytes that are allocated. What is resident says less: an allocator keeps what was freed, and spreads over
/// more of it as more threads come by.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator can't be made otherwise")]
// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The processes that bear the marker of this state directory's runtime.
fn marked(host: &Host) -> usize {
    let marker = format!("ORCHESTRA_CONTAINER={}/", host.instance());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            std::fs::read(entry.path().join("environ")).is_ok_and(|environ| {
                environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(marker.as_bytes()))
            })
        })
        .count()
}

const PODS: usize = 400;

/// Pods at once.
const ROUND: usize = 25;

/// What a pod may add to the allocated memory, in bytes: its address rests for a minute. All else has a bound.
const MAX_GROWTH: usize = 256;

/// Runs [`ROUND`] pods, every fifth with a limit and every fifth with a program beside it, and removes them.
async fn round(host: &Host, runtime: &ProcessRuntime) {
    let pods = (0..ROUND).map(|number| async move {
        let mut spec = sh("main", "echo hello; exec sleep 1000");
        if number % 5 == 0 {
            spec.limits = ContainerLimits { pids: Some(50), ..ContainerLimits::default() };
        }
        let (sandbox, container) = run(runtime, &spec).await;
        let mut log = common::follow(runtime, &container).await;
        assert_eq!(common::line(&mut log).await.unwrap(), "hello");
        let mut session = None;
        if number % 5 == 1 {
            let command = vec!["sh".to_owned(), "-c".to_owned(), "exec sleep 1000".to_owned()];
            let options = ExecOptions { command, stdin: true, tty: number % 2 == 0 };
            session = Some(runtime.exec(&container, &options).await.unwrap());
        }
        (sandbox, session, log)
    });
    let pods = futures_util::future::join_all(pods).await;
    common::until("all programs run", || marked(host) >= ROUND + ROUND / 5).await;
    let removals = pods.into_iter().map(|(sandbox, session, log)| async move {
        drop((session, log));
        runtime.remove_sandbox(&sandbox).await.unwrap();
    });
    futures_util::future::join_all(removals).await;
}

/// The bytes that are allocated when nothing of the pods is open any more.
async fn at_rest(files: &BTreeSet<String>) -> usize {
    common::until("all descriptors are closed again", || descriptors() == *files).await;
    ALLOCATED.load(Ordering::Relaxed)
}

#[tokio::test]
async fn four_hundred_pods_leave_nothing() {
    let host = Host::new();
    let runtime = host.open();
    // Once, for all that is opened once.
    let (sandbox, _) = run(&runtime, &sh("main", "exec sleep 1000")).await;
    runtime.remove_sandbox(&sandbox).await.unwrap();
    // The keeper holds the first process a moment longer than its sandbox is there.
    common::until("it is let go", || !descriptors().iter().any(|target| target.contains("pidfd"))).await;
    let (files, tasks) = (descriptors(), threads());
    let mut memory = 0;
    for number in 0..PODS / ROUND {
        if number == PODS / ROUND / 2 {
            memory = at_rest(&files).await;
        }
        round(&host, &runtime).await;
    }
    assert!(runtime.list().await.unwrap().is_empty());
    let grown = at_rest(&files).await.saturating_sub(memory);
    assert!(grown < MAX_GROWTH * PODS / 2, "{grown} bytes more after the second half of the pods");
    // Those that blocked for it live on for some seconds, for the next call.
    common::until("no thread is left", || threads() <= tasks).await;
    assert_eq!(marked(&host), 0);
    assert_eq!(common::cgroups(&host), Vec::<std::path::PathBuf>::new());
    let slots = std::fs::read_dir(host.root().join("test/slots")).unwrap().count();
    assert!(slots <= ROUND, "{slots} directories for {ROUND} pods at once");
    host.assert_empty();
    drop(runtime);
    assert!(!descriptors().iter().any(|target| target.contains("orchestra-process-test")));
}
