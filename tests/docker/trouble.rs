//! What goes wrong around pods: full disks, images that do not come or do not run, crashes, hostile texts.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use orchestra::model::Event;
use orchestra::prelude::*;

use crate::daemon::Daemon;
use crate::host::{Host, Image, LIMIT, eventually, eventually_within, pods, settled, skip, until};

/// Waits for a warning of a pod that says this.
pub(crate) async fn told(cluster: &Cluster, pod: &str, text: &str) -> Arc<Event> {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let events = cluster.list::<Event>(&ListOptions::default()).await.unwrap().items;
        if let Some(event) = events.iter().find(|e| e.involved_object.name == pod && e.message.contains(text))
        {
            return Arc::clone(event);
        }
        let all: Vec<_> = events.iter().map(|event| &event.message).collect();
        assert!(tokio::time::Instant::now() < deadline, "nobody said {text:?} of {pod}: {all:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn pod(name: &str, image: &str, command: &str) -> String {
    format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1,
        containers: [{{name: main, image: "{image}", imagePullPolicy: IfNotPresent, command: {command}}}]}}}}"#
    )
}

/// Whether its container has ended too often to be started again at once.
fn waits(pod: &Pod) -> bool {
    let waiting = pod.status.container_statuses.first().and_then(|status| status.state.waiting());
    waiting.is_some_and(|waiting| waiting.reason == "CrashLoopBackOff")
}

async fn gone(cluster: &Cluster, name: &str) {
    cluster.delete::<Pod>(name, &DeleteOptions::default()).await.unwrap();
    until::<Pod>(cluster, name, |pod| pod.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_architecture_says_so_in_its_log_and_others_run() {
    let Some(host) = Host::open("architecture").await else { return };
    let mut program = std::fs::read("/proc/self/exe").unwrap()[..4096].to_vec();
    // The machine in an ELF file's head: one that nobody has.
    program[18..20].copy_from_slice(&[0xfe, 0xca]);
    let mut files = host.files();
    files.file("bin/foreign", 0o755, &program).unwrap();
    let name = format!("{}-foreign:1", host.name);
    host.builder().connect().await.unwrap().import_image(&name, &files).await.unwrap();
    let image = Image { host: &host, name };
    let cluster = host.cluster().await;
    cluster.apply_yaml(&pod("foreign", &image.name, "[/bin/foreign]")).await.unwrap();
    cluster.apply_yaml(&pod("native", &image.name, "[/bin/sleep, '1000']")).await.unwrap();
    until::<Pod>(&cluster, "native", |pod| pod.is_some_and(Pod::is_ready)).await;
    let crashed = |pod: Option<&Pod>| pod.is_some_and(waits);
    until::<Pod>(&cluster, "foreign", crashed).await;
    // The engine starts it, and its last words say what is wrong.
    let mut log = cluster.pod("foreign").logs(&LogOptions::default()).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = log.next().await {
        text.push_str(&chunk.unwrap().text());
    }
    assert!(text.contains("exec format error"), "{text}");
    gone(&cluster, "foreign").await;
    gone(&cluster, "native").await;
    assert!(host.containers().is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_never_comes_keeps_nobody_else_waiting() {
    let Some(host) = Host::open("hanging").await else { return };
    // A registry that takes connections and says nothing.
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/never:1", registry.local_addr().unwrap());
    let cluster = host.cluster().await;
    cluster.apply_yaml(&pod("waits", &image, "[/bin/sleep, '1000']")).await.unwrap();
    let asked = tokio::task::spawn_blocking(move || registry.accept().unwrap());
    let _connection = tokio::time::timeout(LIMIT, asked).await.unwrap().unwrap();
    cluster.apply_yaml(&host.web(2)).await.unwrap();
    settled(&cluster, 2).await;
    let waiting = cluster.get::<Pod>("waits").await.unwrap();
    assert!(!waiting.is_ready());
    // A pull is given up with its pod.
    gone(&cluster, "waits").await;
    assert_eq!(host.containers().len(), 4, "{:?}", host.containers());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_pods_that_crash_at_once_wait_and_a_version_that_runs_replaces_them() {
    const CRASHING: u32 = 30;
    let Some(host) = Host::open("crashing").await else { return };
    let cluster = host.cluster().await;
    let web = host.web(CRASHING);
    let crashing = web.replace(r#"[/bin/httpd, -f, -p, "8080", -h, /bin]"#, r#"[/bin/sh, -c, "exit 3"]"#);
    assert_ne!(web, crashing);
    cluster.apply_yaml(&crashing).await.unwrap();
    let deadline = tokio::time::Instant::now() + 4 * LIMIT;
    loop {
        let pods = pods(&cluster).await;
        if pods.len() == CRASHING as usize && pods.iter().all(|pod| waits(pod)) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "not all of them wait");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    cluster.apply_yaml(&host.web(2)).await.unwrap();
    crate::host::settled_within(&cluster, 2, 4 * LIMIT).await;
    eventually_within("the crashed ones are gone", 4 * LIMIT, || {
        (host.containers().len() == 4).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_arrive_as_they_are_and_reach_nothing_else() {
    let Some(host) = Host::open("hostile").await else { return };
    let cluster = host.cluster().await;
    let values = BTreeMap::from([
        ("QUOTES", r#"a "b" 'c' `id` $(id) ${HOME} \ ; | &"#.to_owned()),
        ("LINES", "one\ntwo=2\nPATH=/evil\n".to_owned()),
        ("UNICODE", "\u{202e}\u{fffd}\u{1f980}\u{7f}".to_owned()),
        ("LONG", "x".repeat(100_000)),
        ("EMPTY", String::new()),
    ]);
    let mut container = Container::new("main", host.image()).command(["/bin/sleep", "1000"]);
    for (name, value) in &values {
        container = container.env(*name, value.clone());
    }
    let spec = orchestra::model::PodSpec::new(container).grace_period(1);
    let mut pod = Pod::new("a.hostile-name.0").spec(spec);
    // Labels of a pod that look like ours are not taken for ours.
    for label in ["dev.orchestra.cluster", "dev.orchestra.role", "dev.orchestra.pod-uid"] {
        pod.metadata.labels.insert(label.into(), "another".into());
    }
    cluster.create(pod).await.unwrap();
    until::<Pod>(&cluster, "a.hostile-name.0", |pod| pod.is_some_and(Pod::is_ready)).await;
    assert_eq!(host.containers().len(), 2, "they are found by the labels that are the runtime's");
    for (name, value) in &values {
        let script = format!("printf '%s' \"${name}\"");
        let options = ExecOptions::new(["/bin/sh", "-c", &script]);
        let said = cluster.pod("a.hostile-name.0").exec(&options).await.unwrap();
        let said = said.wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), *value, "{name}");
    }
    gone(&cluster, "a.hostile-name.0").await;
    assert!(host.containers().is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_out_of_a_volume_are_refused() {
    let Some(host) = Host::open("escapes").await else { return };
    let secret = host.dir.join("secret");
    std::fs::create_dir_all(&secret).unwrap();
    std::fs::write(secret.join("key"), "hidden").unwrap();
    let shared = host.dir.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::os::unix::fs::symlink(&secret, shared.join("out")).unwrap();
    let cluster = host.cluster().await;
    let image = host.image();
    let volume = format!("{{name: shared, hostPath: {{path: {}}}}}", shared.display());
    for (number, sub_path) in ["out", "out/key"].into_iter().enumerate() {
        let name = format!("escape-{number}");
        let manifest = format!(
            r#"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{volumes: [{volume}], containers: [{{name: main,
            image: "{image}", command: [/bin/sleep, '1000'], volumeMounts: [{{name: shared, mountPath: /mnt, subPath: {sub_path}}}]}}]}}}}"#
        );
        cluster.apply_yaml(&manifest).await.unwrap();
        told(&cluster, &name, "out").await;
        let pod = cluster.get::<Pod>(&name).await.unwrap();
        assert!(!pod.is_ready(), "{sub_path}");
        assert!(!host.containers().iter().any(|name| name.contains(".main.")), "{:?}", host.containers());
        gone(&cluster, &name).await;
    }
    let dots = format!(
        r#"{{apiVersion: v1, kind: Pod, metadata: {{name: dots}}, spec: {{volumes: [{volume}], containers: [{{name: main,
        image: "{image}", volumeMounts: [{{name: shared, mountPath: /mnt, subPath: ../secret}}]}}]}}}}"#
    );
    assert!(cluster.apply_yaml(&dots).await.is_err(), "refused before it is stored");
    cluster.stop().await;
}

