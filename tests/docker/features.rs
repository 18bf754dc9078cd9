//! What pods ask for beside their programs: volumes in memory, and groups.

use std::time::Duration;

use orchestra::prelude::*;

use crate::host::{Host, until};

/// Runs a shell script in a container, and gives its exit code and what it wrote.
async fn run(cluster: &Cluster, pod: &str, container: &str, script: &str) -> (i32, String) {
    let options = ExecOptions::new(["/bin/busybox", "sh", "-c", script]);
    let session = cluster.pod(pod).container(container).exec(&options).await.unwrap();
    let output = session.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.exit_code, text(&[output.stdout, output.stderr].concat()))
}

/// The output of a script that succeeds.
async fn says(cluster: &Cluster, pod: &str, container: &str, script: &str) -> String {
    let (code, text) = run(cluster, pod, container, script).await;
    assert_eq!(code, 0, "{script}: {text}");
    text
}

async fn ready(cluster: &Cluster, name: &str) {
    until::<Pod>(cluster, name, |pod| pod.is_some_and(Pod::is_ready)).await;
}

async fn gone(cluster: &Cluster, name: &str) {
    cluster.delete::<Pod>(name, &DeleteOptions::default()).await.unwrap();
    until::<Pod>(cluster, name, |pod| pod.is_none()).await;
}

