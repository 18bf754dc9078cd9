//! What sandboxes and containers may be asked for: volumes in memory, groups, limits of a whole pod, and system calls.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Host, builder};
use orchestra_core::model::Uid;
use orchestra_core::runtime::{
    ContainerId, ContainerLimits, ContainerSpec, ExecOptions, MemoryVolume, Mount, MountSource, Runtime,
    RuntimeError, SandboxId, SandboxSpec, Seccomp,
};
use orchestra_docker::DockerRuntime;

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// What the engine's own program says.
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How many volumes the cluster has.
fn volumes(cluster: &str) -> usize {
    docker(&["volume", "ls", "--quiet", "--filter", &format!("label=dev.orchestra.cluster={cluster}")])
        .lines()
        .count()
}

fn pod(name: &str) -> SandboxSpec {
    SandboxSpec::new("test", name, Uid::from(name.to_owned()))
}

fn sleeper(host: &Host, name: &str) -> ContainerSpec {
    let mut spec = ContainerSpec::new(name, host.image.as_str());
    spec.command = ["/bin/sleep", "1000"].map(String::from).into();
    spec
}

async fn start(runtime: &DockerRuntime, sandbox: &SandboxId, spec: &ContainerSpec) -> ContainerId {
    let container = runtime.create_container(sandbox, spec).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    container
}

/// Runs a shell script in a container, and gives its exit code and what it wrote.
async fn run(runtime: &DockerRuntime, container: &ContainerId, script: &str) -> (i32, String) {
    let options = ExecOptions::new(["/bin/sh", "-c", script]);
    let session = runtime.exec(container, &options).await.unwrap();
    let output = session.wait_with_output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.exit_code, String::from_utf8_lossy(&text).trim().to_owned())
}