/// A file system of its own, so small that it can be filled.
struct SmallDisk(String);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").args(["--lazy", &self.0]).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_all_runs_when_there_is_room_again() {
    let mut daemon = match Daemon::open("disk", 4, false).await {
        Ok(daemon) => daemon,
        Err(why) => return skip(&why),
    };
    // The engine's data is on a small disk from here on.
    daemon.end("-TERM");
    let data = daemon.path("data");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs", &data]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip("a file system can't be mounted");
    }
    let disk = SmallDisk(data.clone());
    daemon.start().await.unwrap();
    let name = format!("orchestra-test-disk-{}", std::process::id());
    let host = Host { dir: std::env::temp_dir().join(&name), name, socket: Some(daemon.socket()) };
    host.prepare().await.unwrap();
    let cluster = host.cluster().await;
    cluster.apply_yaml(&host.web(1)).await.unwrap();
    settled(&cluster, 1).await;
    let before = host.starts();

    let filler = format!("{data}/filler");
    let filled = Command::new("dd").args(["if=/dev/zero", &format!("of={filler}"), "bs=64k"]).output();
    assert!(filled.is_ok_and(|output| !output.status.success()), "the disk is full");
    cluster.apply_yaml(&pod("late", &host.image(), "[/bin/sleep, '1000']")).await.unwrap();
    told(&cluster, "late", "no space left on device").await;
    assert!(before.is_subset(&host.starts()), "what runs goes on");
    std::fs::remove_file(&filler).unwrap();
    until::<Pod>(&cluster, "late", |pod| pod.is_some_and(Pod::is_ready)).await;
    settled(&cluster, 1).await;
    cluster.stop().await;
    eventually("nothing is left", || host.containers().is_empty().then_some(())).await;
    drop(host);
    daemon.end("-TERM");
    drop(disk);
}
