//! No file of the embedding program comes into the programs it runs.
#![allow(clippy::unwrap_used, reason = "a test, with helpers")]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Host, follow, line, run, sh};
use orchestra_core::runtime::{ContainerLimits, ExecOptions, Runtime};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Files that are open all the time, every second one without the flag that closes it in a program.
const OPEN: usize = 200;

/// Threads that open and close files all the time.
const THREADS: usize = 2;

const PODS: usize = 30;

/// Lists what the shell itself has open: the child is another process.
const LIST: &str = "ls -1 /proc/$$/fd";

/// The tests open files that would come into each other's programs.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn programs_have_three_descriptors_whatever_this_process_has_open() {
    let _alone = ALONE.lock().await;
    let host = Host::new();
    let runtime = host.open();
    let files: Vec<File> = (0..OPEN).map(|_| File::open("/proc/self/stat").unwrap()).collect();
    for file in files.iter().step_by(2) {
        fcntl_setfd(file, FdFlags::empty()).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let threads = (0..THREADS).map(|_| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let pipe = std::io::pipe().unwrap();
                drop((File::open("/proc/self/stat").unwrap(), pipe));
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    let (host, runtime) = (&host, &runtime);
    let pods = (0..PODS).map(|number| async move {
        let mut spec = sh("main", &format!("{LIST}; exec sleep 1000"));
        // With a limit, or as another kind of child, it is started in another way.
        if number % 2 == 0 {
            spec.limits = ContainerLimits { pids: Some(50), ..ContainerLimits::default() };
        }
        spec.stdin = number % 3 == 0;
        let (sandbox, container) = run(runtime, &spec).await;
        let mut log = follow(runtime, &container).await;
        let mut found = Vec::new();
        for _ in 0..3 {
            found.push(line(&mut log).await.unwrap());
        }
        assert_eq!(found, ["0", "1", "2"], "pod {number}");
        let command = ["sh", "-c", &format!("{LIST}; exit 0")].map(str::to_owned).to_vec();
        let options = ExecOptions { command, stdin: number % 4 < 2, tty: number % 5 == 0 };
        let mut session = runtime.exec(&container, &options).await.unwrap();
        let mut output = String::new();
        while let Some(chunk) = session.output.recv().await {
            output += &String::from_utf8_lossy(&chunk.bytes);
        }
        assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"], "{options:?}");
        runtime.stop_sandbox(&sandbox).await.unwrap();
        // After its end the log is whole: no fourth line came.
        assert_eq!(line(&mut log).await, None);
        runtime.remove_sandbox(&sandbox).await.unwrap();
    });
    futures_util::future::join_all(pods).await;
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // This process's own are as they were: what it starts itself may count on them.
    let handed_on = files.iter().filter(|file| fcntl_getfd(file).unwrap().is_empty());
    assert_eq!(handed_on.map(AsRawFd::as_raw_fd).collect::<BTreeSet<_>>().len(), OPEN / 2);
    host.assert_empty();
}

/// What is opened without the flag at the very moment of a start: a plain container's main program has none of it.
#[cfg(target_env = "gnu")]
#[tokio::test]
async fn nothing_comes_into_a_plain_container_however_late_it_was_opened() {
    let _alone = ALONE.lock().await;
    let host = Host::new();
    let runtime = host.open();
    let stop = Arc::new(AtomicBool::new(false));
    let of_thread = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        while !of_thread.load(Ordering::SeqCst) {
            let flags = rustix::fs::OFlags::RDONLY;
            drop(rustix::fs::open("/proc/self/stat", flags, rustix::fs::Mode::empty()).unwrap());
        }
    });
    for number in 0..PODS {
        let (sandbox, container) = run(&runtime, &sh("main", &format!("{LIST}; exit 0"))).await;
        let mut log = follow(&runtime, &container).await;
        let mut found = Vec::new();
        while let Some(line) = line(&mut log).await {
            found.push(line);
        }
        assert_eq!(found, ["0", "1", "2"], "pod {number}");
        runtime.remove_sandbox(&sandbox).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap();
    host.assert_empty();
}
