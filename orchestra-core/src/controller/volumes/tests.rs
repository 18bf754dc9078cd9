use std::sync::Arc;

use super::*;
use crate::client::DeleteOptions;
use crate::controller::testing::World;
use crate::controller::{Schedulers, SchedulingLoop};
use crate::engine::Reconciler;
use crate::model::{
    ClaimPhase, Container, Labels, Node, Quantity, ReclaimPolicy, Resource, Volume, VolumePhase,
};
use crate::scheduler::Pipeline;
use crate::store::MemoryStore;

fn gib(size: u64) -> Quantity {
    format!("{size}Gi").parse().unwrap()
}

async fn world(seed: u64) -> World {
    let world = World::bare(seed).await;
    bootstrap(&world.client).await.unwrap();
    bootstrap(&world.client).await.unwrap();
    let World { client, caches, rng, tasks, .. } = &world;
    VolumeController::start(client, caches, Recorder::disabled(), rng, tasks);
    let mut schedulers = Schedulers::new();
    schedulers.insert("default-scheduler".into(), Box::new(Pipeline::kubernetes()));
    SchedulingLoop::start(schedulers, client, caches, Recorder::disabled(), tasks);
    for name in ["n1", "n2"] {
        let mut node = Node { metadata: crate::model::ObjectMeta::named(name), ..Node::default() };
        node.metadata.labels = Labels::from([("kubernetes.io/hostname", name)]);
        for (resource, amount) in [("cpu", "4"), ("memory", "8Gi"), ("pods", "110")] {
            node.status.allocatable.insert(resource.into(), amount.parse().unwrap());
        }
        client.create(node).await.unwrap();
    }
    world
}

async fn claim_is(world: &World, name: &str, phase: ClaimPhase) -> Arc<PersistentVolumeClaim> {
    world.wait::<PersistentVolumeClaim>(name, |claim| claim.status.phase == Some(phase)).await
}

async fn volume_is(world: &World, name: &str, phase: VolumePhase) -> Arc<PersistentVolume> {
    world.wait::<PersistentVolume>(name, |volume| volume.status.phase == Some(phase)).await
}

async fn gone<T: Resource>(world: &World, name: &str) {
    world.client.wait::<T>(name, |object| object.is_none()).await.unwrap();
}

fn user(name: &str, claim: &str) -> Pod {
    let mut pod = Pod::new(name).container(Container::new("main", "app:1"));
    pod.spec_mut().volumes.push(Volume::persistent("data", claim));
    pod
}

