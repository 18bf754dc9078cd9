use std::collections::BTreeSet;
use std::time::Duration;

use super::ReplicaSetController;
use crate::client::DeleteOptions;
use crate::controller::testing::{Kubelet, World, service, web};
use crate::engine::Recorder;
use crate::model::{Condition, Deployment, ObjectMeta, OwnerReference, Pod, PodPhase, ReplicaSet, Revision};

fn set(image: &str, replicas: u32) -> ReplicaSet {
    ReplicaSet::new("web").image(image).port(80).replicas(replicas)
}

async fn available(world: &World, n: u32) {
    world.wait::<ReplicaSet>("web", |s| s.status.available_replicas == n && s.status.replicas == n).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_are_made_in_a_few_commits_with_one_spec() {
    let world = World::start(21).await;
    world.client.create(set("v1", 1200)).await.unwrap();
    available(&world, 1200).await;
    let (mut commits, mut last) = (0, 0);
    world
        .replay(Revision::ZERO, |state| {
            commits += usize::from(state.pods_made > last);
            last = state.pods_made;
            assert!(state.pods.len() <= 1200, "S24");
        })
        .await;
    assert_eq!((commits, last), (3, 1200));
    let pods = world.pods().await;
    let specs: BTreeSet<usize> = pods.iter().map(|pod| std::sync::Arc::as_ptr(&pod.spec).addr()).collect();
    assert!(specs.len() <= 3, "{} copies of one spec", specs.len());
    assert!(pods.iter().all(|pod| pod.metadata.name.len() == "web-".len() + 5));
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_gone_are_made_anew_and_too_many_go() {
    let world = World::start(22).await;
    world.client.create(service()).await.unwrap();
    world.client.create(set("v1", 3)).await.unwrap();
    available(&world, 3).await;
    let victim = world.pods().await[0].metadata.name.clone();
    world.client.delete::<Pod>(&victim, &DeleteOptions::default()).await.unwrap();
    world.wait::<ReplicaSet>("web", |s| s.status.available_replicas == 2).await;
    available(&world, 3).await;
    // One that is not ready goes before those that are.
    let broken = world.pods().await[1].metadata.name.clone();
    let at = world.start;
    world
        .client
        .modify_status::<Pod>(&broken, |p| {
            p.set_condition(Condition::new("Ready", false, at).reason("Broken"));
        })
        .await
        .unwrap();
    world.wait::<ReplicaSet>("web", |s| s.status.ready_replicas == 2).await;
    world.client.scale::<ReplicaSet>("web", 2).await.unwrap();
    available(&world, 2).await;
    assert!(world.client.find::<Pod>(&broken).await.unwrap().is_none());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_fail_at_once_are_replaced_ever_more_slowly_and_do_not_pile_up() {
    let world = World::start(23).await;
    world.client.create(set("reject", 3)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut made = 0;
    world
        .replay(Revision::ZERO, |state| {
            made = state.pods_made;
            assert!(state.pods.len() <= 6, "{} pods pile up", state.pods.len());
        })
        .await;
    // 3 at first, and 3 at 0, 1, 3, 7, 15, .. s, then every 5 min.
    assert!((60..=75).contains(&made), "made {made} pods in an hour");
    world.client.modify::<ReplicaSet>("web", |s| s.main_container().image = "v1".into()).await.unwrap();
    available(&world, 3).await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_somebody_deletes_at_once_are_made_at_a_bounded_rate() {
    let world = World::start(24).await;
    world.client.create(set("never", 2)).await.unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(300);
    while tokio::time::Instant::now() < end {
        for pod in world.pods().await {
            world
                .client
                .delete::<Pod>(&pod.metadata.name, &DeleteOptions::default().grace_period(0))
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut made = 0;
    world.replay(Revision::ZERO, |state| made = state.pods_made).await;
    assert!((70..=100).contains(&made), "14 at once and 14 a minute, but made {made}");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_available_when_it_was_ready_for_long_enough_and_balancers_know() {
    let world = World::start(25).await;
    world.client.create(set("v1", 2).min_ready(30)).await.unwrap();
    let start = tokio::time::Instant::now();
    world.wait::<ReplicaSet>("web", |s| s.status.ready_replicas == 2).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    available(&world, 2).await;
    let took = start.elapsed().as_secs();
    assert!((32..=33).contains(&took), "ready after 2 s, available after {took} s");
    world.tasks.shutdown().await;
    // Nobody writes slices here: the pods stay unknown to the balancers.
    let world = World::bare(26).await;
    world.run_workloads(crate::controller::Rollouts::new());
    world.client.create(service()).await.unwrap();
    world.client.create(set("v1", 1)).await.unwrap();
    let pod = loop {
        if let Some(pod) = world.pods().await.pop() {
            break pod.metadata.name.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let at = world.start;
    world
        .client
        .modify_status::<Pod>(&pod, |p| {
            p.set_condition(Condition::new("Ready", true, at));
        })
        .await
        .unwrap();
    world.wait::<ReplicaSet>("web", |s| s.status.ready_replicas == 1).await;
    world.quiet().await;
    assert_eq!(world.client.get::<ReplicaSet>("web").await.unwrap().status.available_replicas, 0);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn takes_up_orphans_lets_strays_go_and_touches_nobody_elses() {
    let world = World::start(27).await;
    let orphan = Pod::new("stray").label("app", "web").image("v0");
    world.client.create(orphan.clone()).await.unwrap();
    let other = OwnerReference {
        kind: "ReplicaSet".into(),
        name: "web".into(),
        uid: "another".into(),
        controller: true,
        api_version: "apps/v1".into(),
        ..OwnerReference::default()
    };
    let foreign = Pod {
        metadata: ObjectMeta {
            name: "foreign".into(),
            owner_references: vec![other],
            ..orphan.metadata.clone()
        },
        ..orphan
    };
    world.client.create(foreign).await.unwrap();
    let set = world.client.create(set("v1", 3)).await.unwrap();
    available(&world, 3).await;
    let mine = |pod: &Pod| pod.metadata.controller().is_some_and(|o| o.uid == set.metadata.uid);
    assert!(mine(&world.client.get::<Pod>("stray").await.unwrap()), "one that nobody owned is taken up");
    assert_eq!(world.pods().await.iter().filter(|pod| mine(pod)).count(), 3);
    assert!(world.client.find::<Pod>("foreign").await.unwrap().is_some(), "S25");
    // A pod whose labels no longer match is let go, and replaced.
    world
        .client
        .modify::<Pod>("stray", |pod| drop(pod.metadata.labels.insert("app".into(), "debug".into())))
        .await
        .unwrap();
    world.wait::<Pod>("stray", |pod| pod.metadata.controller().is_none()).await;
    available(&world, 3).await;
    assert_eq!(world.pods().await.iter().filter(|pod| mine(pod)).count(), 3);
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_ended_is_nobodys_to_take_up() {
    let world = World::start(28).await;
    let ended = Pod::new("report").label("app", "web").image("reject");
    world.client.create(ended).await.unwrap();
    world.wait::<Pod>("report", |pod| pod.is_terminal()).await;
    world.client.create(set("v1", 2)).await.unwrap();
    available(&world, 2).await;
    world.quiet().await;
    let kept = world.client.get::<Pod>("report").await.unwrap();
    assert!(kept.metadata.owner_references.is_empty() && !kept.is_terminating());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_to_go_stays_when_others_fail_meanwhile() {
    let world = World::start(28).await;
    world.client.create(service()).await.unwrap();
    world.client.create(web("v1", 4).max_unavailable(1).max_surge(0)).await.unwrap();
    world.rolled_out("web").await;
    let begin = world.revision().await;
    // All but the floor fail, and then the version changes: nothing that still serves may go.
    for pod in world.pods().await.iter().take(2) {
        let at = world.start;
        let broken = |p: &mut Pod| {
            p.set_condition(Condition::new("Ready", false, at).reason("Broken"));
        };
        world.client.modify_status(&pod.metadata.name, broken).await.unwrap();
    }
    world.client.modify::<Deployment>("web", |d| d.main_container().image = "crash".into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let mut served = usize::MAX;
    world.replay(begin, |state| served = served.min(state.available())).await;
    assert_eq!(served, 2, "no more than those that failed");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_had_to_stay_goes_once_the_deployment_allows_it() {
    let world = World::bare(30).await;
    let (client, caches, recorder) = (&world.client, &world.caches, Recorder::disabled());
    ReplicaSetController::start(&world.indexes, client, caches, &recorder, &world.rng, &world.tasks);
    Kubelet::start(&world);
    let owner = client.create(web("v1", 2).max_unavailable(0).max_surge(1)).await.unwrap();
    let mut owned = set("v1", 2);
    owned.metadata.owner_references = vec![OwnerReference::controller_of(&*owner)];
    client.create(owned).await.unwrap();
    available(&world, 2).await;
    client.scale::<ReplicaSet>("web", 0).await.unwrap();
    world.quiet().await;
    assert_eq!(world.pods().await.len(), 2, "nothing else is there to serve");
    let begin = tokio::time::Instant::now();
    client.modify::<Deployment>("web", |d| *d = d.clone().max_unavailable(2)).await.unwrap();
    available(&world, 0).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_refused_are_told_of() {
    let world = World::start(29).await;
    let mut refused = set("v1", 1);
    refused.spec.template.spec_mut().priority_class_name = "nobody-made-it".into();
    world.client.create(refused).await.unwrap();
    let told = world.wait::<ReplicaSet>("web", |s| !s.status.conditions.is_empty()).await;
    assert_eq!(told.status.conditions[0].reason, "FailedCreate");
    assert!(
        told.status.conditions[0].message.contains("nobody-made-it"),
        "{}",
        told.status.conditions[0].message
    );
    // It is tried again and again with other names, and there is nothing new to tell.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let later = world.client.get::<ReplicaSet>("web").await.unwrap();
    assert_eq!(later.metadata.resource_version, told.metadata.resource_version);
    let class: crate::model::PriorityClass = serde_json::from_value(serde_json::json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "nobody-made-it"}, "value": 5
    }))
    .unwrap();
    world.client.create(class).await.unwrap();
    available(&world, 1).await;
    assert!(world.client.get::<ReplicaSet>("web").await.unwrap().status.conditions.is_empty());
    assert!(world.pods().await.iter().all(|pod| pod.status.phase == PodPhase::Running));
    world.tasks.shutdown().await;
}
