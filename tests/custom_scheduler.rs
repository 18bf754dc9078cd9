//! A scheduler of one's own, or a part of one, takes less than 25 lines and works in a cluster: the example's own code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the example's program is not run here")]
#[path = "../examples/custom_scheduler.rs"]
mod example;

use std::collections::BTreeMap;
use std::time::Duration;

use example::{Cheapest, price};
use orchestra::model::{PodSpec, Quantity};
use orchestra::prelude::*;
use orchestra::scheduler::{Pipeline, Reads};
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};

/// In simulated time.
const LIMIT: Duration = Duration::from_secs(600);
/// What the example promises.
const MOST_LINES: usize = 25;

/// The lines of the example from the one that starts with `first` to the end of the item that starts with `last`.
fn lines(first: &str, last: &str) -> usize {
    let all: Vec<&str> = include_str!("../examples/custom_scheduler.rs").lines().collect();
    let starts = |with: &str| all.iter().position(|line| line.starts_with(with)).unwrap();
    let end = starts(last) + all[starts(last)..].iter().position(|line| *line == "}").unwrap();
    all[starts(first)..=end].iter().filter(|line| !line.trim().is_empty()).count()
}

#[test]
fn the_example_is_as_short_as_promised() {
    assert!(lines("fn thrifty", "fn thrifty") < MOST_LINES);
    assert!(lines("#[derive(Debug)]", "impl Scheduler for Cheapest") < MOST_LINES);
    // It counts something: the whole example is longer.
    assert!(lines("use std", "fn show") > MOST_LINES);
}

/// A filter, a score and a whole scheduler, each used in one cluster by the pods that ask for it; all of them at once on the
/// same nodes, of which none is given away twice.
#[tokio::test(start_paused = true)]
async fn filters_scores_and_schedulers_of_ones_own_share_a_cluster() {
    let quiet = Pipeline::builder()
        .filter("quiet", |_pod, node| node.label("price") != Some("10"))
        .reads(Reads::NODE)
        .build();
    let thrifty = Pipeline::builder().score("price", 200, |_pod, node| 100 - price(node).min(100)).build();
    let mut builder = Cluster::builder()
        .seed(1)
        .scheduler(quiet)
        .scheduler_named("thrifty", thrifty)
        .scheduler_named("cheapest", Cheapest);
    for (i, price) in ["10", "20", "30"].into_iter().enumerate() {
        let host = SimRuntime::new(i as u64);
        host.any_image(SimProgram::service());
        let node = NodeOptions::new(format!("n{price}"), host).capacity("cpu", Quantity::from_units(4));
        builder = builder.node(node.label("price", price));
    }
    let cluster = builder.start().await.unwrap();
    cluster.ready().await;
    let schedulers = ["default-scheduler", "thrifty", "cheapest"];
    for i in 0..5 {
        for scheduler in schedulers {
            let mut spec = PodSpec::new(Container::new("main", "app:1").request("cpu", "1"));
            spec.scheduler_name = scheduler.into();
            cluster.create(Pod::new(format!("{scheduler}-{i}")).spec(spec)).await.unwrap();
        }
    }
    // Twelve CPUs for fifteen pods: three wait, whoever they belong to.
    let decided = |pod: Option<&Pod>| {
        pod.is_some_and(|p| p.node_name.is_some() || p.condition("PodScheduled").is_some())
    };
    for name in (0..5).flat_map(|i| schedulers.map(|scheduler| format!("{scheduler}-{i}"))) {
        tokio::time::timeout(LIMIT, cluster.wait::<Pod>(&name, decided)).await.unwrap().unwrap();
    }
    let pods = cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items;
    let mut on: BTreeMap<&str, usize> = BTreeMap::new();
    let mut cheap = BTreeMap::from(schedulers.map(|scheduler| (scheduler.to_owned(), 0)));
    for pod in &pods {
        let Some(node) = pod.node_name.as_deref() else { continue };
        *on.entry(node).or_insert(0) += 1;
        if node == "n10" {
            *cheap.get_mut(&pod.spec.scheduler_name).unwrap() += 1;
        }
    }
    assert_eq!(on, BTreeMap::from([("n10", 4), ("n20", 4), ("n30", 4)]));
    assert_eq!(cheap["default-scheduler"], 0, "the filter keeps its pods away: {cheap:?}");
    assert_eq!(cheap["cheapest"] + cheap["thrifty"], 4);
    cluster.stop().await;
}
