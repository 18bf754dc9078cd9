//! Persistent volumes on real processes: what a pod wrote is there for the next one, and gone with the claim.

use orchestra::model::{
    ClaimPhase, PersistentVolume, PersistentVolumeClaim, PodSpec, Quantity, ReclaimPolicy, StorageClass,
    Volume,
};
use orchestra::prelude::*;

use crate::common::{Dir, until};
use crate::node;

/// A pod that runs a script with the claim `data` at `$CONTAINER_ROOT/data`.
fn pod(name: &str, script: &str) -> Pod {
    let written = Probe::exec(["/bin/sh", "-c", "[ -s \"$CONTAINER_ROOT/data/note\" ]"]).period(1);
    let main = Container::new("main", "sh:1").args(["-c", script]).mount("data", "/data").readiness(written);
    Pod::new(name).spec(PodSpec::new(main).volume(Volume::persistent("data", "data")).grace_period(1))
}

fn size() -> Quantity {
    Quantity::from_bytes(1 << 30)
}

async fn ready(cluster: &Cluster, name: &str) -> std::sync::Arc<Pod> {
    until::<Pod>(cluster, name, |pod| pod.is_some_and(Pod::is_ready)).await;
    cluster.get::<Pod>(name).await.unwrap()
}

async fn end(cluster: &Cluster, name: &str) {
    cluster.delete::<Pod>(name, &DeleteOptions::default()).await.unwrap();
    until::<Pod>(cluster, name, |pod| pod.is_none()).await;
}

/// All directories that nodes keep for volumes.
fn kept(dir: &Dir, nodes: &[&str]) -> usize {
    let kept =
        nodes.iter().filter_map(|node| std::fs::read_dir(dir.0.join(node).join("volumes/persistent")).ok());
    kept.map(Iterator::count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_wrote_is_there_for_the_next_one_and_goes_with_the_claim() {
    let dir = Dir::new("volumes");
    let names = ["one", "two", "three"];
    let nodes = names.iter().fold(Cluster::builder(), |cluster, name| cluster.node(node(&dir.0, name)));
    let cluster = nodes.start().await.unwrap();
    // As kubectl would.
    let claim = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
";
    let applied = cluster.apply_yaml(claim).await.unwrap();
    assert!(applied[0].warnings.is_empty(), "{:?}", applied[0].warnings);
    cluster
        .create(pod("writer", "echo kept > \"$CONTAINER_ROOT/data/note\"; exec sleep 1000"))
        .await
        .unwrap();
    let writer = ready(&cluster, "writer").await;
    end(&cluster, "writer").await;
    let claim = cluster.get::<PersistentVolumeClaim>("data").await.unwrap();
    assert_eq!((claim.status.phase, claim.class_name()), (Some(ClaimPhase::Bound), "standard"));
    let reader = "read note < \"$CONTAINER_ROOT/data/note\" && [ \"$note\" = kept ] && exec sleep 1000";
    cluster.create(pod("reader", reader)).await.unwrap();
    assert_eq!(ready(&cluster, "reader").await.node_name, writer.node_name, "where the volume is");
    assert_eq!(kept(&dir, &names), 1);

    // Deleted while it is in use, the claim stays until its pod has ended; then all is cleared away.
    cluster.delete::<PersistentVolumeClaim>("data", &DeleteOptions::default()).await.unwrap();
    let volume = claim.spec.volume_name.clone();
    assert!(cluster.get::<PersistentVolumeClaim>("data").await.unwrap().metadata.is_deleting());
    assert!(cluster.find::<PersistentVolume>(&volume).await.unwrap().is_some());
    end(&cluster, "reader").await;
    until::<PersistentVolumeClaim>(&cluster, "data", |claim| claim.is_none()).await;
    until::<PersistentVolume>(&cluster, &volume, |volume| volume.is_none()).await;
    assert_eq!(kept(&dir, &names), 0, "the directory is gone");

    let mut retaining = StorageClass::new("retaining", "orchestra.dev/local").wait_for_first_consumer();
    retaining.reclaim_policy = Some(ReclaimPolicy::Retain);
    cluster.create(retaining).await.unwrap();
    cluster.create(PersistentVolumeClaim::new("data", size()).class("retaining")).await.unwrap();
    cluster
        .create(pod("writer", "echo kept > \"$CONTAINER_ROOT/data/note\"; exec sleep 1000"))
        .await
        .unwrap();
    ready(&cluster, "writer").await;
    let volume = cluster.get::<PersistentVolumeClaim>("data").await.unwrap().spec.volume_name.clone();
    end(&cluster, "writer").await;
    cluster.delete::<PersistentVolumeClaim>("data", &DeleteOptions::default()).await.unwrap();
    let released = |volume: Option<&PersistentVolume>| {
        volume.is_some_and(|volume| volume.status.phase == Some(orchestra::model::VolumePhase::Released))
    };
    until::<PersistentVolume>(&cluster, &volume, released).await;
    cluster.delete::<PersistentVolume>(&volume, &DeleteOptions::default()).await.unwrap();
    until::<PersistentVolume>(&cluster, &volume, |volume| volume.is_none()).await;
    assert_eq!(kept(&dir, &names), 1, "the object is gone, and what was in it is retained");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_made_by_hand_are_where_their_nodes_are() {
    let dir = Dir::new("volumes-by-hand");
    let disk = dir.0.join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    std::fs::write(disk.join("note"), "old\n").unwrap();
    let cluster =
        Cluster::builder().node(node(&dir.0, "one")).node(node(&dir.0, "two")).start().await.unwrap();
    let class = StorageClass::new("disks", "kubernetes.io/no-provisioner").wait_for_first_consumer();
    cluster.create(class).await.unwrap();
    cluster.create(PersistentVolumeClaim::new("data", size()).class("disks")).await.unwrap();
    cluster.create(pod("db", "read note < \"$CONTAINER_ROOT/data/note\"; exec sleep 1000")).await.unwrap();
    let waits = |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.condition("PodScheduled"))
            .is_some_and(|c| c.message.contains("no free volume"))
    };
    until::<Pod>(&cluster, "db", waits).await;
    let volume = PersistentVolume::local("disk", size(), "two", disk.to_str().unwrap()).class("disks");
    cluster.create(volume).await.unwrap();
    assert_eq!(ready(&cluster, "db").await.node_name.as_deref(), Some("two"));
    end(&cluster, "db").await;
    cluster.delete::<PersistentVolumeClaim>("data", &DeleteOptions::default()).await.unwrap();
    let released = |volume: Option<&PersistentVolume>| {
        volume.is_some_and(|volume| volume.status.phase == Some(orchestra::model::VolumePhase::Released))
    };
    until::<PersistentVolume>(&cluster, "disk", released).await;
    assert_eq!(
        std::fs::read_to_string(disk.join("note")).unwrap(),
        "old\n",
        "what is retained is not touched"
    );
    cluster.stop().await;
}
