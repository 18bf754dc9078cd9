//! Logs across rotation, long lines and truncation.
#![allow(clippy::unwrap_used, reason = "a test, with helpers")]

mod common;

use std::fs;

use common::{Host, ended, follow, line, run, sh};
use orchestra_core::runtime::{LogOptions, LogStream, Runtime};

/// All bytes of a log, in pieces.
async fn bytes(log: &mut LogStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = tokio::time::timeout(common::DEADLINE, log.next()).await.expect("the log ends") {
        bytes.extend_from_slice(&chunk.unwrap().bytes);
    }
    bytes
}

fn numbers(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[tokio::test]
async fn a_followed_log_is_exact_across_rotation() {
    let host = Host::new();
    let runtime = host.builder().log_max_bytes(32 * 1024).log_max_files(200).build().unwrap();
    let (sandbox, container) = run(&runtime, &sh("main", "exec seq 0 49999")).await;
    let mut log = follow(&runtime, &container).await;
    assert_eq!(String::from_utf8(bytes(&mut log).await).unwrap(), numbers(0..50_000));
    let dir = host.root().join("test/logs").join(&*container.0);
    let sizes: Vec<u64> =
        fs::read_dir(&dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() > 20 && sizes.iter().all(|size| *size <= 32 * 1024), "{sizes:?}");
    // Read again, and from the end.
    let mut log = runtime.logs(&container, &LogOptions::default()).await.unwrap();
    assert_eq!(String::from_utf8(bytes(&mut log).await).unwrap(), numbers(0..50_000));
    let tail = LogOptions { tail: Some(2000), ..LogOptions::default() };
    let mut log = runtime.logs(&container, &tail).await.unwrap();
    assert_eq!(
        String::from_utf8(bytes(&mut log).await).unwrap(),
        numbers(48_000..50_000),
        "over several files"
    );
    runtime.remove_sandbox(&sandbox).await.unwrap();
    host.assert_empty();
}

#[tokio::test]
async fn old_files_are_removed_and_the_newest_lines_stay() {
    let host = Host::new();
    let runtime = host.builder().log_max_bytes(32 * 1024).log_max_files(3).build().unwrap();
    let (sandbox, container) = run(&runtime, &sh("main", "exec seq 0 49999")).await;
    ended(&runtime, &sandbox, &container).await;
    let dir = host.root().join("test/logs").join(&*container.0);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    let mut log = runtime.logs(&container, &LogOptions::default()).await.unwrap();
    let text = String::from_utf8(bytes(&mut log).await).unwrap();
    let first: usize = text.lines().next().unwrap().parse().unwrap();
    assert!(first > 0 && text == numbers(first..50_000), "the last lines, without a gap");
}

#[tokio::test]
async fn moved_output_is_cut_out_of_the_spool() {
    use std::os::unix::fs::MetadataExt;
    let host = Host::new();
    let runtime = host.open();
    let script = "yes $(seq 1 200) | head -c 8000000; echo; echo done; exec sleep 1000";
    let (sandbox, container) = run(&runtime, &sh("main", script)).await;
    let mut log = follow(&runtime, &container).await;
    while line(&mut log).await.unwrap() != "done" {}
    let spool = fs::metadata(host.root().join("test/spool/0.out")).unwrap();
    assert!(spool.len() > 8_000_000, "the file is as long as all that was written");
    // File systems without holes are allowed: they give the space back at the end.
    let used = spool.blocks() * 512;
    assert!(used < 1_000_000 || used >= spool.len(), "{used} bytes are still used");
    runtime.remove_sandbox(&sandbox).await.unwrap();
}

#[tokio::test]
async fn long_lines_are_split_and_bytes_are_not_changed() {
    let host = Host::new();
    let runtime = host.open();
    let script = "head -c 100000 /dev/zero | tr '\\0' x; printf '\\nnext\\377\\000end'";
    let (_, container) = run(&runtime, &sh("main", script)).await;
    let mut log = follow(&runtime, &container).await;
    let mut expected = vec![b'x'; 100_000];
    expected.extend_from_slice(b"\nnext\xff\x00end");
    assert_eq!(bytes(&mut log).await, expected);
    let mut log =
        runtime.logs(&container, &LogOptions { tail: Some(1), ..LogOptions::default() }).await.unwrap();
    assert_eq!(bytes(&mut log).await, b"next\xff\x00end");
    let mut log =
        runtime.logs(&container, &LogOptions { tail: Some(2), ..LogOptions::default() }).await.unwrap();
    assert_eq!(bytes(&mut log).await, expected, "a split line is one line");
}

#[tokio::test]
async fn a_program_that_truncates_its_output_is_still_read() {
    let host = Host::new();
    let runtime = host.open();
    let script = "echo first line, the longer one; while ! [ -e go ]; do sleep 0.01; done; echo second > /dev/stdout; echo third";
    let (_, container) = run(&runtime, &sh("main", script)).await;
    let mut log = follow(&runtime, &container).await;
    assert_eq!(line(&mut log).await.unwrap(), "first line, the longer one");
    fs::write(host.root().join("test/slots/0/go"), "").unwrap();
    assert_eq!(line(&mut log).await.unwrap(), "second");
    assert_eq!(line(&mut log).await.unwrap(), "third");
    assert!(line(&mut log).await.is_none());
}

#[tokio::test]
async fn followers_end_when_the_container_is_removed_or_the_runtime_goes() {
    let host = Host::new();
    let runtime = host.open();
    let sandbox = runtime.run_sandbox(&common::sandbox_spec("a")).await.unwrap().id;
    let container = runtime.create_container(&sandbox, &sh("main", "exit 0")).await.unwrap();
    let mut log = follow(&runtime, &container).await;
    let mut events = runtime.events().await.unwrap();
    runtime.remove_container(&container).await.unwrap();
    assert!(line(&mut log).await.is_none(), "it never ran");
    let container =
        runtime.create_container(&sandbox, &sh("goes-on", "echo hello; exec sleep 1000")).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    let mut log = follow(&runtime, &container).await;
    assert_eq!(line(&mut log).await.unwrap(), "hello");
    drop(runtime);
    while tokio::time::timeout(common::DEADLINE, events.next()).await.expect("events end").is_some() {}
    assert!(line(&mut log).await.is_none(), "its runtime has gone");
    host.open().remove_sandbox(&sandbox).await.unwrap();
}