/// A container that sleeps, with `more` of a manifest.
fn sleeper(host: &Host, name: &str, more: &str) -> String {
    let image = host.image();
    format!(r#"{{name: {name}, image: "{image}", command: [/bin/sleep, "1000"], {more}}}"#)
}

/// A pod with `more` of a spec.
fn pod(name: &str, more: &str) -> String {
    format!(
        r"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, {more}}}}}"
    )
}

/// The names of the cluster's volumes.
fn volumes(host: &Host) -> Vec<String> {
    let label = format!("label=dev.orchestra.cluster={}", host.name);
    host.docker(&["volume", "ls", "--quiet", "--filter", &label]).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_memory_has_its_size_and_is_there_as_long_as_its_pod() {
    let Some(host) = Host::open("memory").await else { return };
    let cluster = host.cluster().await;
    let mounts = "volumeMounts: [{name: fast, mountPath: /fast}]";
    let manifest = pod(
        "fast",
        &format!(
            "volumes: [{{name: fast, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}], containers: [{}, {}]",
            sleeper(&host, "a", mounts),
            sleeper(&host, "b", mounts)
        ),
    );
    let applied = cluster.apply_yaml(&manifest).await.unwrap();
    assert!(applied.iter().all(|one| one.warnings.is_empty()), "{applied:?}");
    ready(&cluster, "fast").await;
    assert_eq!(volumes(&host).len(), 1);
    let mount = says(&cluster, "fast", "a", "grep ' /fast ' /proc/mounts").await;
    assert!(mount.starts_with("tmpfs /fast tmpfs rw") && mount.contains("size=1024k"), "{mount}");
    says(&cluster, "fast", "a", "echo kept > /fast/file").await;
    assert_eq!(says(&cluster, "fast", "b", "cat /fast/file").await, "kept");
    let (code, why) = run(&cluster, "fast", "a", "dd if=/dev/zero of=/fast/much bs=64k").await;
    assert!(code != 0 && why.contains("No space left on device"), "{code}: {why}");
    says(&cluster, "fast", "b", "rm /fast/much").await;
    // Both containers end; what is in the volume stays.
    for container in ["a", "b"] {
        let name = host.running().into_iter().find(|name| name.contains(&format!(".{container}."))).unwrap();
        host.docker(&["kill", &name]);
    }
    let restarted = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            pod.is_ready() && pod.status.container_statuses.iter().all(|s| s.restart_count == 1)
        })
    };
    until::<Pod>(&cluster, "fast", restarted).await;
    assert_eq!(says(&cluster, "fast", "b", "cat /fast/file").await, "kept");
    gone(&cluster, "fast").await;
    assert_eq!(volumes(&host), [""; 0]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_belong_to_the_pods_group_and_containers_are_in_it() {
    let Some(host) = Host::open("groups").await else { return };
    let cluster = host.cluster().await;
    cluster.apply(Secret::new("keys").entry("key", "hidden")).await.unwrap();
    cluster.apply(ConfigMap::new("settings").entry("conf", "x=1")).await.unwrap();
    let volumes = "{name: disk, emptyDir: {}}, {name: fast, emptyDir: {medium: Memory}}, \
        {name: keys, secret: {secretName: keys, defaultMode: 0400}}, \
        {name: settings, configMap: {name: settings, defaultMode: 0400}}, \
        {name: all, projected: {defaultMode: 0400, sources: [{secret: {name: keys}}]}}";
    let names = ["disk", "fast", "keys", "settings", "all"];
    let mounts: Vec<_> = names.iter().map(|name| format!("{{name: {name}, mountPath: /v/{name}}}")).collect();
    let mounts = format!("volumeMounts: [{}]", mounts.join(", "));
    let manifest = pod(
        "groups",
        &format!(
            "securityContext: {{runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000, supplementalGroups: [3000]}}, \
             volumes: [{volumes}], containers: [{}]",
            sleeper(&host, "main", &mounts)
        ),
    );
    let applied = cluster.apply_yaml(&manifest).await.unwrap();
    assert!(applied.iter().all(|one| one.warnings.is_empty()), "{applied:?}");
    ready(&cluster, "groups").await;
    let own = says(&cluster, "groups", "main", "/bin/busybox id -G").await;
    let mut own: Vec<_> = own.split_whitespace().collect();
    own.sort_unstable();
    assert_eq!(own, ["1000", "2000", "3000"]);
    // The container's own program, and not only what is run in it.
    let of_sleep = says(
        &cluster,
        "groups",
        "main",
        "grep -h Groups $(grep -l sleep /proc/[0-9]*/comm | sed s/comm/status/)",
    )
    .await;
    assert!(of_sleep.contains("2000") && of_sleep.contains("3000"), "{of_sleep}");
    for dir in ["disk", "fast"] {
        let script =
            format!("echo x > /v/{dir}/made && /bin/busybox stat -c '%u %g %a' /v/{dir} /v/{dir}/made");
        assert_eq!(says(&cluster, "groups", "main", &script).await, "0 2000 2777\n1000 2000 644", "{dir}");
    }
    for (file, content) in [("keys/key", "hidden"), ("settings/conf", "x=1"), ("all/key", "hidden")] {
        let script = format!("cat /v/{file}; echo; /bin/busybox stat -L -c '%u %g %a' /v/{file}");
        assert_eq!(
            says(&cluster, "groups", "main", &script).await,
            format!("{content}\n0 2000 440"),
            "{file}"
        );
    }
    // An update has the group from the first moment on.
    cluster.apply(Secret::new("keys").entry("key", "changed")).await.unwrap();
    let deadline = tokio::time::Instant::now() + crate::host::LIMIT;
    loop {
        let (code, text) = run(&cluster, "groups", "main", "cat /v/keys/key").await;
        assert_eq!(code, 0, "{text}");
        if text == "changed" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    gone(&cluster, "groups").await;
    cluster.stop().await;
}

/// On the only thread of a runtime, which waits for the end of the cluster and runs nothing meanwhile.
#[tokio::test]
async fn a_cluster_that_is_dropped_on_its_only_thread_leaves_nothing() {
    let Some(host) = Host::open("dropped").await else { return };
    let node = NodeOptions::new("node", host.builder().connect().await.unwrap());
    let cluster = Cluster::builder().node(node).start().await.unwrap();
    cluster.apply_yaml(&host.web(4)).await.unwrap();
    // All sandboxes are there, and containers are being made in them.
    let deadline = tokio::time::Instant::now() + crate::host::LIMIT;
    while host.running().iter().filter(|name| !name.contains(".web.")).count() < 4 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", host.containers());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(cluster);
    assert_eq!(host.containers(), [""; 0].map(str::to_owned).into());
}
