//! How fast the replicas of one deployment come up, on a runtime that costs nothing. `cargo bench --bench engine`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![allow(clippy::cast_precision_loss, reason = "figures are far below 2^52")]

mod report;

use std::time::Duration;

use orchestra::model::Quantity;
use orchestra::prelude::*;
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};
use report::{Report, Target, median};
use tokio::time::Instant;

/// Of several runs the median counts.
const RUNS: usize = 5;

fn main() {
    let mut report = Report::new();
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        small.push(replicas(1_000).as_secs_f64());
        large.push(replicas(10_000).as_secs_f64());
    }
    let ratios = small.iter().zip(&large).map(|(small, large)| large / small / 10.0);
    let flat = median(ratios);
    report.row("1,000 replicas, simulated runtime: all ready", median(small), "s", Target::Below(1.0));
    report.row("10,000 replicas, simulated runtime: all ready", median(large), "s", Target::Below(8.0));
    report.row("cost per pod, 10,000 over 1,000", flat, "times", Target::Below(1.5));
    report.finish();
}

/// From apply to all ready, real time, on ten nodes whose containers cost nothing.
fn replicas(count: u32) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut builder = Cluster::builder();
        for i in 0..10 {
            let host = SimRuntime::new(i);
            host.any_image(SimProgram::service());
            let node = NodeOptions::new(format!("node-{i}"), host)
                .capacity("pods", Quantity::from_units(i64::from(count)))
                .capacity("cpu", Quantity::from_units(i64::from(count)));
            builder = builder.node(node);
        }
        let cluster = builder.start().await.unwrap();
        cluster.ready().await;
        let started = Instant::now();
        cluster.apply(Deployment::new("web").image("web:1").replicas(count)).await.unwrap();
        let all = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == count);
        cluster.wait::<Deployment>("web", all).await.unwrap();
        let took = started.elapsed();
        cluster.leave().await;
        took
    })
}
