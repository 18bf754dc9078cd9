//! Config maps, secrets, and what they become.

use std::time::Duration;

use orchestra_core::model::{
    ConfigMap, EnvVar, Event, EventType, LOCAL_PROVISIONER, PersistentVolume, PersistentVolumeClaim, Pod,
    PodSpec, Secret, Volume, VolumeMount,
};

use crate::rig::{Rig, container};

fn mount(name: &str) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: format!("/{name}"), ..VolumeMount::default() }
}

fn waiting(pod: &Pod) -> Option<String> {
    pod.status.container_statuses.first()?.state.waiting().map(|w| w.reason.clone())
}

#[tokio::test(start_paused = true)]
async fn a_missing_config_map_is_waited_for_and_not_polled() {
    let rig = Rig::new().await;
    let main = container("web").env_var(EnvVar::config_map("COLOUR", "settings", "colour"));
    let uid = rig.create("web", PodSpec::new(main)).await;
    let pod =
        rig.wait("web", "told", |p| waiting(p).is_some_and(|r| r == "CreateContainerConfigError")).await;
    let message = &pod.status.container_statuses[0].state.waiting().unwrap().message;
    assert!(message.contains("config map settings does not exist"), "{message}");
    assert!(rig.events("web").await.contains(&"CreateContainerConfigError".to_owned()));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.history(&uid), ["0 SandboxRun"], "nothing was tried meanwhile");
    rig.client.create(ConfigMap::new("settings").entry("size", "xl")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!rig.pod("web").await.is_ready(), "the key is missing still");
    let before = rig.client.clock().now();
    rig.client
        .modify::<ConfigMap>("settings", |m| _ = m.data.insert("colour".into(), "blue".into()))
        .await
        .unwrap();
    let pod = rig.ready("web").await;
    assert!(pod.ready_since().unwrap().since(before) < Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_applied_with_its_config_map_starts_at_once() {
    let rig = Rig::new().await;
    let main = container("web").env_from_config_map("settings").env_from_secret("keys");
    let pod = Pod::new("web").spec(PodSpec::new(main)).node("n1");
    let map = ConfigMap::new("settings").entry("colour", "blue");
    let secret = Secret::new("keys").entry("token", "s3cret");
    rig.client.transaction().create(pod).create(map).create(secret).commit().await.unwrap();
    rig.ready("web").await;
    assert_eq!(rig.events("web").await, ["Pulled", "Pulling"], "nothing was in the way");
}

#[tokio::test(start_paused = true)]
async fn volumes_follow_their_objects() {
    let rig = Rig::new().await;
    rig.client.create(ConfigMap::new("settings").entry("a.conf", "one")).await.unwrap();
    rig.client.create(Secret::new("keys").entry("token", "s3cret")).await.unwrap();
    let main = container("web").volume_mount(mount("conf")).volume_mount(mount("keys"));
    let spec = PodSpec::new(main)
        .volume(Volume::config_map("conf", "settings"))
        .volume(Volume::secret("keys", "keys"));
    let uid = rig.create("web", spec).await;
    rig.ready("web").await;
    assert_eq!(rig.volumes.read(&uid, "conf", "a.conf").as_deref(), Some("one"));
    assert_eq!(rig.volumes.read(&uid, "keys", "token").as_deref(), Some("s3cret"));
    rig.client
        .modify::<ConfigMap>("settings", |m| _ = m.data.insert("a.conf".into(), "two".into()))
        .await
        .unwrap();
    rig.until("the new value", || rig.volumes.read(&uid, "conf", "a.conf").as_deref() == Some("two")).await;
    rig.client.modify::<Secret>("keys", |s| _ = s.data.insert("token".into(), "other".into())).await.unwrap();
    rig.until("the new secret", || rig.volumes.read(&uid, "keys", "token").as_deref() == Some("other")).await;
    assert_eq!(rig.pod("web").await.status.container_statuses[0].restart_count, 0);
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_told() {
    let rig = Rig::new().await;
    rig.client.create(Secret::new("keys").entry("token", "s3cret")).await.unwrap();
    let main = container("web")
        .env_var(EnvVar::secret("TOKEN", "keys", "token"))
        .env_var(EnvVar::secret("OTHER", "keys", "other"))
        .args(["--token=$(TOKEN)"]);
    rig.create("web", PodSpec::new(main)).await;
    let pod =
        rig.wait("web", "told", |p| waiting(p).is_some_and(|r| r == "CreateContainerConfigError")).await;
    assert!(!format!("{pod:?}").contains("s3cret"));
    let events = rig.client.list::<orchestra_core::model::Event>(&Default::default()).await.unwrap();
    assert!(!format!("{events:?}").contains("s3cret"));
}

/// A volume that no node serves.
fn nfs(name: &str) -> Volume {
    let manifest = serde_json::json!({"name": name, "nfs": {"server": "files", "path": "/"}});
    serde_json::from_value(manifest).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_waited_for_and_its_directory_is_kept() {
    let rig = Rig::new().await;
    let spec = PodSpec::new(container("web").volume_mount(mount("data")))
        .volume(Volume::persistent("data", "claim"));
    let uid = rig.create("web", spec).await;
    let told = |text: &'static str| {
        move |p: &Pod| {
            let first = p.status.container_statuses.first().and_then(|c| c.state.waiting());
            first.is_some_and(|w| w.message.contains(text))
        }
    };
    rig.wait("web", "told", told("persistentvolumeclaim claim does not exist")).await;
    let size = "1Gi".parse().unwrap();
    let claim = rig.client.create(PersistentVolumeClaim::new("claim", size)).await.unwrap();
    rig.wait("web", "told", told("persistentvolumeclaim claim has no volume yet")).await;
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "csi": {"driver": LOCAL_PROVISIONER, "volumeHandle": "dir"},
        "claimRef": {"namespace": "default", "name": "claim", "uid": claim.metadata.uid}}});
    let volume: PersistentVolume = serde_json::from_value(manifest).unwrap();
    rig.client.create(volume).await.unwrap();
    rig.client.modify::<PersistentVolumeClaim>("claim", |c| c.spec.volume_name = "v".into()).await.unwrap();
    rig.ready("web").await;
    assert_eq!(rig.volumes.kept(), ["dir"]);
    rig.delete("web").await;
    rig.gone("web").await;
    assert_eq!(rig.volumes.kept(), ["dir"], "it outlives its pods");
    assert!(rig.history(&uid).iter().any(|call| call.contains("Start")), "{:?}", rig.history(&uid));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_does_not_serve_is_said() {
    let rig = Rig::new().await;
    let spec = PodSpec::new(container("web").volume_mount(mount("data"))).volume(nfs("data"));
    rig.create("web", spec).await;
    let pod =
        rig.wait("web", "told", |p| waiting(p).is_some_and(|r| r == "CreateContainerConfigError")).await;
    let message = &pod.status.container_statuses[0].state.waiting().unwrap().message;
    assert!(message.contains("volume data has a source that this node does not serve"), "{message}");
    rig.delete("web").await;
    rig.gone("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_nobody_mounts_is_waited_for_too() {
    let rig = Rig::new().await;
    let mut spec = PodSpec::new(container("web")).volume(Volume::empty_dir("scratch")).volume(nfs("data"));
    spec.init_containers.push(container("prepare"));
    let uid = rig.create("web", spec).await;
    let told = |p: &Pod| {
        let first = p.status.init_container_statuses.first().and_then(|c| c.state.waiting());
        first.is_some_and(|w| w.reason == "CreateContainerConfigError")
    };
    rig.wait("web", "told", told).await;
    assert_eq!(rig.events("web").await, ["CreateContainerConfigError"]);
    let events = rig.client.list::<Event>(&Default::default()).await.unwrap();
    let event = events.items.iter().find(|e| e.involved_object.name == "web").unwrap();
    assert_eq!(event.type_, EventType::Warning);
    let said = |text: &str| assert!(event.message.contains(text), "{}", event.message);
    ["volume data", "nfs", "use emptyDir"].into_iter().for_each(said);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.history(&uid), ["0 SandboxRun"], "nothing ran");
    rig.delete("web").await;
    rig.gone("web").await;
}
