//! A running cluster is asked why a pod waits, and what would happen if; on the simulated runtime.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use orchestra::ClusterError;
use orchestra::controller::AskError;
use orchestra::model::{PodSpec, Quantity};
use orchestra::prelude::*;
use orchestra::scheduler::{MostAllocated, Outcome, Pipeline, Rebalance, WhatIfError};
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};

/// In simulated time.
const LIMIT: Duration = Duration::from_secs(600);

async fn cluster(nodes: usize) -> Cluster {
    let mut builder = Cluster::builder().seed(1);
    for i in 0..nodes {
        let host = SimRuntime::new(i as u64);
        host.any_image(SimProgram::service());
        let node = NodeOptions::new(format!("n{i}"), host).capacity("cpu", Quantity::from_units(4));
        builder = builder.node(node);
    }
    let cluster = builder.start().await.unwrap();
    cluster.ready().await;
    cluster
}

fn pod(name: &str, cpu: &str) -> Pod {
    Pod::new(name).spec(PodSpec::new(Container::new("main", "app:1").request("cpu", cpu)))
}

async fn runs(cluster: &Cluster, name: &str) -> String {
    let waiting = cluster.wait::<Pod>(name, |pod| pod.is_some_and(Pod::is_ready));
    let pod = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap().unwrap();
    pod.node_name.as_deref().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_is_told_what_would_help_and_that_helps() {
    let cluster = cluster(2).await;
    cluster.create(pod("a", "3")).await.unwrap();
    cluster.create(pod("b", "3")).await.unwrap();
    runs(&cluster, "a").await;
    runs(&cluster, "b").await;
    cluster.create(pod("late", "2")).await.unwrap();

    let diagnosis = cluster.pod("late").explain().await.unwrap();
    assert_eq!(diagnosis.feasible(), 0);
    assert!(diagnosis.to_string().contains("2 nodes would fit if 1 more cpu were free"), "{diagnosis}");
    // A pod that was never created is explained the same way.
    assert_eq!(cluster.explain(pod("other", "2")).await.unwrap().help, diagnosis.help);
    let mut strange = pod("strange", "1");
    strange.spec_mut().scheduler_name = "nobody".into();
    let refused = cluster.explain(strange).await.unwrap_err().to_string();
    assert!(refused.contains("no scheduler called \"nobody\""), "{refused}");

    let spared = cluster.what_if().without_pod("default", "a").run().await.unwrap();
    let foretold = spared.of("default", "late").unwrap().node().unwrap().to_string();
    cluster.delete::<Pod>("a", &DeleteOptions::default()).await.unwrap();
    assert_eq!(runs(&cluster, "late").await, foretold);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn asking_what_if_writes_nothing() {
    let cluster = cluster(3).await;
    for (name, cpu) in [("a", "3"), ("b", "3"), ("c", "2")] {
        cluster.create(pod(name, cpu)).await.unwrap();
        runs(&cluster, name).await;
    }
    let everything = || async {
        let mut all = Vec::new();
        for node in cluster.list::<Node>(&ListOptions::default()).await.unwrap().items {
            all.push(format!("{:?} {}", node.spec, node.metadata.name));
        }
        for pod in cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items {
            all.push(format!(
                "{} {:?} {:?}",
                pod.metadata.name, pod.metadata.resource_version, pod.node_name
            ));
        }
        all
    };
    let before = everything().await;
    let on = cluster.get::<Pod>("c").await.unwrap().node_name.as_deref().unwrap().to_owned();
    let drained = cluster.what_if().drain(on.as_str()).explained().run().await.unwrap();
    let waits = drained.of("default", "c").unwrap();
    assert!(matches!(waits.outcome, Outcome::Pending(_)) && waits.diagnosis.is_some(), "{waits}");

    let node = Node::new("more").capacity("cpu", "8").capacity("memory", "8Gi").capacity("pods", "9");
    let packing = Pipeline::builder().with_score("NodeResourcesFit", 100, MostAllocated).build();
    let packed = cluster.what_if().node(node).pod(pod("new", "1")).scheduler(packing).run().await.unwrap();
    assert_ne!(packed.of("default", "new").unwrap().node().unwrap().as_ref(), "more");

    let nowhere = cluster.what_if().cordon("n9").run().await.unwrap_err();
    assert!(
        matches!(&nowhere, ClusterError::Scheduling(AskError::WhatIf(WhatIfError::NoNode { node })) if node == "n9"),
        "{nowhere}"
    );
    assert_eq!(everything().await, before);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_cluster_says_which_pods_could_be_moved() {
    let cluster = cluster(2).await;
    cluster.apply(Deployment::new("web").image("app:1").replicas(2).request("cpu", "1")).await.unwrap();
    let available = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == 2);
    tokio::time::timeout(LIMIT, cluster.wait::<Deployment>("web", available)).await.unwrap().unwrap();
    let plan = cluster.rebalance(Rebalance::emptying_nodes()).await.unwrap();
    assert_eq!((plan.moves().len(), plan.emptied().count()), (1, 1), "{plan}");
    cluster.apply(PodDisruptionBudget::new("web").min_available(2)).await.unwrap();
    let seen = |b: Option<&PodDisruptionBudget>| b.is_some_and(|b| b.status.current_healthy == 2);
    tokio::time::timeout(LIMIT, cluster.wait::<PodDisruptionBudget>("web", seen)).await.unwrap().unwrap();
    assert!(cluster.rebalance(Rebalance::emptying_nodes()).await.unwrap().moves().is_empty());
    cluster.stop().await;
}
