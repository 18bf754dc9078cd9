//! What the contract suite leaves open: how processes are run, and that nothing stays of them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{GRACE, Host, ended, follow, line, lives, run, sandbox_spec, sh, state};
use futures_util::FutureExt;
use orchestra_core::runtime::{
    ContainerState, ExecOptions, LogOptions, Mount, MountSource, Runtime, RuntimeError, SandboxState,
};
use orchestra_process::ProcessImage;

#[tokio::test]
async fn a_pod_runs_and_leaves_nothing() {
    let host = Host::new();
    let runtime = host.open();
    let sandbox = runtime.run_sandbox(&sandbox_spec("a")).await.unwrap();
    let container = runtime
        .create_container(&sandbox.id, &sh("main", "echo hello $POD_IP; exec sleep 1000"))
        .await
        .unwrap();
    runtime.start_container(&container).await.unwrap();
    let mut log = follow(&runtime, &container).await;
    assert_eq!(line(&mut log).await.unwrap(), format!("hello {}", sandbox.ip.unwrap()));
    runtime.stop_container(&container, GRACE).await.unwrap();
    assert!(line(&mut log).await.is_none());
    let ContainerState::Exited { exit_code: 143, signal: Some(15), .. } =
        state(&runtime, &sandbox.id, &container).await
    else {
        panic!("not ended by its stop signal")
    };
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    host.assert_empty();
}

#[tokio::test]
async fn children_that_fled_die_with_their_container() {
    let host = Host::new();
    let runtime = host.open();
    // A daemon: its own session, no open output, its parent gone. One with neither session nor environment of the
    // container, but its output. And a plain child in the background.
    let daemon = "fled=$(setsid sh -c 'sleep 1000 >/dev/null 2>&1 </dev/null & echo $!'); echo $fled; \
        env -i setsid sleep 1000 & echo $!; sleep 1000 & echo $!";
    for end in ["exec sleep 1000", "read never < $CONTAINER_ROOT/../none; exit 3"] {
        let script = format!("{daemon}; wait_for() {{ :; }}; {end}");
        let (sandbox, container) = run(&runtime, &sh("main", &script)).await;
        let mut log = follow(&runtime, &container).await;
        let mut pids = Vec::new();
        while pids.len() < 3 {
            let line = line(&mut log).await.unwrap();
            pids.extend(line.parse::<u32>().ok().map(|pid| pid.to_string()));
        }
        runtime.stop_container(&container, GRACE).await.unwrap();
        assert!(state(&runtime, &sandbox, &container).await.is_over());
        for pid in pids {
            assert!(!lives(&pid), "process {pid} has outlived its container ({end})");
        }
    }
}

#[tokio::test]
async fn the_environment_is_the_containers_own() {
    let host = Host::new();
    let image = ProcessImage::new("/usr/bin/env").env("FROM_IMAGE", "image").env("BOTH", "image");
    let runtime = host.builder().image("env", image).build().unwrap();
    let mut spec = orchestra_core::runtime::ContainerSpec::new("main", "env");
    spec.env =
        vec![("BOTH".to_owned(), "spec".to_owned()), ("ROOT".to_owned(), "$(CONTAINER_ROOT)/x".to_owned())];
    let (_, container) = run(&runtime, &spec).await;
    let mut log = follow(&runtime, &container).await;
    let mut names = Vec::new();
    let mut variables = Vec::new();
    while let Some(line) = line(&mut log).await {
        names.push(line.split_once('=').unwrap().0.to_owned());
        variables.push(line);
    }
    names.retain(|name| !["HOME", "LANG", "PATH"].contains(&name.as_str()));
    names.sort();
    let expected = "BOTH CONTAINER_ROOT FROM_IMAGE HOSTNAME ORCHESTRA_CONTAINER POD_IP POD_NAME POD_NAMESPACE POD_UID \
                    ROOT TERMINATION_LOG";
    assert_eq!(names.join(" "), expected, "nothing of this process's environment, such as CARGO");
    assert!(
        variables.contains(&"BOTH=spec".to_owned()) && variables.contains(&"FROM_IMAGE=image".to_owned())
    );
    let root = variables.iter().find_map(|line| line.strip_prefix("CONTAINER_ROOT=")).unwrap();
    assert!(variables.contains(&format!("ROOT={root}/x")));
}

