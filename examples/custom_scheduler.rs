//! Your own scheduling, twice: a preference added to the default scheduler, and a whole scheduler. Both place
//! pods on a simulated cluster of 10,000 nodes: `cargo run --release --example custom_scheduler`.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::collections::BTreeMap;

use orchestra::Cluster;
use orchestra::model::{Container, PodSpec};
use orchestra::scheduler::{Batch, NodeView, Outcome, Pipeline, Reads, Scheduler, schedule};
use orchestra_testkit::scheduler_contract::{self, Nodes, ZONE, replicas};

/// A node's price by the hour, from its label; unpriced nodes cost most.
pub(crate) fn price(node: &NodeView<'_>) -> u32 {
    node.label("price").and_then(|p| p.parse().ok()).unwrap_or(100)
}

// A preference: everything Kubernetes' scheduler does, and cheap nodes before dear ones.
fn thrifty() -> Pipeline {
    Pipeline::builder()
        .score("price", 20, |_pod, node| 100 - price(node).min(100))
        .reads(Reads::NODE) // so that it is asked again only when a node's labels change
        .build()
}

// A whole scheduler: the cheapest node that may take the pod, and of those the emptiest.
#[derive(Debug)]
pub(crate) struct Cheapest;

impl Scheduler for Cheapest {
    fn schedule(&mut self, batch: &mut Batch<'_>) {
        while let Some(unit) = batch.next() {
            batch.place(&unit, |batch, pod| {
                let best = batch.feasible(pod).min_by_key(|node| (price(node), -node.free("cpu")));
                best.map(|node| node.id()).ok_or_else(|| batch.explain(pod))
            });
        }
    }
}

fn main() {
    scheduler_contract::run(|| Box::new(thrifty()));
    scheduler_contract::run(|| Box::new(Cheapest));
    println!("both keep the contract of schedulers\n");

    // In a cluster, pods choose one by `spec.schedulerName`.
    let _builder = Cluster::builder().scheduler(thrifty()).scheduler_named("cheapest", Cheapest);

    show("thrifty", &mut thrifty());
    show("cheapest", &mut Cheapest);
}

/// Places 400 pods, and one that fits nowhere.
fn show(name: &str, scheduler: &mut dyn Scheduler) {
    let mut view =
        Nodes::uniform(10_000).zones(3).each(|i, node| node.label("price", (10 + i % 50).to_string())).view();
    let mut pods = replicas("web", 400, PodSpec::new(Container::new("main", "web").request("cpu", "2")));
    pods.extend(replicas("whale", 1, PodSpec::new(Container::new("main", "whale").request("cpu", "64"))));

    let mut placed: BTreeMap<(u32, String), usize> = BTreeMap::new();
    println!("{name}:");
    for decision in schedule(scheduler, &mut view, pods) {
        match decision.outcome {
            Outcome::Assigned(node) => {
                let Some(node) = view.node_named(&node) else { continue };
                *placed.entry((price(&node), node.label(ZONE).unwrap_or("?").to_owned())).or_insert(0) += 1;
            }
            Outcome::Pending(why) => println!("  {} waits: {why}", decision.pod.metadata.name),
            other => println!("  {}: {other:?}", decision.pod.metadata.name),
        }
    }
    for ((price, zone), pods) in placed {
        println!("  {pods:4} pods on nodes at {price} in {zone}");
    }
    println!();
}
