//! Many pods come and go, and the process and the host are as before. Alone in its program: other tests would open
//! descriptors meanwhile.
#![allow(clippy::unwrap_used, reason = "a test, with helpers")]

mod common;

use std::collections::BTreeSet;

use common::{Host, run, sh};
use orchestra_core::runtime::{ExecOptions, Runtime};

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

/// The processes that bear the marker of this state directory's runtime.
fn marked(host: &Host) -> usize {
    let opened = std::fs::read_to_string(host.journal()).unwrap();
    let instance = opened.split("\"instance\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let marker = format!("ORCHESTRA_CONTAINER={instance}/");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            std::fs::read(entry.path().join("environ")).is_ok_and(|environ| {
                environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(marker.as_bytes()))
            })
        })
        .count()
}

#[tokio::test]
async fn two_hundred_pods_leave_nothing() {
    let host = Host::new();
    let runtime = host.open();
    // Once, for all that is opened once.
    let (sandbox, _) = run(&runtime, &sh("main", "exec sleep 1000")).await;
    runtime.remove_sandbox(&sandbox).await.unwrap();
    // The keeper holds the first process a moment longer than its sandbox is there.
    common::until("it is let go", || !descriptors().iter().any(|target| target.contains("pidfd"))).await;
    let before = descriptors();
    for _ in 0..20 {
        let mut pods = Vec::new();
        for _ in 0..10 {
            let (sandbox, container) = run(&runtime, &sh("main", "echo hello; exec sleep 1000")).await;
            let command = vec!["sh".to_owned(), "-c".to_owned(), "exec sleep 1000".to_owned()];
            let options = ExecOptions { command, stdin: true, tty: pods.len() % 2 == 0 };
            let session = runtime.exec(&container, &options).await.unwrap();
            let log = common::follow(&runtime, &container).await;
            pods.push((sandbox, session, log));
        }
        common::until("all programs run", || marked(&host) >= 20).await;
        let removals = pods.into_iter().map(|(sandbox, session, log)| {
            drop((session, log));
            let runtime = &runtime;
            async move { runtime.remove_sandbox(&sandbox).await.unwrap() }
        });
        futures_util::future::join_all(removals).await;
    }
    assert!(runtime.list().await.unwrap().is_empty());
    common::until("all descriptors are closed again", || descriptors() == before).await;
    assert_eq!(marked(&host), 0);
    host.assert_empty();
    drop(runtime);
    assert!(!descriptors().iter().any(|target| target.contains("orchestra-process-test")));
}
