use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::autoscale::HorizontalAutoscaler;
use crate::controller::testing::{World, web};
use crate::model::{
    CrossVersionObjectReference, Deployment, HorizontalPodAutoscalerSpec, MetricTarget, ObjectMeta, Quantity,
};

fn autoscaler(kind: &str, metric: MetricSpec) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler {
        metadata: ObjectMeta::named("web"),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: "apps/v1".into(),
                kind: kind.into(),
                name: "web".into(),
                ..CrossVersionObjectReference::default()
            },
            min_replicas: 2,
            max_replicas: 10,
            metrics: vec![metric],
            ..HorizontalPodAutoscalerSpec::default()
        },
        ..HorizontalPodAutoscaler::default()
    }
}

async fn world(seed: u64) -> (World, MetricsBoard) {
    let (world, board) = (World::start(seed).await, MetricsBoard::new());
    let scaling = Scaling {
        autoscaler: Arc::new(HorizontalAutoscaler::new()),
        metrics: Arc::new(board.clone()),
        options: AutoscalerOptions::default(),
    };
    let World { client, caches, indexes, rng, tasks, .. } = &world;
    AutoscalerController::start(scaling, indexes, client, caches, &Recorder::disabled(), rng, tasks);
    (world, board)
}

#[tokio::test(start_paused = true)]
async fn follows_a_metric_up_at_once_and_down_after_the_window() {
    let (world, board) = world(31).await;
    let queue = Arc::new(AtomicI64::new(20));
    let gauge = Arc::clone(&queue);
    board.value("queue", move || Some(Quantity::from_units(gauge.load(Ordering::Relaxed))));
    world.client.create(web("v1", 2)).await.unwrap();
    let metric = MetricSpec::external("queue", MetricTarget::average(Quantity::from_units(10)));
    world.client.create(autoscaler("Deployment", metric)).await.unwrap();
    world.rolled_out("web").await;
    queue.store(60, Ordering::Relaxed);
    let up = tokio::time::Instant::now();
    world.wait::<Deployment>("web", |d| d.spec.replicas == 6).await;
    assert!(up.elapsed() <= Duration::from_secs(16));
    let status = world.wait::<HorizontalPodAutoscaler>("web", |a| a.status.current_replicas == 6).await;
    assert_eq!(status.status.desired_replicas, 6);
    let external = status.status.current_metrics[0].external.as_ref().unwrap();
    assert_eq!(external.current.average_value, Some(Quantity::from_units(10)));
    assert!(Condition::find(&status.status.conditions, "ScalingActive").unwrap().is_true());
    queue.store(5, Ordering::Relaxed);
    let down = tokio::time::Instant::now();
    world.wait::<Deployment>("web", |d| d.spec.replicas == 2).await;
    let took = down.elapsed().as_secs();
    assert!((285..=315).contains(&took), "down after {took} s");
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_no_load_and_no_measurement_no_change() {
    let (world, board) = world(32).await;
    let mut deployment = web("v1", 4).request("cpu", "1").max_surge(4);
    deployment.spec.template.spec_mut().termination_grace_period_seconds = 1;
    world.client.create(deployment).await.unwrap();
    world
        .client
        .create(autoscaler("Deployment", MetricSpec::resource("cpu", MetricTarget::utilization(50))))
        .await
        .unwrap();
    world.rolled_out("web").await;
    let told = world.wait::<HorizontalPodAutoscaler>("web", |a| !a.status.conditions.is_empty()).await;
    let active = Condition::find(&told.status.conditions, "ScalingActive").unwrap();
    assert_eq!((active.is_true(), active.reason.as_str()), (false, "FailedGetResourceMetric"));
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(world.client.get::<Deployment>("web").await.unwrap().spec.replicas, 4);
    // Every pod at its target, the new ones of a rollout far above it while they start.
    let begin = world.revision().await;
    let report = async |image: &str| {
        for pod in world.pods().await {
            let busy = if pod.spec.containers[0].image == image { 500 } else { 4000 };
            let used = [("cpu".to_owned(), Quantity::from_milli(busy))].into();
            let containers = BTreeMap::from([("web".to_owned(), used)]);
            let now = world.client.clock().now();
            board.pod_usage("default", &pod.metadata.name, containers, now, Duration::from_secs(10));
        }
    };
    world.client.modify::<Deployment>("web", |d| d.main_container().image = "v2".into()).await.unwrap();
    for _ in 0..60 {
        report("v1").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.rolled_out("web").await;
    world
        .replay(begin, |state| assert_eq!(state.deployment.as_ref().map_or(4, |d| d.spec.replicas), 4, "S36"))
        .await;
    world.tasks.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_scaled_is_told() {
    let (world, _board) = world(33).await;
    let metric = MetricSpec::external("queue", MetricTarget::average(Quantity::from_units(10)));
    world.client.create(autoscaler("DaemonSet", metric)).await.unwrap();
    let told = world.wait::<HorizontalPodAutoscaler>("web", |a| !a.status.conditions.is_empty()).await;
    assert_eq!(
        told.status.conditions[0].message,
        "a DaemonSet can't be scaled; name a Deployment or a ReplicaSet"
    );
    world.tasks.shutdown().await;
}