#[tokio::test(start_paused = true)]
async fn a_claim_takes_the_smallest_volume_that_suits_it_and_both_are_held() {
    let world = world(1).await;
    let client = &world.client;
    client.create(PersistentVolumeClaim::new("c", gib(2)).class("manual")).await.unwrap();
    claim_is(&world, "c", ClaimPhase::Pending).await;
    for (name, size) in [("small", 1), ("large", 9), ("right", 3)] {
        client.create(PersistentVolume::host_path(name, gib(size), "/srv").class("none")).await.unwrap();
        volume_is(&world, name, VolumePhase::Available).await;
    }
    let others = client.transaction();
    others
        .create(PersistentVolume::host_path("m-large", gib(9), "/srv").class("manual"))
        .create(PersistentVolume::host_path("m-right", gib(3), "/srv").class("manual"))
        .commit()
        .await
        .unwrap();
    let claim = claim_is(&world, "c", ClaimPhase::Bound).await;
    assert_eq!((claim.spec.volume_name.as_str(), claim.status.capacity["storage"]), ("m-right", gib(3)));
    let volume = volume_is(&world, "m-right", VolumePhase::Bound).await;
    assert!(volume.is_of(&claim));

    // Both are held while they belong together, and the claim while a pod uses it.
    client.create(user("p", "c")).await.unwrap();
    world.wait::<Pod>("p", |pod| pod.node_name.is_some()).await;
    client.delete::<PersistentVolume>("m-right", &DeleteOptions::default()).await.unwrap();
    client.delete::<PersistentVolumeClaim>("c", &DeleteOptions::default()).await.unwrap();
    world.quiet().await;
    let claim = client.get::<PersistentVolumeClaim>("c").await.unwrap();
    assert!(claim.metadata.is_deleting());
    client.create(user("late", "c")).await.unwrap();
    let told =
        |pod: &Pod| pod.condition("PodScheduled").is_some_and(|c| c.message.contains("is being deleted"));
    world.wait::<Pod>("late", told).await;
    client.delete::<Pod>("p", &DeleteOptions::default().grace_period(0)).await.unwrap();
    gone::<PersistentVolumeClaim>(&world, "c").await;
    gone::<PersistentVolume>(&world, "m-right").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_claim_is_not_anothers_and_what_was_ones_is_nobodys() {
    let world = world(2).await;
    let client = &world.client;
    let mut kept = PersistentVolume::host_path("kept", gib(1), "/srv").class("manual");
    kept.spec.claim_ref = Some(crate::model::ObjectReference {
        namespace: "default".into(),
        name: "mine".into(),
        ..crate::model::ObjectReference::default()
    });
    client.create(kept).await.unwrap();
    volume_is(&world, "kept", VolumePhase::Available).await;
    client.create(PersistentVolumeClaim::new("other", gib(1)).class("manual")).await.unwrap();
    claim_is(&world, "other", ClaimPhase::Pending).await;
    client.create(PersistentVolumeClaim::new("mine", gib(1)).class("manual")).await.unwrap();
    assert_eq!(claim_is(&world, "mine", ClaimPhase::Bound).await.spec.volume_name, "kept");
    client.delete::<PersistentVolumeClaim>("mine", &DeleteOptions::default()).await.unwrap();
    gone::<PersistentVolumeClaim>(&world, "mine").await;
    volume_is(&world, "kept", VolumePhase::Released).await;
    client.create(PersistentVolumeClaim::new("mine", gib(1)).class("manual")).await.unwrap();
    world.quiet().await;
    assert_eq!(
        client.get::<PersistentVolumeClaim>("mine").await.unwrap().status.phase,
        Some(ClaimPhase::Pending),
        "what the first of the name left is not the second's"
    );
    // Somebody who has looked at it gives it free.
    client.modify::<PersistentVolume>("kept", |volume| volume.spec.claim_ref = None).await.unwrap();
    claim_is(&world, "mine", ClaimPhase::Bound).await;
    let failing =
        PersistentVolume::host_path("failing", gib(1), "/srv").class("f").reclaim(ReclaimPolicy::Delete);
    client.create(failing).await.unwrap();
    client.create(PersistentVolumeClaim::new("f", gib(1)).class("f")).await.unwrap();
    claim_is(&world, "f", ClaimPhase::Bound).await;
    client.delete::<PersistentVolumeClaim>("f", &DeleteOptions::default()).await.unwrap();
    let failed = volume_is(&world, "failing", VolumePhase::Failed).await;
    assert!(failed.status.message.contains("nobody here can delete"), "{}", failed.status.message);
}

#[tokio::test(start_paused = true)]
async fn directories_are_made_with_the_first_pod_and_go_with_their_claim() {
    let world = world(3).await;
    let client = &world.client;
    client.create(PersistentVolumeClaim::new("data", gib(1))).await.unwrap();
    let claim = claim_is(&world, "data", ClaimPhase::Pending).await;
    world.quiet().await;
    assert_eq!(client.get::<PersistentVolumeClaim>("data").await.unwrap().class_name(), STANDARD);
    assert!(claim.spec.volume_name.is_empty(), "it waits for a pod");
    client.create(user("first", "data")).await.unwrap();
    let first = world.wait::<Pod>("first", |pod| pod.node_name.is_some()).await;
    let claim = claim_is(&world, "data", ClaimPhase::Bound).await;
    let volume = client.get::<PersistentVolume>(&claim.spec.volume_name).await.unwrap();
    assert_eq!(volume.local_node(), first.node_name.as_deref());
    for name in ["second", "third", "fourth"] {
        client.create(user(name, "data")).await.unwrap();
        let pod = world.wait::<Pod>(name, |pod| pod.node_name.is_some()).await;
        assert_eq!(pod.node_name, first.node_name, "where the directory is");
    }
    for name in ["first", "second", "third", "fourth"] {
        client.delete::<Pod>(name, &DeleteOptions::default().grace_period(0)).await.unwrap();
    }
    client.delete::<PersistentVolumeClaim>("data", &DeleteOptions::default()).await.unwrap();
    gone::<PersistentVolumeClaim>(&world, "data").await;
    let name = volume.metadata.name.clone();
    let waits = |volume: &PersistentVolume| {
        volume.metadata.is_deleting() && volume.metadata.finalizers == [PersistentVolume::LOCAL_FINALIZER]
    };
    world.wait::<PersistentVolume>(&name, waits).await;
    // Its node would clear it away. It is gone, and what was there with it.
    client.delete::<Node>(first.node_name.as_deref().unwrap(), &DeleteOptions::default()).await.unwrap();
    gone::<PersistentVolume>(&world, &name).await;
}

#[tokio::test(start_paused = true)]
async fn many_pods_at_once_never_share_a_volume() {
    let world = world(4).await;
    let client = &world.client;
    let class = StorageClass::new("local", "kubernetes.io/no-provisioner").wait_for_first_consumer();
    client.create(class).await.unwrap();
    let mut all = client.transaction();
    for i in 0..20 {
        let host = if i % 2 == 0 { "n1" } else { "n2" };
        all = all
            .create(PersistentVolume::local(format!("v{i}"), gib(1), host, "/srv").class("local"))
            .create(PersistentVolumeClaim::new(format!("c{i}"), gib(1)).class("local"))
            .create(user(&format!("p{i}"), &format!("c{i}")));
    }
    // One more than there are volumes.
    all = all.create(PersistentVolumeClaim::new("c20", gib(1)).class("local")).create(user("p20", "c20"));
    all.commit().await.unwrap();
    world.quiet().await;
    let mut taken = std::collections::BTreeSet::new();
    let mut waiting = 0;
    for i in 0..=20 {
        let pod = client.get::<Pod>(&format!("p{i}")).await.unwrap();
        let claim = client.get::<PersistentVolumeClaim>(&format!("c{i}")).await.unwrap();
        let Some(node) = &pod.node_name else {
            waiting += 1;
            assert!(claim.spec.volume_name.is_empty());
            let why = &pod.condition("PodScheduled").unwrap().message;
            assert!(why.contains("no free volume"), "{why}");
            continue;
        };
        let volume = client.get::<PersistentVolume>(&claim.spec.volume_name).await.unwrap();
        assert!(volume.is_of(&claim) && volume.host() == Some(node), "{volume:?}");
        assert!(taken.insert(claim.spec.volume_name.clone()), "{} is two claims'", claim.spec.volume_name);
    }
    assert_eq!((taken.len(), waiting), (20, 1));
    client.create(PersistentVolume::local("more", gib(1), "n2", "/srv").class("local")).await.unwrap();
    for i in 0..=20 {
        world.wait::<Pod>(&format!("p{i}"), |pod| pod.node_name.is_some()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_vanishes_is_told_of() {
    let world = world(5).await;
    let client = &world.client;
    client.create(PersistentVolume::host_path("v", gib(1), "/srv").class("m")).await.unwrap();
    client.create(PersistentVolumeClaim::new("c", gib(1)).class("m")).await.unwrap();
    claim_is(&world, "c", ClaimPhase::Bound).await;
    client.delete::<PersistentVolume>("v", &DeleteOptions::default()).await.unwrap();
    client.modify::<PersistentVolume>("v", |volume| volume.metadata.finalizers.clear()).await.unwrap();
    claim_is(&world, "c", ClaimPhase::Lost).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_stays_while_only_the_store_knows_who_uses_it() {
    let world = World::bare(45).await;
    let client = &world.client;
    let mut claim = PersistentVolumeClaim::new("c", gib(1));
    claim.metadata.finalizers.push(PersistentVolumeClaim::FINALIZER.to_owned());
    client.create(claim).await.unwrap();
    let pod = client.create(user("p", "c")).await.unwrap();
    client.transaction().bind(&pod, "n").commit().await.unwrap();
    client.delete::<PersistentVolumeClaim>("c", &DeleteOptions::default()).await.unwrap();
    // A cache that has not heard of the pod.
    let behind = Caches::new(Arc::new(MemoryStore::new()), world.tasks.clone());
    let claims = Claims {
        claims: world.caches.of(),
        volumes: world.caches.of(),
        classes: world.caches.of(),
        users: behind.of::<Pod>().index(used),
        recorder: Recorder::disabled(),
    };
    world.caches.barrier().await.unwrap();
    let key = ObjectKey::new::<PersistentVolumeClaim>("default", "c");
    claims.reconcile(&key, client).await.unwrap();
    assert!(client.find::<PersistentVolumeClaim>("c").await.unwrap().is_some());
    client.delete::<Pod>("p", &DeleteOptions::default().grace_period(0)).await.unwrap();
    claims.reconcile(&key, client).await.unwrap();
    assert!(client.find::<PersistentVolumeClaim>("c").await.unwrap().is_none());
    world.tasks.shutdown().await;
}