/// The output of a script that succeeds.
async fn says(runtime: &DockerRuntime, container: &ContainerId, script: &str) -> String {
    let (code, text) = run(runtime, container, script).await;
    assert_eq!(code, 0, "{script}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_memory_is_shared_has_its_size_and_goes_with_its_sandbox() {
    let Some(host) = Host::open("memory").await else { return };
    host.scope(async |host| {
        let mut spec = pod("fast");
        spec.memory_volumes =
            vec![MemoryVolume { name: "fast".to_owned(), size: Some(1 << 20), group: Some(2000) }];
        let sandbox = host.runtime.run_sandbox(&spec).await.unwrap().id;
        assert_eq!(volumes(&host.name), 1);
        let with = |name: &str, read_only| {
            let mut spec = sleeper(host, name);
            let mut mount = Mount::new("/fast", MountSource::Memory { volume: "fast".to_owned() });
            mount.read_only = read_only;
            spec.mounts.push(mount);
            spec
        };
        let mut writer = with("writer", false);
        (writer.run_as, writer.supplemental_groups) = (Some((1000, Some(1000))), vec![2000, 3000]);
        let runs = start(&host.runtime, &sandbox, &writer).await;
        let reader = start(&host.runtime, &sandbox, &with("reader", true)).await;
        assert_eq!(
            says(&host.runtime, &runs, "echo kept > /fast/file; stat -c '%u %g %a' /fast /fast/file").await,
            "0 2000 2777\n1000 2000 644"
        );
        assert_eq!(says(&host.runtime, &reader, "cat /fast/file").await, "kept");
        assert_ne!(
            run(&host.runtime, &reader, "echo x > /fast/file").await.0,
            0,
            "it is mounted read-only there"
        );
        let (code, why) = run(&host.runtime, &runs, "dd if=/dev/zero of=/fast/much bs=64k").await;
        assert!(code != 0 && why.contains("No space left on device"), "{code}: {why}");
        // What a program is in, and what is run beside it.
        for of in ["/proc/self/status", "$(grep -l sleep /proc/[0-9]*/comm | sed s/comm/status/)"] {
            let groups = says(&host.runtime, &runs, &format!("grep -h Groups: {of} | grep 3000")).await;
            assert!(groups.contains("2000") && groups.contains("3000"), "{of}: {groups}");
        }
        // All containers end; the sandbox holds the volume.
        for container in [&runs, &reader] {
            host.runtime.stop_container(container, Duration::ZERO).await.unwrap();
        }
        let mut again = with("writer", false);
        again.attempt = 1;
        let again = start(&host.runtime, &sandbox, &again).await;
        assert_eq!(says(&host.runtime, &again, "cat /fast/file").await, "kept");
        let mut unknown = sleeper(host, "unknown");
        unknown.mounts.push(Mount::new("/fast", MountSource::Memory { volume: "slow".to_owned() }));
        let refused = host.runtime.create_container(&sandbox, &unknown).await;
        assert!(matches!(refused, Err(RuntimeError::Unsupported { .. })), "{refused:?}");
        host.runtime.remove_sandbox(&sandbox).await.unwrap();
        assert_eq!(volumes(&host.name), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_whose_sandbox_somebody_removed_are_found_again_or_removed_by_the_next_runtime() {
    let Some(host) = Host::open("left").await else { return };
    host.scope(async |host| {
        let mut spec = pod("left");
        spec.memory_volumes = vec![MemoryVolume { name: "fast".to_owned(), ..MemoryVolume::default() }];
        let first = host.runtime.run_sandbox(&spec).await.unwrap().id;
        docker(&["rm", "--force", &first.0]);
        assert_eq!(volumes(&host.name), 1);
        spec.attempt = 1;
        let second = host.runtime.run_sandbox(&spec).await.unwrap().id;
        // One that is used stays.
        drop(builder(&host.name, None).connect().await.unwrap());
        assert_eq!(volumes(&host.name), 1);
        docker(&["rm", "--force", &second.0]);
        drop(builder(&host.name, None).connect().await.unwrap());
        assert_eq!(volumes(&host.name), 0);
    })
    .await;
}

/// The control groups of the machine whose name has this in it.
fn control_groups(part: &str) -> Vec<PathBuf> {
    fn below(dir: &Path, part: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(part) {
                    found.push(entry.path());
                }
                below(&entry.path(), part, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), part, &mut found);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn all_containers_of_a_pod_together_keep_to_its_limits() {
    let Some(host) = Host::open("limits").await else { return };
    host.scope(async |host| {
        let mut spec = pod("limited");
        spec.limits =
            ContainerLimits { cpu_milli: Some(500), memory: Some(64 << 20), ..ContainerLimits::default() };
        let ran = host.runtime.run_sandbox(&spec).await;
        if docker(&["info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}"]) != "cgroupfs 1" {
            let why = ran.unwrap_err().to_string();
            assert!(why.contains("limits for a whole pod need control groups of version 1"), "{why}");
            return;
        }
        let sandbox = ran.unwrap().id;
        let id = docker(&["inspect", "--format", "{{.Id}}", &sandbox.0]);
        let mut own = sleeper(host, "own");
        own.limits.memory = Some(48 << 20);
        let mut containers = vec![start(&host.runtime, &sandbox, &own).await];
        containers.push(start(&host.runtime, &sandbox, &sleeper(host, "free")).await);
        // Each is below the sandbox, whose limits are the pod's.
        for container in &containers {
            let own = docker(&["inspect", "--format", "{{.Id}}", &container.0]);
            let groups = control_groups(&own);
            assert!(!groups.is_empty());
            assert!(groups.iter().all(|group| group.parent().unwrap().ends_with(&id)), "{groups:?}");
        }
        let eat = |mebibytes: u32| format!("dd if=/dev/zero of=/dev/null bs={mebibytes}M count=1");
        says(&host.runtime, &containers[1], &eat(40)).await;
        let (code, why) = run(&host.runtime, &containers[1], &eat(80)).await;
        assert_ne!(code, 0, "a container without a limit gets no more than its pod: {why}");
        host.runtime.remove_sandbox(&sandbox).await.unwrap();
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !control_groups(&id).is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "left: {:?}", control_groups(&id));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_may_have_a_limit_above_what_the_host_has() {
    let Some(host) = Host::open("cpus").await else { return };
    host.scope(async |host| {
        let sandbox = host.runtime.run_sandbox(&pod("large")).await.unwrap().id;
        let mut spec = sleeper(host, "large");
        let cpus = host.runtime.info().await.unwrap().cpu_milli;
        spec.limits.cpu_milli = Some(cpus + 6000);
        let container = start(&host.runtime, &sandbox, &spec).await;
        let quota = docker(&["inspect", "--format", "{{.HostConfig.CpuQuota}}", &container.0]);
        assert_eq!(quota, ((cpus + 6000) * 100).to_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_make_the_system_calls_that_their_profile_allows() {
    let Some(host) = Host::open("seccomp").await else { return };
    host.scope(async |host| {
        let profiles = host.state.join("profiles");
        std::fs::create_dir_all(&profiles).unwrap();
        let no_mkdir = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
        std::fs::write(profiles.join("no-mkdir.json"), no_mkdir).unwrap();
        std::fs::write(profiles.join("broken.json"), "{").unwrap();
        let runtime = builder(&host.name, None).seccomp_profiles(&profiles).connect().await.unwrap();
        let sandbox = runtime.run_sandbox(&pod("seccomp")).await.unwrap().id;
        let with = |name: &str, profile| {
            let mut spec = sleeper(host, name);
            spec.seccomp = profile;
            spec
        };
        let local = |file: &str| Some(Seccomp::Localhost(file.into()));
        for (name, profile, mode, makes) in [
            ("none", None, "2", true),
            ("default", Some(Seccomp::RuntimeDefault), "2", true),
            ("unconfined", Some(Seccomp::Unconfined), "0", true),
            ("own", local("no-mkdir.json"), "2", false),
        ] {
            let container = start(&runtime, &sandbox, &with(name, profile)).await;
            let said = says(&runtime, &container, "grep Seccomp: /proc/self/status").await;
            assert_eq!(said.split_whitespace().nth(1), Some(mode), "{name}");
            let (code, why) = run(&runtime, &container, "mkdir /made").await;
            assert_eq!(code == 0, makes, "{name}: {why}");
            assert!(makes || why.contains("Operation not permitted"), "{name}: {why}");
            // The engine's own profile refuses it, and the others do not.
            let (code, why) = run(&runtime, &container, "unshare -U true").await;
            assert_eq!(code == 0, !matches!(name, "none" | "default"), "{name}: {why}");
        }
        for (name, file, expected) in
            [("broken", "broken.json", "seccomp"), ("missing", "no.json", "no.json")]
        {
            let created = runtime.create_container(&sandbox, &with(name, local(file))).await;
            let started = match created {
                Ok(container) => runtime.start_container(&container).await,
                Err(error) => Err(error),
            };
            let error = format!("{:?}", started.unwrap_err());
            assert!(error.contains(expected), "{name}: {error}");
        }
    })
    .await;
}