#[tokio::test]
async fn mounts_are_below_the_containers_directory_and_programs_are_found_there() {
    let host = Host::new();
    let runtime = host.open();
    let volume = host.root().join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let program = volume.join("program");
    std::fs::write(&program, "#!/bin/sh\npwd; echo $0\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = sh("main", "");
    spec.command = vec!["/opt/tools/program".to_owned()];
    spec.working_dir = Some("/srv/work".into());
    spec.args.clear();
    spec.mounts = vec![
        Mount::new("/opt/tools", MountSource::Host(volume.clone())),
        Mount::new("/scratch", MountSource::Tmpfs { size: None }),
    ];
    let (sandbox, container) = run(&runtime, &spec).await;
    let mut log = follow(&runtime, &container).await;
    assert!(line(&mut log).await.unwrap().ends_with("/srv/work"), "a directory of its own");
    assert!(line(&mut log).await.unwrap().ends_with("/opt/tools/program"));
    runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(program.exists(), "a volume is not the container's to remove");
    for target in ["relative", "/a/../../../etc"] {
        let sandbox = runtime.run_sandbox(&sandbox_spec("bad")).await.unwrap().id;
        let mut spec = sh("main", "");
        spec.mounts = vec![Mount::new(target, MountSource::Host(volume.clone()))];
        let refused = runtime.create_container(&sandbox, &spec).await;
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_termination_message_is_read_from_a_plain_file_only() {
    let host = Host::new();
    let secret = host.root().join("secret");
    std::fs::create_dir_all(host.root()).unwrap();
    std::fs::write(&secret, "not for the pod's status").unwrap();
    let runtime = host.open();
    for trick in
        [format!("ln -s {} $TERMINATION_LOG", secret.display()), "mkfifo $TERMINATION_LOG".to_owned()]
    {
        let (sandbox, container) = run(&runtime, &sh("main", &trick)).await;
        let ContainerState::Exited { message, .. } = ended(&runtime, &sandbox, &container).await else {
            panic!()
        };
        assert_eq!(message, "", "{trick}");
    }
    let long = "i=0; while [ $i -lt 2000 ]; do echo 12345; i=$((i+1)); done > $TERMINATION_LOG";
    let (sandbox, container) = run(&runtime, &sh("main", long)).await;
    let ContainerState::Exited { message, .. } = ended(&runtime, &sandbox, &container).await else {
        panic!()
    };
    assert_eq!(message.len(), 4096);
}

#[tokio::test]
async fn exec_has_a_terminal_of_the_clients_size() {
    let host = Host::new();
    let runtime = host.open();
    let (_, container) = run(&runtime, &sh("main", "exec sleep 1000")).await;
    let command = ["sh", "-c", "test -t 0 && test -t 1 && echo terminal; read line; stty size; echo $line"];
    let command = command.map(str::to_owned).to_vec();
    let mut session =
        runtime.exec(&container, &ExecOptions { command, stdin: true, tty: true }).await.unwrap();
    let mut output = String::new();
    session.resize.as_ref().unwrap().send((132, 43)).await.unwrap();
    let mut sent = false;
    while let Some(chunk) = session.output.recv().await {
        output += &String::from_utf8_lossy(&chunk.bytes);
        if !sent && output.contains("terminal") {
            session.stdin.as_ref().unwrap().send("typed\n".into()).await.unwrap();
            sent = true;
        }
    }
    assert_eq!(session.exit.await.unwrap(), 0);
    assert!(
        output.contains("43 132") && output.matches("typed").count() == 2,
        "echoed and printed: {output:?}"
    );
}

#[tokio::test]
async fn exec_does_not_wait_for_children_that_hold_its_output() {
    let host = Host::new();
    let runtime = host.open();
    let (_, container) = run(&runtime, &sh("main", "exec sleep 1000")).await;
    let command = ["sh", "-c", "sleep 1000 & echo started; exit 4"].map(str::to_owned).to_vec();
    let mut session =
        runtime.exec(&container, &ExecOptions { command, ..ExecOptions::default() }).await.unwrap();
    let read = async {
        let mut output = String::new();
        while let Some(chunk) = session.output.recv().await {
            output += &String::from_utf8_lossy(&chunk.bytes);
        }
        output
    };
    assert_eq!(tokio::time::timeout(GRACE, read).await.expect("the output ends"), "started\n");
    assert_eq!(session.exit.await.unwrap(), 4);
}

#[tokio::test]
async fn one_runtime_has_a_state_directory() {
    let host = Host::new();
    let first = host.open();
    let second = host.builder().build();
    assert!(matches!(second, Err(RuntimeError::InUse { .. })), "{second:?}");
    let other = host.builder().cluster_id("other").build().unwrap();
    drop((first, other));
    host.open();
    let bad = host.builder().cluster_id("../etc").build();
    assert!(matches!(bad, Err(RuntimeError::Unsupported { .. })), "{bad:?}");
}

#[tokio::test]
async fn an_address_rests_also_across_a_restart() {
    let host = Host::new();
    let runtime = host.open();
    let sandbox = runtime.run_sandbox(&sandbox_spec("a")).await.unwrap();
    let ip = sandbox.ip.unwrap();
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    drop(runtime);
    let runtime = host.open();
    for number in 0..50 {
        let other = runtime.run_sandbox(&sandbox_spec(&format!("b{number}"))).await.unwrap();
        assert_ne!(other.ip.unwrap(), ip);
    }
    drop(runtime);
    // Without a quarantine the first address of the block is the next one again.
    let runtime = host.builder().address_quarantine(Duration::ZERO).build().unwrap();
    for sandbox in runtime.list().await.unwrap() {
        runtime.remove_sandbox(&sandbox.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_that_was_broken_off_is_finished_by_the_next() {
    let host = Host::new();
    let runtime = host.open();
    let (sandbox, container) = run(&runtime, &sh("main", "exec sleep 1000")).await;
    // It has sent the signal, and waits for the end.
    drop(runtime.stop_sandbox(&sandbox).now_or_never());
    ended(&runtime, &sandbox, &container).await;
    runtime.stop_sandbox(&sandbox).await.unwrap();
    drop(runtime);
    let status = host.open().sandbox(&sandbox).await.unwrap().unwrap();
    assert_eq!((status.state, status.ip), (SandboxState::NotReady, None));
}

#[tokio::test]
async fn standard_input_can_stay_open() {
    let host = Host::new();
    let runtime = host.open();
    let mut spec = sh("main", "read line; echo it ended");
    let (sandbox, container) = run(&runtime, &spec).await;
    ended(&runtime, &sandbox, &container).await;
    spec.stdin = true;
    let (sandbox, container) = run(&runtime, &spec).await;
    let mut log = runtime.logs(&container, &LogOptions::default()).await.unwrap();
    assert!(line(&mut log).await.is_none());
    assert!(state(&runtime, &sandbox, &container).await.is_running());
    runtime.stop_sandbox(&sandbox).await.unwrap();
}
